import RoostEnvironment
import SystemPackage

@testable import RoostStorage

/// The files that FORMAT.md shows byte by byte, made by the engine's own encoders: a store whose
/// tree `users` was given three batches, the first two of which went on to a table.
enum FormatExamples {
  static let identity = FileIdentity(low: 0x0706_0504_0302_0100, high: 0x0F0E_0D0C_0B0A_0908)
  static let tableIdentity = FileIdentity(low: 0x1716_1514_1312_1110, high: 0x1F1E_1D1C_1B1A_1918)
  static let logSalt: UInt64 = 0x1122_3344_5566_7788
  static let nextLogSalt: UInt64 = 0x99AA_BBCC_DDEE_FF00
  static let manifestSalt: UInt64 = 0x0123_4567_89AB_CDEF

  static func marker() -> [UInt8] { Marker(identity: identity, manifestNumber: 1).encoded() }

  /// `000002.log`: two records, a mark, and the end that leads to log 3.
  static func log() throws -> [UInt8] {
    let files = MemoryFiles()
    func segment(_ number: UInt64, _ salt: UInt64) throws(StoreError) -> LogSegment {
      try LogSegment.create(
        files, "/store", number: number, salt: salt, identity: identity.word, capacity: 256)
    }
    let writer = LogWriter(try segment(2, logSalt)) { _ throws(StoreError) in
      try segment(3, nextLogSalt)
    }
    try writer.append(batch(1) { $0.put("u:1", "Ada") })
    try writer.append(
      batch(2) {
        $0.put("u:2", "Grace")
        $0.delete("u:1")
        $0.deleteRange("t", "u")
      })
    try writer.sync()
    // Does not fit behind the others.
    try writer.append([UInt8](repeating: 0, count: 64))
    try writer.sync()
    return files["000002.log"]
  }

  /// A record's payload: an entry takes the place of another, which is deleted late.
  static func lateDelete() -> [UInt8] {
    batch(5) {
      $0.deleteLate("u:2")
      $0.put("u:3", "Joan")
    }
  }

  /// `000001.manifest`: a new manifest's first record, and a flush.
  static func manifest() throws -> [UInt8] {
    let files = MemoryFiles()
    let segment = try LogSegment.create(
      files, "/store", number: 1, salt: manifestSalt, purpose: .manifest, identity: identity.word,
      capacity: LogSegment.unlimited)
    let writer = LogWriter(segment)
    try writer.append(
      encoded([
        .nextFileNumber(3), .lastSequence(0), .nextTreeID(2),
        .treeCreated(id: 1, name: "users", options: TreeOptions()), .flushed(tree: 1, through: 0),
        .logAdded(LogRecord(number: 2, salt: logSalt, capacity: 256)),
      ]))
    try writer.sync()
    let table = TableMetadata(
      number: 4, identity: tableIdentity, summary: try self.table().summary)
    try writer.append(
      encoded([
        .nextFileNumber(5), .logAdded(LogRecord(number: 3, salt: nextLogSalt, capacity: 256)),
        .tableAdded(tree: 1, level: 0, table), .flushed(tree: 1, through: 4), .logsDropped(below: 3),
      ]))
    try writer.sync()
    return files["000001.manifest"]
  }

  /// `000004.sst`: what the log's batches left, all versions kept, as where a snapshot holds them.
  static func table() throws -> (bytes: [UInt8], summary: TableSummary) {
    let file = TableMemoryFile()
    let writer = TableWriter(
      file: file, number: 4, treeID: 1, identity: tableIdentity, options: TreeOptions())
    try writer.add(TestEntry(Array("u:1".utf8), 3, .delete, []))
    try writer.add(TestEntry(Array("u:1".utf8), 1, .put, Array("Ada".utf8)))
    try writer.add(TestEntry(Array("u:2".utf8), 2, .put, Array("Grace".utf8)))
    try [UInt8("t".utf8.first!)].withByteView { (from) throws(StoreError) in
      try [UInt8("u".utf8.first!)].withByteView { (to) throws(StoreError) in
        try writer.addRangeTombstones(from: from, to: to, sequences: [4])
      }
    }
    let summary = try writer.finish()
    return (file.bytes, summary)
  }

  private static func encoded(_ edits: [VersionEdit]) -> [UInt8] {
    var buffer = ByteBuffer()
    for edit in edits { edit.encode(into: &buffer) }
    return buffer.view.array
  }

  private static func batch(_ base: UInt64, _ fill: (inout Operations) -> Void) -> [UInt8] {
    var operations = Operations()
    fill(&operations)
    var encoder = WriteBatchEncoder()
    for (kind, key, value) in operations.list {
      key.withByteView { key in
        value.withByteView { value in
          switch kind {
          case .put: encoder.put(treeID: 1, key: key, value: value)
          case .delete: encoder.delete(treeID: 1, key: key)
          case .deleteRange: encoder.deleteRange(treeID: 1, from: key, to: value)
          case .deleteLate: encoder.deleteLate(treeID: 1, key: key)
          }
        }
      }
    }
    encoder.setBaseSequence(base)
    return encoder.view.array
  }

  private struct Operations {
    var list: [(BatchOperationKind, [UInt8], [UInt8])] = []
    mutating func put(_ key: String, _ value: String) {
      list.append((.put, Array(key.utf8), Array(value.utf8)))
    }
    mutating func delete(_ key: String) { list.append((.delete, Array(key.utf8), [])) }
    mutating func deleteLate(_ key: String) { list.append((.deleteLate, Array(key.utf8), [])) }
    mutating func deleteRange(_ start: String, _ end: String) {
      list.append((.deleteRange, Array(start.utf8), Array(end.utf8)))
    }
  }
}
