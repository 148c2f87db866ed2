package import RoostCausality
package import RoostCluster

// What clients ask beside their transactions: reads as of a time, and what became of transactions.
//
//   moment    := version u8 (1) | (0 u8, now · 1 u8 | time u64)
//   its answer := version u8 (1) | time u64
//   read      := version u8 (1) | time u64 | keyspace | (1 u8 | count varint | key* · 2 u8 | start
//              lengthPrefixed | end | limit varint)
//   its answer is a statement's, of values or entries
//   outcome   := version u8 (1) | transaction start u64 | coordinator u64
//   its answer := version u8 (1) | (0 u8, not decided · 1 u8 | committed u64 · 2 u8 | reason · 3 u8, not
//              known any more)
//   in doubt  := version u8 (1)
//   its answer := version u8 (1) | count varint | doubt*
//   doubt     := transaction start u64 | coordinator u64 | store lengthPrefixed | since u64 | count varint
//              | waits for lengthPrefixed*

/// Asks for the time of a snapshot: now, or a given one, where it can be read at.
package struct ClientMoment: Hashable, Sendable {
  package var time: Timestamp?

  package init(_ time: Timestamp?) { self.time = time }

  package func encoded() -> [UInt8] {
    ClientMessage.encode { $0.write(optional: time?.rawValue) }
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    time = try ClientMessage.decode(bytes, "a client's question for a moment", .invalidArgument) {
      reader throws(DatabaseError) in
      try reader.readFlag() ? try reader.readTimestamp() : nil
    }
  }

  package static func encode(_ answer: Timestamp) -> [UInt8] {
    ClientMessage.encode { $0.write(fixed: answer.rawValue) }
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package static func answer(_ bytes: [UInt8]) throws(DatabaseError) -> Timestamp {
    try ClientMessage.decode(bytes, "a snapshot's moment") { reader throws(DatabaseError) in
      try reader.readTimestamp()
    }
  }
}

/// Reads a transactional keyspace as of a time.
package struct ClientRead: Hashable, Sendable {
  package enum What: Hashable, Sendable {
    case keys([[UInt8]])
    case range(from: [UInt8], to: [UInt8]?, limit: Int)
  }

  package var time: Timestamp
  package var keyspace: String
  package var what: What

  package init(_ what: What, in keyspace: String, at time: Timestamp) {
    self.time = time
    self.keyspace = keyspace
    self.what = what
  }

  package func encoded() -> [UInt8] {
    ClientMessage.encode { writer in
      writer.write(fixed: time.rawValue)
      writer.write(text: keyspace)
      switch what {
      case .keys(let keys):
        writer.write(byte: 1)
        writer.write(count: keys.count)
        for key in keys { writer.write(lengthPrefixed: key) }
      case .range(let start, let end, let limit):
        writer.write(byte: 2)
        writer.write(from: start, to: end, limit: limit)
      }
    }
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    self = try ClientMessage.decode(bytes, "a client's read as of a time", .invalidArgument) {
      reader throws(DatabaseError) in
      let time = try reader.readTimestamp()
      let keyspace = try reader.readText()
      let what: What
      switch try reader.readByte() {
      case 1: what = .keys(try reader.readKeys())
      case 2:
        let (start, end, limit) = try reader.readClientRange()
        what = .range(from: start, to: end, limit: limit)
      case let other: throw reader.damaged("a read of kind \(other)")
      }
      return ClientRead(what, in: keyspace, at: time)
    }
  }
}

/// Asks what became of a transaction, of whatever node.
package enum ClientOutcome {
  package static func encode(_ transaction: TransactionID) -> [UInt8] {
    ClientMessage.encode { $0.write(transaction) }
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> TransactionID {
    try ClientMessage.decode(bytes, "a client's question for an outcome", .invalidArgument) {
      reader throws(DatabaseError) in
      try reader.readTransactionID()
    }
  }

  package static func encode(answer: KnownOutcome) -> [UInt8] {
    ClientMessage.encode { writer in
      switch answer {
      case .undecided: writer.write(byte: 0)
      case .committed(let time):
        writer.write(byte: 1)
        writer.write(fixed: time.rawValue)
      case .aborted(let reason):
        writer.write(byte: 2)
        writer.write(reason)
      case .noRecord, .expired: writer.write(byte: 3)
      }
    }
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package static func answer(_ bytes: [UInt8]) throws(DatabaseError) -> KnownOutcome {
    try ClientMessage.decode(bytes, "what became of a transaction") {
      reader throws(DatabaseError) -> KnownOutcome in
      switch try reader.readByte() {
      case 0: return .undecided
      case 1: return .committed(try reader.readTimestamp())
      case 2: return .aborted(try reader.readAbortReason())
      case 3: return .expired
      case let other: throw reader.damaged("an outcome of kind \(other)")
      }
    }
  }
}

/// A transaction that a node's store has prepared and cannot decide.
package struct ClientDoubt: Hashable, Sendable {
  package var transaction: TransactionID
  /// The store's directory.
  package var store: String
  package var since: Timestamp
  package var waitsFor: [String]

  package init(_ transaction: TransactionID, in store: String, since: Timestamp, waitsFor: [String]) {
    self.transaction = transaction
    self.store = store
    self.since = since
    self.waitsFor = waitsFor
  }

  /// The question for all of a node.
  package static let question = ClientMessage.encode { _ in }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package static func checkQuestion(_ bytes: [UInt8]) throws(DatabaseError) {
    try ClientMessage.decode(bytes, "a client's question for what is in doubt", .invalidArgument) { _ in }
  }

  package static func encode(_ doubts: [ClientDoubt]) -> [UInt8] {
    ClientMessage.encode { writer in
      writer.write(count: doubts.count)
      for doubt in doubts {
        writer.write(doubt.transaction)
        writer.write(text: doubt.store)
        writer.write(fixed: doubt.since.rawValue)
        writer.write(count: doubt.waitsFor.count)
        for name in doubt.waitsFor { writer.write(text: name) }
      }
    }
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> [ClientDoubt] {
    try ClientMessage.decode(bytes, "what is in doubt at a node") {
      reader throws(DatabaseError) -> [ClientDoubt] in
      var doubts: [ClientDoubt] = []
      for _ in 0..<(try reader.readCount(of: 26)) {
        let transaction = try reader.readTransactionID()
        let store = try reader.readText()
        let since = try reader.readTimestamp()
        var waitsFor: [String] = []
        for _ in 0..<(try reader.readCount()) { waitsFor.append(try reader.readText()) }
        doubts.append(ClientDoubt(transaction, in: store, since: since, waitsFor: waitsFor))
      }
      return doubts
    }
  }
}
