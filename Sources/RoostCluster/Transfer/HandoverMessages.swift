import RoostCausality

// What nodes say to each other so that partitions' transactional keys change their owner
// (`PartitionHandover.swift` has what it means):
//
//   handover := version u8 (1) | database high u64 | low u64 | revision varint | partition varint
//             | from u64 | to u64 | session u64 | number varint | step u8 | rest
//   rest     := of begin (1), freeze (4), thaw (5), give up (6): nothing
//             | of page (2): keyspace varint | tree u8 (0 current, 1 history) | start lengthPrefixed
//               | byte limit varint
//             | of written (3): byte limit varint
//   answers  := of begin: version u8 (1) | session u64 | count varint | keyspace varint*
//             | of page: entries | next lengthPrefixed (empty at the end)
//             | of written: entries | left varint
//             | of freeze: version u8 (1) | drained u8
//             | of thaw: nothing
//             | of give up: version u8 (1) | highest u64 | count varint | (keyspace varint, floor u64)*
//   entries  := version u8 (1) | count varint | entry*
//   entry    := keyspace varint | kind u8 (bit 0: of the history, bit 1: it is gone) | key lengthPrefixed
//             | value lengthPrefixed, where it is not gone

/// A receiver's request to the owner of a partition's transactional keys. A plain value.
struct HandoverRequest: Equatable, Sendable {
  enum Step: Equatable, Sendable {
    case begin
    case page(keyspace: UInt64, VersionEntries.TreeName, from: [UInt8], byteLimit: Int)
    case written(byteLimit: Int)
    case freeze
    case thaw
    case giveUp
  }

  var database: DatabaseID
  /// Of the ring that the receiver goes by.
  var revision: UInt64
  var move: PartitionMove
  /// What the owner answered to `begin`; 0 of that.
  var session: UInt64 = 0
  /// Counts the requests of a session: one that is asked again is answered again.
  var number: UInt64 = 0
  var step: Step

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(database)
    writer.write(varint: revision)
    writer.write(count: move.partition)
    writer.write(fixed: move.from.rawValue)
    writer.write(fixed: move.to.rawValue)
    writer.write(fixed: session)
    writer.write(varint: number)
    switch step {
    case .begin: writer.write(byte: 1)
    case .page(let keyspace, let tree, let start, let byteLimit):
      writer.write(byte: 2)
      writer.write(varint: keyspace)
      writer.write(byte: tree.rawValue)
      writer.write(lengthPrefixed: start)
      writer.write(count: byteLimit)
    case .written(let byteLimit):
      writer.write(byte: 3)
      writer.write(count: byteLimit)
    case .freeze: writer.write(byte: 4)
    case .thaw: writer.write(byte: 5)
    case .giveUp: writer.write(byte: 6)
    }
    return writer.bytes
  }

  init(
    database: DatabaseID, revision: UInt64, _ move: PartitionMove, session: UInt64 = 0, number: UInt64 = 0,
    _ step: Step
  ) {
    self.database = database
    self.revision = revision
    self.move = move
    self.session = session
    self.number = number
    self.step = step
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request of a handover", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    database = try reader.readDatabase()
    revision = try reader.readOrdinal()
    let partition = try reader.readPartition()
    // What owns the transactional keys is the first of the list.
    move = PartitionMove(
      partition: partition, slot: 0, from: MemberID(rawValue: try reader.readFixed()),
      to: MemberID(rawValue: try reader.readFixed()))
    session = try reader.readFixed()
    number = try reader.readOrdinal()
    switch try reader.readByte() {
    case 1: step = .begin
    case 2:
      let keyspace = try reader.readOrdinal()
      let raw = try reader.readByte()
      guard let tree = VersionEntries.TreeName(rawValue: raw) else { throw reader.damaged("tree \(raw)") }
      let start = try reader.readLengthPrefixed()
      step = .page(keyspace: keyspace, tree, from: start, byteLimit: try Self.readLimit(&reader))
    case 3: step = .written(byteLimit: try Self.readLimit(&reader))
    case 4: step = .freeze
    case 5: step = .thaw
    case 6: step = .giveUp
    case let other: throw reader.damaged("a step of kind \(other)")
    }
    try reader.readEnd()
  }

  private static func readLimit(_ reader: inout FieldReader) throws(DatabaseError) -> Int {
    let limit = try reader.readOrdinal()
    guard limit <= 1 << 30 else { throw reader.damaged("a page of \(limit) bytes") }
    return Int(limit)
  }
}

extension VersionEntries {
  func write(to writer: inout FieldWriter) {
    writer.write(byte: 1)
    writer.write(count: entries.count)
    for entry in entries {
      writer.write(varint: entry.keyspace)
      writer.write(byte: entry.tree.rawValue | (entry.value == nil ? 2 : 0))
      writer.write(lengthPrefixed: entry.key)
      if let value = entry.value { writer.write(lengthPrefixed: value) }
    }
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    self.init()
    _ = try reader.readVersion(upTo: 1)
    for _ in 0..<(try reader.readCount(of: 3)) {
      let keyspace = try reader.readOrdinal()
      let kind = try reader.readByte()
      guard kind < 4, let tree = TreeName(rawValue: kind & 1) else { throw reader.damaged("kind \(kind)") }
      let key = try reader.readLengthPrefixed()
      let value = kind & 2 == 0 ? try reader.readLengthPrefixed() : nil
      append(Entry(keyspace: keyspace, tree: tree, key: key, value: value))
    }
  }
}

/// What an owner answers. Each is a plain value.
enum HandoverAnswer {
  struct Begun: Equatable {
    var session: UInt64
    /// The transactional keyspaces that the owner knows.
    var keyspaces: [UInt64]

    func encoded() -> [UInt8] {
      var writer = FieldWriter()
      writer.write(byte: 1)
      writer.write(fixed: session)
      writer.write(count: keyspaces.count)
      for id in keyspaces { writer.write(varint: id) }
      return writer.bytes
    }

    init(session: UInt64, keyspaces: [UInt64]) {
      self.session = session
      self.keyspaces = keyspaces
    }

    /// - Throws: `.corruption`, `.newerFormat`.
    init(decoding bytes: [UInt8]) throws(DatabaseError) {
      var reader = FieldReader(bytes, "the beginning of a handover")
      _ = try reader.readVersion(upTo: 1)
      session = try reader.readFixed()
      keyspaces = []
      for _ in 0..<(try reader.readCount()) { keyspaces.append(try reader.readOrdinal()) }
      try reader.readEnd()
    }
  }

  /// Of `page` and `written`.
  struct Brought: Equatable {
    var page = VersionEntries()
    /// Of a page: where to go on; `nil` at the end.
    var next: [UInt8]?

    func encoded() -> [UInt8] {
      var writer = FieldWriter()
      page.write(to: &writer)
      writer.write(lengthPrefixed: next ?? [])
      return writer.bytes
    }

    init(_ page: VersionEntries, next: [UInt8]?) {
      self.page = page
      self.next = next
    }

    /// - Throws: `.corruption`, `.newerFormat`.
    init(decoding bytes: [UInt8]) throws(DatabaseError) {
      var reader = FieldReader(bytes, "a page of a handover")
      page = try VersionEntries(from: &reader)
      let next = try reader.readLengthPrefixed()
      self.next = next.isEmpty ? nil : next
      try reader.readEnd()
    }
  }

  struct Written: Equatable {
    var page = VersionEntries()
    /// Keys that were committed to and are still to be brought.
    var left: UInt64

    func encoded() -> [UInt8] {
      var writer = FieldWriter()
      page.write(to: &writer)
      writer.write(varint: left)
      return writer.bytes
    }

    init(_ page: VersionEntries, left: Int) {
      self.page = page
      self.left = UInt64(left)
    }

    /// - Throws: `.corruption`, `.newerFormat`.
    init(decoding bytes: [UInt8]) throws(DatabaseError) {
      var reader = FieldReader(bytes, "what was written during a handover")
      page = try VersionEntries(from: &reader)
      left = try reader.readOrdinal()
      try reader.readEnd()
    }
  }

  struct GivenUp: Equatable {
    /// Above every time at which the owner has served a read of the partition.
    var highest: Timestamp
    /// By keyspace: what was collected before it was brought lies below.
    var floors: [UInt64: Timestamp]

    func encoded() -> [UInt8] {
      var writer = FieldWriter()
      writer.write(byte: 1)
      writer.write(fixed: highest.rawValue)
      writer.write(count: floors.count)
      for (keyspace, floor) in floors.sorted(by: { $0.key < $1.key }) {
        writer.write(varint: keyspace)
        writer.write(fixed: floor.rawValue)
      }
      return writer.bytes
    }

    init(highest: Timestamp, floors: [UInt64: Timestamp]) {
      self.highest = highest
      self.floors = floors
    }

    /// - Throws: `.corruption`, `.newerFormat`.
    init(decoding bytes: [UInt8]) throws(DatabaseError) {
      var reader = FieldReader(bytes, "the end of a handover")
      _ = try reader.readVersion(upTo: 1)
      highest = Timestamp(rawValue: try reader.readFixed())
      floors = [:]
      for _ in 0..<(try reader.readCount(of: 9)) {
        let keyspace = try reader.readOrdinal()
        floors[keyspace] = Timestamp(rawValue: try reader.readFixed())
      }
      try reader.readEnd()
    }
  }

  static func encode(isDrained: Bool) -> [UInt8] { [1, isDrained ? 1 : 0] }

  /// - Throws: `.corruption`, `.newerFormat`.
  static func isDrained(_ bytes: [UInt8]) throws(DatabaseError) -> Bool {
    var reader = FieldReader(bytes, "the answer to a freeze")
    _ = try reader.readVersion(upTo: 1)
    let isDrained = try reader.readFlag()
    try reader.readEnd()
    return isDrained
  }
}
