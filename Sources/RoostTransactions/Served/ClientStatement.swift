import RoostCausality
package import RoostCluster

// What a program that is no node asks of the node that it is connected to, which coordinates its
// transactions. Bodies of requests; fixed integers are little-endian.
//
//   statement := version u8 (1) | transaction start u64 | coordinator u64 (0, 0 of a begin) | number varint
//              | operation
//   operation := 1 u8 | first u8 (0, 1) | age id, where it is 1 | idle varint | duration varint       begin
//              | 2 u8 | keyspace | for update u8 (0, 1) | count varint | key*                          get
//              | 3 u8 | keyspace | start lengthPrefixed | end | limit varint                           scan
//              | 4 u8 | keyspace | key | value lengthPrefixed                                          put
//              | 5 u8 | keyspace | key                                                                 delete
//              | 6 u8 | keyspace | key | amount varint, zigzag                          increment, an effect
//              | 7 u8 | keyspace | key | context lengthPrefixed | value lengthPrefixed  put, an effect
//              | 8 u8 | keyspace | key | context lengthPrefixed                         delete, an effect
//              | 9 u8 | durability u8 (0 the node's, 1 applied, 2 synced)               commit
//              | 10 u8                                                                  abort
//   keyspace, key := lengthPrefixed
//   end       := 0 u8, none | 1 u8 | key
//   context   := a context token; empty for none
//
//   answer    := version u8 (1) | result
//   result    := 1 u8 | transaction start u64 | coordinator u64                         begun
//              | 2 u8 | count varint | (0 u8 · 1 u8 | value lengthPrefixed)*            values
//              | 3 u8 | count varint | (key | value lengthPrefixed)* | next             entries
//              | 4 u8                                                                   noted
//              | 5 u8 | outcome                                                         of a commit
//              | 6 u8 | reason                                                          it was aborted
//   next      := 0 u8, there are no more, or as many as asked for | 1 u8 | key, from which they go on
//   outcome   := 1 u8 | committed u64 · 2 u8 | reason · 3 u8, unknown
//   reason    := kind u8 | text lengthPrefixed, of kinds 7 and 9

/// One statement of a client's transaction.
///
/// Statements have numbers: of the one that begins it a number that the client chose, and then 1, 2, 3, ….
/// A node does the next one only, so one that comes twice is done once.
package struct ClientStatement: Hashable, Sendable {
  package enum Operation: Hashable, Sendable {
    /// - Parameters:
    ///   - age: the first attempt's id, where this is another.
    ///   - idleMilliseconds: after how long without a statement the node aborts it; it may do so before.
    ///   - durationMilliseconds: after how long from now in any case; 0 for as long as the node allows.
    case begin(age: TransactionID?, idleMilliseconds: UInt64, durationMilliseconds: UInt64)
    case get([[UInt8]], keyspace: String, forUpdate: Bool)
    case scan(from: [UInt8], to: [UInt8]?, limit: Int, keyspace: String)
    case put([UInt8], [UInt8], keyspace: String)
    case delete([UInt8], keyspace: String)
    case effect(EventualEffect.Change, [UInt8], keyspace: String)
    /// - Parameter isSynced: `nil` for what the node's database does.
    case commit(isSynced: Bool?)
    case abort
  }

  /// In what a node says of a statement that is not the next one. The client has numbered one that the node
  /// could not read: they will not agree any more.
  package static let beforeItsTurn = "came before its turn"

  /// `nil` of a begin.
  package var transaction: TransactionID?
  package var number: UInt64
  package var operation: Operation

  package init(_ transaction: TransactionID?, _ number: UInt64, _ operation: Operation) {
    self.transaction = transaction
    self.number = number
    self.operation = operation
  }

  /// Bytes of keys and values that the node keeps until the transaction's end.
  var keptBytes: Int {
    switch operation {
    case .put(let key, let value, _): key.count + value.count
    case .delete(let key, _): key.count
    case .effect(.put(let value, let context), let key, _): key.count + value.count + (context?.count ?? 0)
    case .effect(.delete(let context), let key, _): key.count + (context?.count ?? 0)
    case .effect(.increment, let key, _): key.count + 8
    case .begin, .get, .scan, .commit, .abort: 0
    }
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: ClientMessage.version)
    writer.write(transaction ?? .absent)
    writer.write(varint: number)
    switch operation {
    case .begin(let age, let idle, let duration):
      writer.write(byte: 1)
      writer.write(byte: age == nil ? 0 : 1)
      if let age { writer.write(age) }
      writer.write(varint: idle)
      writer.write(varint: duration)
    case .get(let keys, let keyspace, let forUpdate):
      writer.write(byte: 2)
      writer.write(text: keyspace)
      writer.write(byte: forUpdate ? 1 : 0)
      writer.write(count: keys.count)
      for key in keys { writer.write(lengthPrefixed: key) }
    case .scan(let start, let end, let limit, let keyspace):
      writer.write(byte: 3)
      writer.write(text: keyspace)
      writer.write(from: start, to: end, limit: limit)
    case .put(let key, let value, let keyspace):
      writer.write(byte: 4)
      writer.write(text: keyspace)
      writer.write(lengthPrefixed: key)
      writer.write(lengthPrefixed: value)
    case .delete(let key, let keyspace):
      writer.write(byte: 5)
      writer.write(text: keyspace)
      writer.write(lengthPrefixed: key)
    case .effect(let change, let key, let keyspace):
      switch change {
      case .increment: writer.write(byte: 6)
      case .put: writer.write(byte: 7)
      case .delete: writer.write(byte: 8)
      }
      writer.write(text: keyspace)
      writer.write(lengthPrefixed: key)
      switch change {
      case .increment(let amount): writer.write(varint: UInt64(bitPattern: amount << 1 ^ amount >> 63))
      case .put(let value, let context):
        writer.write(lengthPrefixed: context ?? [])
        writer.write(lengthPrefixed: value)
      case .delete(let context): writer.write(lengthPrefixed: context ?? [])
      }
    case .commit(let isSynced):
      writer.write(byte: 9)
      writer.write(byte: isSynced.map { $0 ? 2 : 1 } ?? 0)
    case .abort: writer.write(byte: 10)
    }
    return writer.bytes
  }

  /// The transaction that an encoded statement is of; `nil` of a begin, and of what is no statement.
  static func transaction(in bytes: [UInt8]) -> TransactionID? {
    var reader = FieldReader(bytes, "a statement of a transaction", .invalidArgument)
    guard (try? reader.readVersion(upTo: ClientMessage.version)) != nil,
      let id = try? reader.readTransactionID(), id != .absent
    else { return nil }
    return id
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a statement of a transaction", .invalidArgument)
    _ = try reader.readVersion(upTo: ClientMessage.version)
    let id = try reader.readTransactionID()
    number = try reader.readOrdinal()
    let code = try reader.readByte()
    guard (code == 1) == (id == .absent) else { throw reader.damaged("a transaction that cannot be meant") }
    transaction = code == 1 ? nil : id
    switch code {
    case 1:
      let age = try reader.readFlag() ? try reader.readTransactionID() : nil
      let idle = try reader.readWait()
      operation = .begin(age: age, idleMilliseconds: idle, durationMilliseconds: try reader.readWait())
    case 2:
      let keyspace = try reader.readText()
      let forUpdate = try reader.readFlag()
      operation = .get(try reader.readKeys(), keyspace: keyspace, forUpdate: forUpdate)
    case 3:
      let keyspace = try reader.readText()
      let (start, end, limit) = try reader.readClientRange()
      operation = .scan(from: start, to: end, limit: limit, keyspace: keyspace)
    case 4:
      let keyspace = try reader.readText()
      let key = try reader.readLengthPrefixed()
      operation = .put(key, try reader.readLengthPrefixed(), keyspace: keyspace)
    case 5:
      let keyspace = try reader.readText()
      operation = .delete(try reader.readLengthPrefixed(), keyspace: keyspace)
    case 6, 7, 8:
      let keyspace = try reader.readText()
      let key = try reader.readLengthPrefixed()
      operation = .effect(try reader.readChange(code), key, keyspace: keyspace)
    case 9:
      let durability = try reader.readByte()
      guard durability <= 2 else { throw reader.damaged("a durability of \(durability)") }
      operation = .commit(isSynced: durability == 0 ? nil : durability == 2)
    case 10: operation = .abort
    default: throw reader.damaged("an operation of \(code)")
    }
    try reader.readEnd()
  }
}

/// What a node answers to a statement.
package enum ClientAnswer: Hashable, Sendable {
  case begun(TransactionID)
  /// Of the keys that were asked for, in their order; `nil` where absent.
  case values([[UInt8]?])
  case entries(ClientEntries)
  case noted
  case ended(TransactionOutcome)
  /// The transaction was aborted before.
  case aborted(AbortReason)

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: ClientMessage.version)
    switch self {
    case .begun(let id):
      writer.write(byte: 1)
      writer.write(id)
    case .values(let values):
      writer.write(byte: 2)
      writer.write(count: values.count)
      for value in values {
        writer.write(byte: value == nil ? 0 : 1)
        if let value { writer.write(lengthPrefixed: value) }
      }
    case .entries(let entries):
      writer.write(byte: 3)
      writer.write(count: entries.entries.count)
      for entry in entries.entries {
        writer.write(lengthPrefixed: entry.key)
        writer.write(lengthPrefixed: entry.value)
      }
      writer.write(end: entries.next)
    case .noted: writer.write(byte: 4)
    case .ended(let outcome):
      writer.write(byte: 5)
      switch outcome {
      case .committed(let time):
        writer.write(byte: 1)
        writer.write(fixed: time.rawValue)
      case .aborted(let reason):
        writer.write(byte: 2)
        writer.write(reason)
      case .unknown: writer.write(byte: 3)
      }
    case .aborted(let reason):
      writer.write(byte: 6)
      writer.write(reason)
    }
    return writer.bytes
  }

  /// - Parameter transaction: that the statement was of.
  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8], of transaction: TransactionID?) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the answer to a transaction's statement")
    _ = try reader.readVersion(upTo: ClientMessage.version)
    switch try reader.readByte() {
    case 1: self = .begun(try reader.readTransactionID())
    case 2:
      var values: [[UInt8]?] = []
      for _ in 0..<(try reader.readCount()) {
        values.append(try reader.readFlag() ? try reader.readLengthPrefixed() : nil)
      }
      self = .values(values)
    case 3:
      var entries = ClientEntries()
      for _ in 0..<(try reader.readCount(of: 2)) {
        let key = try reader.readLengthPrefixed()
        entries.entries.append(ClientEntry(key: key, value: try reader.readLengthPrefixed()))
      }
      entries.next = try reader.readEndKey()
      self = .entries(entries)
    case 4: self = .noted
    case 5:
      switch try reader.readByte() {
      case 1: self = .ended(.committed(at: try reader.readTimestamp()))
      case 2: self = .ended(.aborted(try reader.readAbortReason()))
      case 3:
        guard let transaction else { throw reader.damaged("an outcome of no transaction") }
        self = .ended(.unknown(transaction))
      case let other: throw reader.damaged("an outcome of kind \(other)")
      }
    case 6: self = .aborted(try reader.readAbortReason())
    case let other: throw reader.damaged("an answer of kind \(other)")
    }
    try reader.readEnd()
  }
}

/// Entries of a transactional keyspace, in the order of their keys.
package struct ClientEntries: Hashable, Sendable {
  package var entries: [ClientEntry] = []
  /// Where the range goes on that was read in part: an answer has so many bytes. `nil` where there is nothing
  /// behind, or there are as many entries as were asked for.
  package var next: [UInt8]?

  package init() {}
}

package struct ClientEntry: Hashable, Sendable {
  package var key: [UInt8]
  package var value: [UInt8]

  package init(key: [UInt8], value: [UInt8]) {
    self.key = key
    self.value = value
  }
}
