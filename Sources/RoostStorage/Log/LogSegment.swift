import RoostEnvironment
import Synchronization
import SystemPackage

/// One log file that is being written, or was and may be used again.
///
/// Invariants:
/// - When `create` returns, the header, the size and the directory entry are on disk.
/// - A mapped segment has no holes: every block of it was written and synced before it is mapped,
///   because a store into a hole on a full disk raises a signal.
/// - A segment is mapped only while it is written: to clean a dirty page, the system interrupts every
///   processor that runs a thread of a process where the page is mapped, so an ended segment is
///   unmapped before it is synced.
/// - A recycled segment's old frames do not validate under its new salt.
///
/// `end` belongs to the ``LogWriter`` that writes the segment. ``sync()`` may be called from any
/// thread.
final class LogSegment: @unchecked Sendable {
  let number: UInt64
  let salt: UInt64
  let purpose: LogPurpose
  /// Bytes of the file; ``unlimited`` for a file that grows as it is written.
  let capacity: Int
  let path: FilePath
  let file: any File
  /// Whether every block was written once, so that it may be mapped.
  let isZeroed: Bool
  /// Whether old frames may stand behind the last new one.
  let isRecycled: Bool

  /// Where the last frame handed to the operating system ends.
  var end = LogHeader.byteCount
  /// Whether the end frame is in the system's hands: nothing more is written.
  let isEnded = Atomic<Bool>(false)
  /// Whether a sync that began after the segment was ended has returned.
  let isSynced = Atomic<Bool>(false)
  private let syncing: Syncing
  private let mappingLock = Lock()
  private var heldMapping: (any MappedFile)?

  /// What all users of one open file share, a recycled segment and the retired one included.
  private final class Syncing: @unchecked Sendable {
    let lock = Lock()
    /// Why a sync failed, once one has. Guarded by `lock`.
    var failure: StoreError?
  }

  /// The capacity of a file that grows. A multiple of the alignment.
  static let unlimited = Int.max & ~0xFFF

  private init(
    number: UInt64, salt: UInt64, purpose: LogPurpose, capacity: Int, path: FilePath,
    file: any File, mapping: (any MappedFile)?, isZeroed: Bool, isRecycled: Bool, syncing: Syncing
  ) {
    self.number = number
    self.salt = salt
    self.purpose = purpose
    self.capacity = capacity
    self.path = path
    self.file = file
    heldMapping = mapping
    self.isZeroed = isZeroed
    self.isRecycled = isRecycled
    self.syncing = syncing
  }

  /// Makes a log file that is ready for frames: its header, size and name are on disk when this
  /// returns.
  ///
  /// - Parameters:
  ///   - number: exceeds that of any file in the directory.
  ///   - salt: random; never that of an earlier use of the file.
  ///   - capacity: bytes of the file, rounded down to whole frames; ``unlimited`` for one that
  ///     grows.
  ///   - access: `.mapped` maps the file where the file system overwrites in place and the system
  ///     can fault its pages in ahead.
  ///   - retired: a segment whose records are no longer needed. Its file is renamed and used again
  ///     where its size fits, and removed otherwise. It must not be used afterwards.
  ///   - faultingAhead: for a mapped log that is rarely synced. Its pages are writable at once, so
  ///     that appends take no page faults (measured: 24 ns instead of 70 to 100 ns for 128 bytes);
  ///     the price is that the first sync writes the whole file. Without it a sync writes what was
  ///     appended.
  /// - Throws: `.diskFull`, `.io`, `.tooManyFiles`. What was created is removed again as far as
  ///   possible.
  static func create(
    _ fileSystem: any FileSystem, _ directory: FilePath, number: UInt64, salt: UInt64,
    purpose: LogPurpose = .writeAhead, identity: UInt128, capacity: Int,
    access: StoreOptions.LogAccess = .calls, recycling retired: LogSegment? = nil,
    faultingAhead: Bool = false
  ) throws(StoreError) -> LogSegment {
    let capacity = capacity & ~(LogFrame.alignment - 1)
    precondition(capacity >= LogFrame.minLogBytes)
    let path = directory.appending(purpose.fileName(number))
    var header = ByteBuffer(capacity: zeroingBytes)
    LogHeader(purpose: purpose, number: number, salt: salt, identity: identity)
      .encode(into: &header)
    let mapped =
      access == .mapped && capacity != unlimited && fileSystem.overwritesInPlace(directory)

    var isOurs = false
    do {
      if let retired, retired.capacity == capacity, capacity != unlimited,
        !retired.syncing.lock.withLock({ retired.syncing.failure != nil }), !mapped || retired.isZeroed
      {
        isOurs = true
        return try reuse(
          retired, fileSystem, directory, path, header: header.view,
          LogHeader(purpose: purpose, number: number, salt: salt, identity: identity),
          mapped: mapped,
          faultingAhead: faultingAhead)
      }
      if let retired {
        // Closed when its last holder lets go: someone may be about to sync it.
        try fileSystem.remove(retired.path)
      }
      let file = try fileSystem.open(path, .createNew)
      isOurs = true
      var mapping: (any MappedFile)?
      if mapped {
        try zero(file, capacity, header: &header)
      } else {
        if capacity != unlimited { try file.allocate(Int64(capacity)) }
        try file.write(header.view.span, at: 0)
      }
      try file.sync()
      // What cannot be mapped is written with calls.
      if mapped { mapping = try? file.map(capacity, faulting: faultingAhead ? .writing : .reading) }
      try fileSystem.sync(directory: directory)
      return LogSegment(
        number: number, salt: salt, purpose: purpose, capacity: capacity, path: path, file: file,
        mapping: mapping, isZeroed: mapped, isRecycled: false, syncing: Syncing())
    } catch {
      // Nothing refers to the file yet. Where even this fails, recovery removes it.
      if isOurs { try? fileSystem.remove(path) }
      throw StoreError("create the \(purpose.name) \(purpose.fileName(number))", error)
    }
  }

  /// Bytes of one write when a file is filled with zeros. Larger writes make the system keep the
  /// file in larger units, and then write a whole unit at each sync.
  static let zeroingBytes = 4096

  private static func zero(
    _ file: any File, _ capacity: Int, header: inout ByteBuffer
  ) throws(FileSystemError) {
    header.append(zeros: zeroingBytes - header.count)
    try file.write(header.view.prefix(min(zeroingBytes, capacity)).span, at: 0)
    var zeros = ByteBuffer(capacity: zeroingBytes)
    zeros.append(zeros: zeroingBytes)
    var offset = zeroingBytes
    while offset < capacity {
      let count = min(zeroingBytes, capacity - offset)
      try file.write(zeros.view.prefix(count).span, at: Int64(offset))
      offset += count
    }
  }

  /// Renames a retired segment, keeping its file, and gives it a new header. The old
  /// frames stay: the new salt makes them invalid.
  private static func reuse(
    _ retired: LogSegment, _ fileSystem: any FileSystem, _ directory: FilePath, _ path: FilePath,
    header bytes: ByteView, _ header: LogHeader, mapped: Bool, faultingAhead: Bool
  ) throws(FileSystemError) -> LogSegment {
    retired.unmap()
    try fileSystem.rename(retired.path, to: path)
    // A header of zeros behind it says that no frame follows yet.
    var start = ByteBuffer(capacity: LogHeader.byteCount + LogFrame.headerBytes)
    start.append(bytes)
    start.append(zeros: LogFrame.headerBytes)
    try retired.file.write(start.view.span, at: 0)
    try retired.file.sync()
    try fileSystem.sync(directory: directory)
    var mapping: (any MappedFile)?
    if mapped {
      mapping = try? retired.file.map(
        retired.capacity, faulting: faultingAhead ? .writing : .reading)
    }
    return LogSegment(
      number: header.number, salt: header.salt, purpose: header.purpose, capacity: retired.capacity,
      path: path, file: retired.file, mapping: mapping, isZeroed: retired.isZeroed, isRecycled: true,
      syncing: retired.syncing)
  }

  /// The file's bytes in memory; `nil` for a segment that is written with calls, or is ended. Valid as
  /// long as it is held.
  var mapping: (any MappedFile)? { mappingLock.withLock { heldMapping } }

  /// Gives the mapping up where nothing more is written.
  func unmapIfEnded() {
    if isEnded.load(ordering: .acquiring) { unmap() }
  }

  /// Gives the mapping up. The writer may hold it a little longer.
  func unmap() {
    // Let go of without the lock: it takes a while.
    _ = mappingLock.withLock { heldMapping.take() }
  }

  /// Makes the file's bytes durable, and says so in `isSynced` where nothing more will follow them.
  ///
  /// The system tells of a failed sync once, and the next one succeeds without having written what
  /// was lost. A flush and the commit leader may sync side by side, so one goes after the other,
  /// and after a failure all throw (rule 4).
  ///
  /// - Throws: `.outcomeUnknown`; what is on disk is then unknown for good, and syncing again
  ///   proves nothing: the caller must write nothing more and tell the writer
  ///   (``LogWriter/poison(_:)``).
  func sync() throws(StoreError) {
    try syncing.lock.withLock { () throws(StoreError) in
      if let failure = syncing.failure { throw failure }
      // Asked before the sync: the end frame, or frames staged before it, written during the sync
      // may not be covered by it.
      let wasEnded = isEnded.load(ordering: .acquiring)
      if wasEnded { unmap() }
      do throws(FileSystemError) { try file.sync() } catch {
        let failure = StoreError(
          .outcomeUnknown,
          "the \(purpose.name) could not be synced: what was written since its last sync may be lost",
          file: path.string, cause: error)
        syncing.failure = failure
        throw failure
      }
      if wasEnded { isSynced.store(true, ordering: .releasing) }
    }
  }
}
