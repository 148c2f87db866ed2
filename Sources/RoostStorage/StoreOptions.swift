/// How a store is opened, and the resources it may use. Nothing here changes what is stored; each
/// open may choose anew.
public struct StoreOptions: Sendable {
  /// What to do about the directory.
  public enum Creation: Sendable {
    /// Open the store, or create it where the directory is empty or missing.
    case createIfMissing
    /// Throw `.notFound` where there is no store.
    case mustExist
    /// Throw `.alreadyExists` where there is one.
    case mustNotExist
  }

  /// How the write-ahead log is written.
  public enum LogAccess: Sendable {
    /// Through a memory mapping where the file system overwrites in place (ext4, XFS), else by
    /// calls.
    case mapped
    /// With `pwrite`, always: an I/O error is then an error, never a signal.
    case calls
  }

  public var creation: Creation = .createIfMissing

  /// The durability of a write that names none. `.applied` survives the process, `.synced` the
  /// machine.
  public var durability: Durability = .applied

  /// Bytes a tree's memtable may take before it is flushed to a table. More means fewer, larger
  /// tables and less compaction, at the cost of memory and of a longer recovery.
  public var memtableBytes = 64 << 20

  /// Bytes all memtables may take together, those being flushed and the mapped log pages included.
  /// Also bounds one value, to an eighth, and one batch, to a quarter.
  public var memoryBudgetBytes = 8 << 30

  /// Bytes of uncompressed blocks kept for reading, shared by all trees.
  public var blockCacheBytes = 256 << 20

  /// Bytes of memory that filters of keys may take, over all trees that keep one: a lookup of a key that
  /// is absent then mostly ends after a cache line or two. Taken as keys are written, 1.3 bytes for each
  /// and room to grow; a tree with more keys than fit has none. 0 for none at all. Only the trees of a
  /// database's records keep one.
  public var keyFilterBytes = 32 << 20

  /// Bytes of one log segment. Segments are zeroed ahead and used again.
  public var logSegmentBytes = 16 << 20

  /// Bytes of live log past which the tree that holds back the oldest segment is flushed.
  public var logLimitBytes = 512 << 20

  public var logAccess: LogAccess = .mapped

  /// How many files the store may hold open. `nil`: three quarters of what the system lets the
  /// process have.
  public var openFileLimit: Int? = nil

  /// How long a write may wait for a flush or a compaction to catch up before it throws
  /// `.deadlineExceeded`.
  public var stallDeadline: Duration = .seconds(60)

  public init() {}

  /// - Throws: `.invalidOption` naming the first option outside its limits.
  public func validate() throws(StoreError) {
    func check(_ ok: Bool, _ text: @autoclosure () -> String) throws(StoreError) {
      if !ok { throw StoreError(.invalidOption, text()) }
    }
    try check(
      memtableBytes >= 16 << 10 && memtableBytes <= 64 << 30,
      "memtableBytes is \(memtableBytes), must be 16 KiB to 64 GiB")
    try check(
      memoryBudgetBytes >= 2 * memtableBytes,
      "memoryBudgetBytes is \(memoryBudgetBytes), must be at least twice memtableBytes (\(memtableBytes))")
    try check(blockCacheBytes >= 0, "blockCacheBytes is \(blockCacheBytes), must not be negative")
    try check(
      keyFilterBytes >= 0 && keyFilterBytes <= 64 << 30,
      "keyFilterBytes is \(keyFilterBytes), must be 0 to 64 GiB")
    try check(
      logSegmentBytes >= 16 << 10 && logSegmentBytes <= 1 << 30,
      "logSegmentBytes is \(logSegmentBytes), must be 16 KiB to 1 GiB")
    try check(
      logLimitBytes >= 2 * logSegmentBytes,
      "logLimitBytes is \(logLimitBytes), must be at least twice logSegmentBytes (\(logSegmentBytes))")
    if let openFileLimit {
      try check(openFileLimit >= 16, "openFileLimit is \(openFileLimit), must be at least 16")
    }
    try check(stallDeadline > .zero, "stallDeadline must be above zero")
  }
}

/// How much a write must survive before the call returns.
public enum Durability: Sendable {
  /// The operating system has it: it survives the end of the process, not of the machine.
  case applied
  /// The disk has it, and all writes before it.
  case synced
}

/// How a tree lays out its tables. Kept in the manifest with the tree.
public struct TreeOptions: Sendable, Equatable {
  public enum Compression: UInt8, Sendable {
    case none = 0
    case lz4 = 1
  }

  /// Bytes of entries in a data block before compression. Larger compresses better and reads more.
  public var blockBytes = 4096
  /// Keys between two restart points in a data block. 1 to 256.
  public var restartInterval = 16
  /// Bits of bloom filter a key; 0 for no filter. 10 gives about 1% false positives.
  public var filterBitsPerKey = 10
  public var compression: Compression = .lz4
  /// Bytes of a table file that compaction aims at.
  public var tableBytes = 32 << 20
  /// Cut compaction's outputs where the first so many bytes of the key change, once the output has
  /// half its target size. 0 for no such cuts.
  public var cutPrefixLength = 0

  public init() {}

  /// - Throws: `.invalidOption` naming the first option outside its limits.
  public func validate() throws(StoreError) {
    func check(_ ok: Bool, _ text: @autoclosure () -> String) throws(StoreError) {
      if !ok { throw StoreError(.invalidOption, text()) }
    }
    try check(
      blockBytes >= 256 && blockBytes <= 1 << 20,
      "blockBytes is \(blockBytes), must be 256 to 1 MiB")
    try check(
      restartInterval >= 1 && restartInterval <= 256,
      "restartInterval is \(restartInterval), must be 1 to 256")
    try check(
      filterBitsPerKey >= 0 && filterBitsPerKey <= 64,
      "filterBitsPerKey is \(filterBitsPerKey), must be 0 to 64")
    try check(
      tableBytes >= 16 << 10 && tableBytes <= 4 << 30,
      "tableBytes is \(tableBytes), must be 16 KiB to 4 GiB")
    try check(
      cutPrefixLength >= 0 && cutPrefixLength <= 64,
      "cutPrefixLength is \(cutPrefixLength), must be 0 to 64")
  }
}
