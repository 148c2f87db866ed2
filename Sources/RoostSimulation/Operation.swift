public import RoostEnvironment
public import SystemPackage

/// One call of a simulated file system or of one of its files.
public struct Operation: Sendable, Equatable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable, CaseIterable {
    case open, createDirectory, entries, rename, remove, syncDirectory, info, lock
    case size, read, write, sync, truncate, allocate, map
  }

  /// Counts the operations of one file system from 0.
  public var index: Int
  public var kind: Kind
  public var path: FilePath
  /// Where it reads or writes; 0 for the others.
  public var offset: Int64
  /// How much it reads, writes, maps or reserves, or the size to truncate to.
  public var byteCount: Int64
  /// The new name of a rename.
  public var newPath: FilePath?

  public var description: String {
    var text = "\(index) \(kind) \(path)"
    if let newPath { text += " -> \(newPath)" }
    switch kind {
    case .read, .write: text += " [\(offset), +\(byteCount)]"
    case .truncate, .allocate, .map: text += " \(byteCount)"
    default: break
    }
    return text
  }

  /// Whether it can change what a power loss leaves: where crash tests cut.
  public var changesDisk: Bool {
    switch kind {
    case .entries, .info, .size, .read: false
    default: true
    }
  }
}

/// Makes operations of a simulated file system fail.
public struct FaultRule: Sendable {
  public enum Action: Sendable {
    /// The operation does nothing and throws. A failed sync of a file moreover loses what was
    /// unsynced: the file reads as if nothing had happened, and a later sync succeeds without
    /// writing it.
    case fail(FileSystemError.Code)
    /// A sync of a file is done whole, and then throws: what it says may be lost is on the disk.
    case failOnceSynced(FileSystemError.Code)
    /// A read returns at most so many bytes, as if the file ended there.
    case shortRead(Int)
    /// A read that covers the file's byte at `offset` returns it with one bit (0 to 7) flipped.
    case flipBit(offset: Int64, bit: Int)
    /// A write stores so many bytes and then throws.
    case shortWrite(Int, FileSystemError.Code)
  }

  /// Which operations it is for; all where empty.
  public var kinds: Set<Operation.Kind>
  /// How the path must end, if it matters.
  public var pathSuffix: String?
  /// Which of the matching operations it strikes, counting from 1.
  public var occurrence: Int
  /// Whether it strikes all later ones too.
  public var repeats: Bool
  public var action: Action

  public init(
    _ kinds: Set<Operation.Kind>, pathSuffix: String? = nil, occurrence: Int = 1,
    repeats: Bool = false, _ action: Action
  ) {
    self.kinds = kinds
    self.pathSuffix = pathSuffix
    self.occurrence = occurrence
    self.repeats = repeats
    self.action = action
  }

  func matches(_ operation: Operation) -> Bool {
    guard kinds.isEmpty || kinds.contains(operation.kind) else { return false }
    if let pathSuffix, !operation.path.string.hasSuffix(pathSuffix) { return false }
    switch action {
    case .fail: return true
    case .failOnceSynced: return operation.kind == .sync
    case .shortRead: return operation.kind == .read
    case .shortWrite: return operation.kind == .write
    case .flipBit(let offset, _):
      return operation.kind == .read && offset >= operation.offset
        && offset - operation.offset < operation.byteCount
    }
  }
}

/// How much a simulated file system was asked to do.
public struct OperationCounts: Sendable, Equatable {
  public var operations = 0
  public var reads = 0
  public var writes = 0
  public var fileSyncs = 0
  public var directorySyncs = 0
  public var bytesRead = 0
  public var bytesWritten = 0
  /// What syncs of files wrote to the disk, in whole sectors.
  public var bytesSynced = 0
  /// How often a fault rule struck.
  public var faults = 0

  public init() {}
}
