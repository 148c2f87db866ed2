// One record of the manifest holds edits that take effect together:
//
//   record := edit*
//   edit   := kind u8, fields
//
//   kind  fields                                          meaning
//   1     tree varint, name, options                      a tree was created
//   2     tree varint                                     a tree was dropped, its tables with it
//   3     tree varint, level u8, table                    a table file joined a level
//   4     tree varint, level u8, number varint            a table file left a level
//   5     number varint, salt u64, capacity varint        a log may hold records from now on
//   6     number varint                                   logs below this number are needed no more
//   7     tree varint, sequence varint                    the tree's tables hold all up to here
//   8     number varint                                   file numbers from here on are unused
//   9     sequence varint                                 the greatest sequence number given out
//   10    tree varint                                     tree ids from here on are unused
//
// `name` is length-prefixed; `options` and `table` are described at their encoders.

/// One change to what a store consists of.
package enum VersionEdit: Sendable, Equatable {
  case treeCreated(id: UInt64, name: String, options: TreeOptions)
  case treeDropped(id: UInt64)
  case tableAdded(tree: UInt64, level: Int, TableMetadata)
  case tableRemoved(tree: UInt64, level: Int, number: UInt64)
  case logAdded(LogRecord)
  case logsDropped(below: UInt64)
  case flushed(tree: UInt64, through: UInt64)
  case nextFileNumber(UInt64)
  case lastSequence(UInt64)
  case nextTreeID(UInt64)
}

/// A live log as the manifest names it.
package struct LogRecord: Sendable, Equatable {
  package var number: UInt64
  package var salt: UInt64
  package var capacity: Int

  package init(number: UInt64, salt: UInt64, capacity: Int) {
    self.number = number
    self.salt = salt
    self.capacity = capacity
  }
}

extension VersionEdit {
  /// Levels are 0 to this.
  package static let deepestLevel = 6

  func encode(into buffer: inout ByteBuffer) {
    switch self {
    case .treeCreated(let id, let name, let options):
      buffer.append(1)
      buffer.append(varint: id)
      Array(name.utf8).withByteView { buffer.append(lengthPrefixed: $0) }
      options.encode(into: &buffer)
    case .treeDropped(let id):
      buffer.append(2)
      buffer.append(varint: id)
    case .tableAdded(let tree, let level, let table):
      buffer.append(3)
      buffer.append(varint: tree)
      buffer.append(UInt8(level))
      table.encode(into: &buffer)
    case .tableRemoved(let tree, let level, let number):
      buffer.append(4)
      buffer.append(varint: tree)
      buffer.append(UInt8(level))
      buffer.append(varint: number)
    case .logAdded(let log):
      buffer.append(5)
      buffer.append(varint: log.number)
      buffer.append(littleEndian: log.salt)
      buffer.append(varint: log.capacity)
    case .logsDropped(let number):
      buffer.append(6)
      buffer.append(varint: number)
    case .flushed(let tree, let sequence):
      buffer.append(7)
      buffer.append(varint: tree)
      buffer.append(varint: sequence)
    case .nextFileNumber(let number):
      buffer.append(8)
      buffer.append(varint: number)
    case .lastSequence(let sequence):
      buffer.append(9)
      buffer.append(varint: sequence)
    case .nextTreeID(let id):
      buffer.append(10)
      buffer.append(varint: id)
    }
  }

  /// The edits of one record. `nil` where the bytes are not edits.
  static func decode(_ record: ByteView) -> [VersionEdit]? {
    var reader = ByteReader(record)
    var edits: [VersionEdit] = []
    while !reader.isAtEnd {
      guard let edit = decodeOne(&reader) else { return nil }
      edits.append(edit)
    }
    return edits
  }

  private static func decodeOne(_ reader: inout ByteReader) -> VersionEdit? {
    guard let kind = reader.readUInt8() else { return nil }
    switch kind {
    case 1:
      guard let id = reader.readVarint(), let bytes = reader.readLengthPrefixed(),
        let name = String(validating: bytes.array, as: UTF8.self),
        let options = TreeOptions(from: &reader)
      else { return nil }
      return .treeCreated(id: id, name: name, options: options)
    case 2:
      return reader.readVarint().map { .treeDropped(id: $0) }
    case 3:
      guard let tree = reader.readVarint(), let level = readLevel(&reader),
        let table = TableMetadata(from: &reader)
      else { return nil }
      return .tableAdded(tree: tree, level: level, table)
    case 4:
      guard let tree = reader.readVarint(), let level = readLevel(&reader),
        let number = reader.readVarint()
      else { return nil }
      return .tableRemoved(tree: tree, level: level, number: number)
    case 5:
      guard let number = reader.readVarint(), let salt = reader.readUInt64(),
        let capacity = reader.readCount()
      else { return nil }
      return .logAdded(LogRecord(number: number, salt: salt, capacity: capacity))
    case 6:
      return reader.readVarint().map { .logsDropped(below: $0) }
    case 7:
      guard let tree = reader.readVarint(), let sequence = reader.readVarint(),
        sequence <= Tag.maxSequence
      else { return nil }
      return .flushed(tree: tree, through: sequence)
    case 8:
      return reader.readVarint().map { .nextFileNumber($0) }
    case 9:
      guard let sequence = reader.readVarint(), sequence <= Tag.maxSequence else { return nil }
      return .lastSequence(sequence)
    case 10:
      return reader.readVarint().map { .nextTreeID($0) }
    default:
      return nil
    }
  }

  private static func readLevel(_ reader: inout ByteReader) -> Int? {
    guard let level = reader.readUInt8(), level <= UInt8(deepestLevel) else { return nil }
    return Int(level)
  }
}

extension TreeOptions {
  /// options := count u8, then that many varints: block bytes, restart interval, filter bits a key,
  /// compression, table bytes, cut prefix length. A reader takes the defaults for those that are
  /// missing and refuses more than it knows.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(6)
    buffer.append(varint: blockBytes)
    buffer.append(varint: restartInterval)
    buffer.append(varint: filterBitsPerKey)
    buffer.append(varint: UInt64(compression.rawValue))
    buffer.append(varint: tableBytes)
    buffer.append(varint: cutPrefixLength)
  }

  init?(from reader: inout ByteReader) {
    self.init()
    guard let count = reader.readUInt8(), count <= 6 else { return nil }
    for index in 0..<count {
      guard let value = reader.readCount() else { return nil }
      switch index {
      case 0: blockBytes = value
      case 1: restartInterval = value
      case 2: filterBitsPerKey = value
      case 3:
        guard value <= 255, let known = Compression(rawValue: UInt8(value)) else { return nil }
        compression = known
      case 4: tableBytes = value
      default: cutPrefixLength = value
      }
    }
    do { try validate() } catch { return nil }
  }
}
