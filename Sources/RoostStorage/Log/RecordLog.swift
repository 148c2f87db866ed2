import RoostEnvironment
import SystemPackage

// A face of the log for those above the engine who keep records of their own, in a folder of a store's
// directory: the coordinator log. One file is in force at a time; the next one is made whole before the one
// before it goes.

/// A log file that grows as records are appended. Made by ``RecordLogFiles/create(_:)``.
///
/// Used by one thread at a time; the caller sees to that.
package final class RecordLog: @unchecked Sendable {
  /// The longest record.
  package static let longestRecord = 1 << 30

  package let number: UInt64
  package let path: String
  private let writer: LogWriter

  fileprivate init(_ segment: LogSegment) {
    number = segment.number
    path = segment.path.string
    writer = LogWriter(segment)
  }

  /// Whether records can be appended: no write or sync has failed, and it is not closed.
  package var isOpen: Bool { writer.state == .open }
  /// Bytes of frames.
  package var byteCount: Int { writer.bytesWritten }
  /// Syncs that were asked of the system.
  package var syncCount: Int { writer.syncCount }

  /// Appends a record. It is in the file after the next ``flush()``.
  ///
  /// - Throws: `.tooLarge`; `.readOnly` after a failure; `.closed`; as ``flush()``.
  package func append(_ record: [UInt8]) throws(StoreError) {
    guard record.count <= Self.longestRecord else {
      throw StoreError(.tooLarge, "a record of \(record.count) bytes; the limit is \(Self.longestRecord)")
    }
    try record.withByteView { (view) throws(StoreError) in _ = try writer.append(view) }
  }

  /// Hands all appended records to the operating system.
  ///
  /// - Throws: `.diskFull`, `.io`: nothing since the last flush is known to be in the file, and nothing more
  ///   is appended.
  package func flush() throws(StoreError) { try writer.flush() }

  /// Makes all appended records durable.
  ///
  /// - Throws: as ``flush()``; `.outcomeUnknown` where the sync fails.
  package func sync() throws(StoreError) { try writer.sync() }

  /// Makes everything durable and closes the file; after a failure only closes.
  package func close() throws(StoreError) { try writer.close() }
}

/// The log files of one purpose in a folder. Thread-safe.
package struct RecordLogFiles: Sendable {
  package enum Purpose: Sendable {
    /// What a coordinator of transactions has decided.
    case coordinator
  }

  /// What reading a log found behind its last record.
  package struct Tail: Sendable, Hashable {
    package var file: String
    package var offset: Int64
    package var byteCount: Int64
  }

  private let environment: Environment
  private let parent: FilePath
  private let folder: FilePath
  private let identity: UInt128
  private let purpose: LogPurpose

  /// - Parameters:
  ///   - name: of the folder, in `directory`.
  ///   - identity: what the files belong to: one that says anything else is refused.
  package init(
    _ purpose: Purpose, in directory: String, folder name: String, identity: UInt128,
    _ environment: Environment
  ) {
    self.environment = environment
    self.identity = identity
    parent = FilePath(directory)
    folder = parent.appending(name)
    self.purpose =
      switch purpose {
      case .coordinator: .coordinator
      }
  }

  package var path: String { folder.string }
  private var fileSystem: any FileSystem { environment.fileSystem }

  /// Makes the folder where it is missing, durably.
  ///
  /// - Throws: `.diskFull`, `.permissionDenied`, `.io`.
  package func makeFolder() throws(StoreError) {
    try doing("make the folder of the \(purpose.name)") { () throws(FileSystemError) in
      try fileSystem.createDirectory(folder)
      // Also where it was there: whoever made it may have ended before this.
      try fileSystem.sync(directory: parent)
    }
  }

  /// The numbers of the files that are there, ascending.
  package func numbers() throws(StoreError) -> [UInt64] {
    let names = try doing("list the folder of the \(purpose.name)") { () throws(FileSystemError) in
      try fileSystem.info(of: folder) == nil ? [] : try fileSystem.entries(of: folder)
    }
    return names.compactMap { name in
      guard let (kind, number) = FileNames.parse(name), kind == .log else { return nil }
      return number
    }.sorted()
  }

  /// What a file is; `nil` where it is not there.
  package func info(_ number: UInt64) throws(StoreError) -> FileInfo? {
    try info(named: purpose.fileName(number))
  }

  /// What a file of another name is.
  package func info(named name: String) throws(StoreError) -> FileInfo? {
    try doing("look at \(name)") { () throws(FileSystemError) in
      try fileSystem.info(of: folder.appending(name))
    }
  }

  /// Writes a small file of another name anew, durably.
  package func write(_ bytes: [UInt8], named name: String) throws(StoreError) {
    try doing("write \(name)") { () throws(FileSystemError) in
      let file = try fileSystem.open(folder.appending(name), .createOrTruncate)
      defer { file.close() }
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.sync()
      try fileSystem.sync(directory: folder)
    }
  }

  /// Makes a log, durably; without a record it is not whole yet.
  ///
  /// - Parameter number: exceeds that of any that is there.
  /// - Throws: `.diskFull`, `.io`, `.tooManyFiles`.
  package func create(_ number: UInt64) throws(StoreError) -> RecordLog {
    RecordLog(
      try LogSegment.create(
        fileSystem, folder, number: number, salt: environment.randomness.next(), purpose: purpose,
        identity: identity, capacity: LogSegment.unlimited))
  }

  /// Hands a log's records to `body`, in order.
  ///
  /// - Returns: how many there were, and what was cut off behind the last. A log that was never finished
  ///   being created has none.
  /// - Throws: `.corruption` where a byte is damaged before what is known to have been synced, or the log is
  ///   of something else; `.newerFormat`, `.missingFile`, `.io`; what `body` throws.
  package func replay(
    _ number: UInt64, _ body: (_ record: [UInt8], _ offset: Int64) throws(StoreError) -> Void
  ) throws(StoreError) -> (records: Int, tail: Tail?) {
    let file = folder.appending(purpose.fileName(number)).string
    // The header is synced before the first record is written.
    if let info = try info(number), info.byteCount <= Int64(LogHeader.byteCount) {
      let isWhole = info.byteCount == 0 ? nil : Tail(file: file, offset: 0, byteCount: info.byteCount)
      return (0, isWhole)
    }
    let (report, _) = try LogReplay.replay(
      purpose, number: number, fileSystem, folder, identity: identity
    ) { (record, position) throws(StoreError) in try body(record.array, Int64(position.offset)) }
    let tail = report.tornTail.map {
      Tail(file: $0.file, offset: Int64($0.offset), byteCount: Int64($0.byteCount))
    }
    return (report.records, tail)
  }

  /// Removes a file.
  package func remove(_ number: UInt64) throws(StoreError) {
    try doing("remove an old \(purpose.name)") { () throws(FileSystemError) in
      try fileSystem.remove(folder.appending(purpose.fileName(number)))
    }
  }

  /// Damage that the reader of the records found.
  package func damage(_ message: String, in number: UInt64, at offset: Int64) -> StoreError {
    .corruption(message, file: folder.appending(purpose.fileName(number)).string, offset: offset)
  }
}
