// What nodes of a cluster say to each other: kinds of messages, and how failures travel. Every answer begins
// with a byte: 0 for what was asked for, behind it; 1 for a failure:
//
//   failure := code lengthPrefixed | message lengthPrefixed

/// The kinds of messages between nodes. Numbers are for good.
package enum NodeMessageKind {
  /// A replica joins a state into a key's record.
  package static let apply: UInt16 = 1
  /// A replica's record of a key.
  package static let fetch: UInt16 = 2
  /// A store keeps a state for another one.
  package static let hint: UInt16 = 3
  /// A client's ``KeyRequest``; any node.
  package static let key: UInt16 = 4
  /// A client makes a keyspace: ``KeyspaceRequest``.
  package static let makeKeyspace: UInt16 = 5
  /// A client asks for the node's ``NodeStatus``.
  package static let status: UInt16 = 6
  /// A client has the node compare what it holds with the other replicas, and mend what differs:
  /// ``RepairRequest``, answered with a ``RepairReport``.
  package static let repair: UInt16 = 7
  /// A replica asks about the hash tree of a partition: `TreeRequest`.
  package static let compare: UInt16 = 8
  /// Anyone asks for the ring that the node goes by: ``RingRequest``, answered with a ring state.
  package static let ring: UInt16 = 9
  /// An operator changes who the members are: ``MembersRequest``, answered with a ``ChangeProgress``.
  package static let changeMembers: UInt16 = 10
  /// A replica's next records of some partitions: `PageRequest`.
  package static let page: UInt16 = 11
  /// A client's page of a scan: ``ScanRequest``; any node.
  package static let scan: UInt16 = 12
  /// A replica's next changes of some partitions: `FeedRequest`.
  package static let feed: UInt16 = 13
  /// A client's page of changes: ``ChangesRequest``; any node.
  package static let changes: UInt16 = 14
  /// An operator asks who asks to join: answered with a list of ``ClusterCandidate``.
  package static let candidates: UInt16 = 17

  /// A replica asks whether tombstones may be reaped: `ReapMessage`.
  package static let reapQuestion: UInt16 = 15
  /// It has them reaped: `ReapMessage`.
  package static let reapOrder: UInt16 = 16

  /// Those between replicas that change nothing: one that got no answer may be asked again.
  static let readers: Set<UInt16> = [fetch, compare, ring, page, feed]

  /// The kinds of messages about transactions; the layer above knows what they say.
  package static let transactions: ClosedRange<UInt16> = 20...29
  /// What a coordinator and a participant tell each other: `RemoteEnvelope`. Needs no answer.
  package static let transaction: UInt16 = 20
  /// A read as of a time, at the member that has the keys: `RemoteRead`.
  package static let transactionRead: UInt16 = 21
  /// What a node knows of a transaction: `OutcomeQuestion`.
  package static let transactionOutcome: UInt16 = 22

  /// The receiver of a partition asks the owner of its transactional keys for them: `HandoverRequest`.
  package static let handover: UInt16 = 30
  /// Whether unfinished transactions name a member: `NamingRequest`.
  package static let naming: UInt16 = 31
  /// What a member that leaves has on record of transactions: ``TransactionBequest``.
  package static let bequest: UInt16 = 32

  /// The kinds of what clients ask about transactions, of any node; the layer above knows what they say.
  package static let clientTransactions: ClosedRange<UInt16> = 40...49
  /// A statement of a transaction: `ClientStatement`.
  package static let clientStatement: UInt16 = 40
  /// The time of a snapshot: `ClientMoment`.
  package static let clientMoment: UInt16 = 41
  /// A read as of a time: `ClientRead`.
  package static let clientRead: UInt16 = 42
  /// What became of a transaction: `ClientOutcome`.
  package static let clientOutcome: UInt16 = 43
  /// What the node's store has prepared and cannot decide: `ClientDoubt`.
  package static let clientDoubts: UInt16 = 44
}

/// An answer's body.
package enum NodeAnswer {
  package static func encode(_ result: Result<[UInt8], DatabaseError>) -> [UInt8] {
    var writer = FieldWriter()
    switch result {
    case .success(let body):
      writer.write(byte: 0)
      return writer.bytes + body
    case .failure(let error):
      writer.write(byte: 1)
      writer.write(text: error.code.description)
      writer.write(text: error.message)
      return writer.bytes
    }
  }

  /// - Throws: the failure that the other side answered with; `.corruption` for what is no answer.
  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> [UInt8] {
    var reader = FieldReader(bytes, "a node's answer")
    switch try reader.readByte() {
    case 0: return Array(bytes.dropFirst())
    case 1:
      let code = try reader.readText()
      let message = try reader.readText()
      try reader.readEnd()
      throw DatabaseError(DatabaseError.Code(code), message)
    case let other: throw reader.damaged("an answer of kind \(other)")
    }
  }

  /// What a request that got no answer comes to.
  ///
  /// - Parameter isWrite: whether it would have changed anything, had it arrived.
  package static func failure(_ error: TransportError, of node: String, isWrite: Bool) -> DatabaseError {
    if isWrite, error.mayHaveArrived {
      return DatabaseError(.indeterminate, "\(node): \(error.message); the write may still appear")
    }
    let code: DatabaseError.Code =
      switch error.code {
      case .deadlineExceeded: .deadlineExceeded
      case .overloaded: .busy
      case .tooLarge: .invalidArgument
      case .closed: .closed
      default: .unreachable
      }
    return DatabaseError(code, "\(node): \(error.message)")
  }
}

/// Makes a keyspace in the whole cluster, or finds that it is there.
///
///   request := version u8 (3 with replicas, else 2 with quorums, else 1) | name lengthPrefixed
///            | kind u8 (as in the schema) | quorums (as in the schema), in versions 2 and 3
///            | replicas varint, in version 3
package struct KeyspaceRequest: Sendable, Equatable {
  package var name: String
  package var kind: KeyspacePolicy.Kind
  /// Of a keyspace that is there, those that are said must be what it has.
  package var quorums: KeyspaceQuorums
  /// As many as the database has for `nil`, or, of a keyspace that is there, as it has.
  package var replicas: Int?

  package init(
    name: String, kind: KeyspacePolicy.Kind, replicas: Int? = nil,
    quorums: KeyspaceQuorums = KeyspaceQuorums()
  ) {
    self.name = name
    self.kind = kind
    self.replicas = replicas
    self.quorums = quorums
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    let version: UInt8 = replicas != nil ? 3 : quorums.areMajorities ? 1 : 2
    writer.write(byte: version)
    writer.write(text: name)
    writer.write(byte: kind.rawValue)
    if version >= 2 { quorums.write(to: &writer) }
    // Who asks for none is told so.
    if let replicas { writer.write(varint: UInt64(clamping: replicas)) }
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for a keyspace", .invalidArgument)
    let version = try reader.readVersion(upTo: 3)
    name = try reader.readText()
    let raw = try reader.readByte()
    guard let kind = KeyspacePolicy.Kind(rawValue: raw) else { throw reader.damaged("a kind of \(raw)") }
    self.kind = kind
    quorums = version >= 2 ? try KeyspaceQuorums(from: &reader) : KeyspaceQuorums()
    replicas = version >= 3 ? Int(try reader.readOrdinal()) : nil
    try reader.readEnd()
  }
}

/// What a node says of itself and of the cluster as it sees it.
///
///   status := version u8 (6 where a keyspace has fewer replicas than the database, else 5 where one has
///             quorums, else 4) | cluster lengthPrefixed
///           | database high u64 | low u64 | epoch varint
///           | partitions varint | replicas varint | member count varint | member*
///           | keyspace count varint | (name lengthPrefixed, kind u8, in versions 5 and 6 quorums as in the
///             schema, in version 6 replicas varint: 0 for the database's)*
///           | hints varint | hint bytes varint
///           | hints refused varint | hints handed over varint | repaired by reads varint
///           | writes varint | reads varint | indeterminate writes varint | unavailable reads varint
///           | last pass | progress of a change (without its version; version 2 has none)
///   last pass := was any u8 (0, 1); where 1: ended varint (milliseconds since 1970) | a repair's report
///             without its version, 1 before version 4, then 2; version 1 has none
///   member := id u64 | name lengthPrefixed | address lengthPrefixed | zone lengthPrefixed | weight varint
///           | partitions varint | state u8 (0 this node, 1 reachable, 2 not reachable)
package struct NodeStatus: Sendable, Equatable {
  package struct Member: Sendable, Equatable {
    package enum State: UInt8, Sendable { case this = 0, reachable = 1, unreachable = 2 }
    package var id: MemberID
    package var name: String
    package var address: String
    package var zone: String
    package var weight: Int
    /// Partitions of which it is a replica.
    package var partitions: Int
    package var state: State

    package init(
      id: MemberID, name: String, address: String, zone: String, weight: Int, partitions: Int, state: State
    ) {
      self.id = id
      self.name = name
      self.address = address
      self.zone = zone
      self.weight = weight
      self.partitions = partitions
      self.state = state
    }
  }

  package struct Keyspace: Sendable, Equatable {
    package var name: String
    package var kind: KeyspacePolicy.Kind
    package var quorums: KeyspaceQuorums
    /// Where they are fewer than the database's; `nil` also for the one of a transactional keyspace.
    package var replicas: Int?

    package init(
      name: String, kind: KeyspacePolicy.Kind, replicas: Int? = nil,
      quorums: KeyspaceQuorums = KeyspaceQuorums()
    ) {
      self.name = name
      self.kind = kind
      self.replicas = replicas
      self.quorums = quorums
    }
  }

  /// The last comparison of all that the node holds with the other replicas, asked for or its own.
  package struct RepairPass: Sendable, Equatable {
    /// Milliseconds since 1970.
    package var ended: UInt64
    package var report: RepairReport

    package init(ended: UInt64, report: RepairReport) {
      self.ended = ended
      self.report = report
    }
  }

  package struct Counters: Sendable, Equatable {
    package var hints: UInt64 = 0
    package var hintBytes: UInt64 = 0
    package var hintsRefused: UInt64 = 0
    package var hintsHandedOver: UInt64 = 0
    package var repairedByReads: UInt64 = 0
    package var writes: UInt64 = 0
    package var reads: UInt64 = 0
    package var indeterminateWrites: UInt64 = 0
    package var unavailableReads: UInt64 = 0

    package init() {}

    var all: [UInt64] {
      [
        hints, hintBytes, hintsRefused, hintsHandedOver, repairedByReads, writes, reads, indeterminateWrites,
        unavailableReads,
      ]
    }
  }

  package var cluster: String
  package var database: DatabaseID
  package var epoch: UInt64
  package var partitionCount: Int
  package var replicas: Int
  package var members: [Member]
  package var keyspaces: [Keyspace]
  package var counters: Counters
  /// `nil` where the node has ended none since it was started.
  package var lastPass: RepairPass?
  /// Of the members' change, where there is one.
  package var change = ChangeProgress()

  /// Whether its keyspaces have a change of the members keep the order of the lists
  /// (``Ring/plan(to:keepsOrder:)``).
  package var keepsOrder: Bool { keyspaces.contains { $0.kind == .transactional || $0.replicas != nil } }

  package init(
    cluster: String, database: DatabaseID, epoch: UInt64, partitionCount: Int, replicas: Int,
    members: [Member], keyspaces: [Keyspace], counters: Counters, lastPass: RepairPass? = nil
  ) {
    self.lastPass = lastPass
    self.cluster = cluster
    self.database = database
    self.epoch = epoch
    self.partitionCount = partitionCount
    self.replicas = replicas
    self.members = members
    self.keyspaces = keyspaces
    self.counters = counters
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    let hasReplicas = keyspaces.contains { $0.replicas != nil }
    let hasQuorums = hasReplicas || keyspaces.contains { !$0.quorums.areMajorities }
    writer.write(byte: hasReplicas ? 6 : hasQuorums ? 5 : 4)
    writer.write(text: cluster)
    writer.write(database)
    writer.write(varint: epoch)
    writer.write(count: partitionCount)
    writer.write(count: replicas)
    writer.write(count: members.count)
    for member in members {
      writer.write(fixed: member.id.rawValue)
      writer.write(text: member.name)
      writer.write(text: member.address)
      writer.write(text: member.zone)
      writer.write(count: member.weight)
      writer.write(count: member.partitions)
      writer.write(byte: member.state.rawValue)
    }
    writer.write(count: keyspaces.count)
    for keyspace in keyspaces {
      writer.write(text: keyspace.name)
      writer.write(byte: keyspace.kind.rawValue)
      if hasQuorums { keyspace.quorums.write(to: &writer) }
      if hasReplicas { writer.write(count: keyspace.replicas ?? 0) }
    }
    for counter in counters.all { writer.write(varint: counter) }
    writer.write(byte: lastPass == nil ? 0 : 1)
    if let lastPass {
      writer.write(varint: lastPass.ended)
      lastPass.report.write(to: &writer)
    }
    change.write(to: &writer)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a node's status")
    let version = try reader.readVersion(upTo: 6)
    cluster = try reader.readText()
    database = try reader.readDatabase()
    epoch = try reader.readOrdinal()
    partitionCount = Int(try reader.readOrdinal())
    replicas = Int(try reader.readOrdinal())
    members = []
    for _ in 0..<(try reader.readCount(of: 14)) {
      let id = MemberID(rawValue: try reader.readFixed())
      let name = try reader.readText()
      let address = try reader.readText()
      let zone = try reader.readText()
      let weight = Int(try reader.readOrdinal())
      let partitions = Int(try reader.readOrdinal())
      let raw = try reader.readByte()
      guard let state = Member.State(rawValue: raw) else { throw reader.damaged("a state of \(raw)") }
      members.append(
        Member(
          id: id, name: name, address: address, zone: zone, weight: weight, partitions: partitions,
          state: state))
    }
    keyspaces = []
    for _ in 0..<(try reader.readCount(of: 2)) {
      let name = try reader.readText()
      let raw = try reader.readByte()
      guard let kind = KeyspacePolicy.Kind(rawValue: raw) else { throw reader.damaged("a kind of \(raw)") }
      let quorums = version >= 5 ? try KeyspaceQuorums(from: &reader) : KeyspaceQuorums()
      let replicas = version >= 6 ? Int(try reader.readOrdinal()) : 0
      keyspaces.append(
        Keyspace(name: name, kind: kind, replicas: replicas == 0 ? nil : replicas, quorums: quorums))
    }
    counters = Counters()
    counters.hints = try reader.readVarint()
    counters.hintBytes = try reader.readVarint()
    counters.hintsRefused = try reader.readVarint()
    counters.hintsHandedOver = try reader.readVarint()
    counters.repairedByReads = try reader.readVarint()
    counters.writes = try reader.readVarint()
    counters.reads = try reader.readVarint()
    counters.indeterminateWrites = try reader.readVarint()
    counters.unavailableReads = try reader.readVarint()
    if version >= 2, try reader.readFlag() {
      let ended = try reader.readVarint()
      lastPass = RepairPass(
        ended: ended, report: try RepairReport(from: &reader, version: version >= 4 ? 2 : 1))
    }
    if version >= 3 { change = try ChangeProgress(from: &reader) }
    try reader.readEnd()
  }
}
