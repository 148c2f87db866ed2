package import RoostCausality

// What clients ask of a node about a key, and what they are told. Bodies of messages between nodes:
//
//   request := version u8 (1; 2 of a session; 3 of one where tombstones are reaped)
//            | keyspace lengthPrefixed | key lengthPrefixed | flags u8
//            | quorum varint (0: the keyspace's) | context lengthPrefixed (a context token; empty for none)
//            | demand, from version 2 on | operation u8 | what the operation takes
//   demand  := flags u8 (bit 0 asks all; bit 1, in version 3, has since)
//            | database high u64 | low u64 (0, 0: none yet)
//            | seen lengthPrefixed (a context token; empty for none)
//            | since u64, a timestamp, where it has one
//   flags   := bit 0 conditional, bit 1 handed on by another node, bit 2 synced
//   put (2)       takes: time to live varint, in ms, 0 for none | value lengthPrefixed
//   increment (4) takes: amount varint, zigzag
//   add (5), remove (6) take: element lengthPrefixed
//   counted once (7) takes: id high u64 | id low u64 | amount varint, zigzag | has field u8 | field
//                           lengthPrefixed, where it has one
//   change (8)    takes: a change (`StateChange`)
//   get (1) and delete (3) take nothing
//
//   answer  := version u8 (1, 2, 3) | context token lengthPrefixed | has record u8 | record, where it has one
//            | from version 2 on: changed varint | mark
//   mark    := 0 u8: none
//            | flags u8 (bit 0 set; in version 3 also bit 1, has since, and bit 2, replaces)
//              | database high u64 | low u64 | seen lengthPrefixed (a context token)
//              | since u64, a timestamp, where it has one

/// What is asked about one key of an eventual keyspace.
package struct KeyRequest: Sendable, Equatable {
  package enum Operation: Sendable, Equatable {
    case get
    case put([UInt8], timeToLiveMilliseconds: UInt64?)
    case delete
    /// Of a counter.
    case increment(Int64)
    /// Of a counter, under the key or in a field of its map: counted once, however often it is tried.
    case countOnce(Int64, OperationID, field: [UInt8]?)
    /// Of a set.
    case add([UInt8])
    case remove([UInt8])
    /// Of any typed state.
    case change(StateChange)
  }

  package var keyspace: String
  package var key: [UInt8]
  package var operation: Operation
  package var context: CausalContext?
  /// Whether it is done only where nothing was written since the context was read.
  package var isConditional = false
  /// How many replicas must have answered; `nil` for what the keyspace goes by.
  package var quorum: Int?
  /// Whether a replica counts once the write would survive its machine.
  package var isSynced = false
  /// Whether another node, which is no replica, has handed it on: it is not handed on again.
  package var isHandedOn = false
  /// Of a session: what the state must cover that this is done on.
  package var session: SessionDemand?

  package init(_ operation: Operation, _ key: [UInt8], in keyspace: String) {
    self.keyspace = keyspace
    self.key = key
    self.operation = operation
  }

  package var isWrite: Bool { operation != .get }

  /// Whether what a replica sees decides what goes.
  var removes: Bool {
    switch operation {
    case .remove: true
    case .change(let change): change.removes
    case .get, .put, .delete, .increment, .add, .countOnce: false
    }
  }

  /// Whether it may be asked for again when nobody knows what became of it.
  var isRepeatable: Bool { if case .countOnce = operation { true } else { !isWrite } }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: session == nil ? 1 : session?.since == nil ? 2 : 3)
    writer.write(text: keyspace)
    writer.write(lengthPrefixed: key)
    writer.write(byte: (isConditional ? 1 : 0) | (isHandedOn ? 2 : 0) | (isSynced ? 4 : 0))
    writer.write(count: quorum ?? 0)
    writer.write(lengthPrefixed: context?.bytes ?? [])
    if let session { writer.write(session) }
    switch operation {
    case .get: writer.write(byte: 1)
    case .put(let value, let timeToLive):
      writer.write(byte: 2)
      writer.write(varint: timeToLive ?? 0)
      writer.write(lengthPrefixed: value)
    case .delete: writer.write(byte: 3)
    case .increment(let amount):
      writer.write(byte: 4)
      writer.write(zigzag: amount)
    case .countOnce(let amount, let id, let field):
      writer.write(byte: 7)
      writer.write(fixed: id.high)
      writer.write(fixed: id.low)
      writer.write(zigzag: amount)
      writer.write(byte: field == nil ? 0 : 1)
      if let field { writer.write(lengthPrefixed: field) }
    case .add(let element):
      writer.write(byte: 5)
      writer.write(lengthPrefixed: element)
    case .remove(let element):
      writer.write(byte: 6)
      writer.write(lengthPrefixed: element)
    case .change(let change):
      writer.write(byte: 8)
      change.write(to: &writer)
    }
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`, and what a context token is refused with.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request", .invalidArgument)
    let version = try reader.readVersion(upTo: 3)
    keyspace = try reader.readText()
    key = try reader.readLengthPrefixed()
    let flags = try reader.readByte()
    guard flags < 8 else { throw reader.damaged("flags of \(flags)") }
    isConditional = flags & 1 != 0
    isHandedOn = flags & 2 != 0
    isSynced = flags & 4 != 0
    let size = try reader.readVarint()
    guard size <= 1_000 else { throw reader.damaged("a quorum of \(size)") }
    quorum = size == 0 ? nil : Int(size)
    let token = try reader.readLengthPrefixed()
    context = token.isEmpty ? nil : try CausalContext(bytes: token)
    guard context != nil || !isConditional else { throw reader.damaged("a condition without a context") }
    if version >= 2 { session = try reader.readSessionDemand(version) }
    let code = try reader.readByte()
    switch code {
    case 1: operation = .get
    case 2:
      let timeToLive = try reader.readVarint()
      operation = .put(
        try reader.readLengthPrefixed(), timeToLiveMilliseconds: timeToLive == 0 ? nil : timeToLive)
    case 3: operation = .delete
    case 4: operation = .increment(try reader.readZigzag())
    case 5: operation = .add(try reader.readLengthPrefixed())
    case 6: operation = .remove(try reader.readLengthPrefixed())
    case 7:
      let id = OperationID(high: try reader.readFixed(), low: try reader.readFixed())
      let amount = try reader.readZigzag()
      operation = .countOnce(amount, id, field: try reader.readFlag() ? try reader.readLengthPrefixed() : nil)
    case 8: operation = .change(try StateChange(from: &reader))
    default: throw reader.damaged("an operation of \(code)")
    }
    try reader.readEnd()
  }
}

/// What a node answers about a key.
package struct KeyAnswer: Sendable, Equatable {
  /// Of a read: what the replicas that answered hold together, what has expired left out; `nil` where the
  /// key was never written.
  package var record: Record?
  /// Of a read: what it saw. Of a write: what the writer may replace next.
  package var context: CausalContext
  /// Of a change of a typed state: how many elements, fields or values it changed; else 0.
  package var changed: Int
  /// Of a session's request: what it is to remember.
  package var session: SessionMark?

  package init(
    record: Record? = nil, context: CausalContext, changed: Int = 0, session: SessionMark? = nil
  ) {
    self.record = record
    self.context = context
    self.changed = changed
    self.session = session
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    let isLong = changed != 0 || session != nil
    let isTimed = session?.since != nil || session?.replaces == true
    writer.write(byte: isTimed ? 3 : isLong ? 2 : 1)
    writer.write(lengthPrefixed: context.bytes)
    writer.write(byte: record == nil ? 0 : 1)
    if let record {
      var bytes: [UInt8] = []
      record.encode(into: &bytes)
      writer.write(lengthPrefixed: bytes)
    }
    if isLong {
      writer.write(count: changed)
      writer.write(session)
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "an answer")
    let version = try reader.readVersion(upTo: 3)
    context = try CausalContext(bytes: try reader.readLengthPrefixed())
    if try reader.readFlag() {
      let bytes = try reader.readLengthPrefixed()
      record = try causally { () throws(CausalityError) in try unsafe Record(decoding: bytes.span.bytes) }
    }
    changed = version >= 2 ? Int(try reader.readOrdinal()) : 0
    if version >= 2 { session = try reader.readSessionMark(version) }
    try reader.readEnd()
  }
}

extension FieldWriter {
  fileprivate mutating func write(zigzag value: Int64) {
    write(varint: UInt64(bitPattern: value << 1 ^ value >> 63))
  }
}

extension FieldReader {
  fileprivate mutating func readZigzag() throws(DatabaseError) -> Int64 {
    let zigzag = try readVarint()
    return Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
  }
}
