import RoostCausality

/// A key, and whom a request for it concerns.
struct KeyPlace: Sendable {
  let keyspace: KeyspaceCore
  let key: [UInt8]
  let partition: Int
  /// Of the keyspace, in the order of the preference list.
  let replicas: [MemberID]
  /// Whom the keyspace's part of the partition is moving to: it gets all writes, and counts for nothing.
  let pending: MemberID?
  /// Of the list above.
  let ring: RingPrint
  /// Whether this node has one of them.
  let isReplica: Bool
  var quorum: QuorumSize
  let isSynced: Bool
  /// Of a message about it.
  let message: ReplicaMessage

  /// A context bound to the key, for what a read of it saw.
  func context(_ record: Record?) -> CausalContext { unsafe keyspace.context(key.span.bytes, record) }

  /// What a session is to remember of a state.
  ///
  /// - Parameter session: what it asked for.
  func mark(_ record: Record?, for session: SessionDemand) -> SessionMark {
    SessionMark(
      database: keyspace.shared.id, seen: context(record), since: message.asOf,
      replaces: !session.isCovered(by: record?.context ?? VersionVector()))
  }

  /// What a client is told of a read.
  func answer(_ record: Record?) -> KeyAnswer {
    KeyAnswer(record: record.map { keyspace.unexpired($0) }, context: context(record))
  }
}

extension ClusterNode {
  /// - Parameter quorum: how many replicas are to answer; `nil` for a majority.
  /// - Throws: `.invalidArgument`: the key, or more replicas than there are.
  func place(
    _ keyspace: KeyspaceCore, _ key: [UInt8], quorum: Int?, isSynced: Bool
  ) throws(DatabaseError) -> KeyPlace {
    let partition = try keyspace.partition(of: key)
    let view = view
    let replicas = view.replicas(of: partition, in: keyspace)
    let count = quorum ?? replicas.count / 2 + 1
    guard (1...replicas.count).contains(count) else {
      throw DatabaseError(
        .invalidArgument, "a quorum of \(count); the keyspace has \(replicas.count) replicas")
    }
    var message = ReplicaMessage(MessageHead(keyspace, view.print(of: partition)), key: key)
    message.isSynced = isSynced
    if reaping.rule != nil { message.asOf = try core.shared.clock.now() }
    return KeyPlace(
      keyspace: keyspace, key: key, partition: partition, replicas: replicas,
      pending: view.pending(of: partition, in: keyspace), ring: message.head.ring,
      isReplica: replicas.contains(local.id), quorum: QuorumSize(count), isSynced: isSynced,
      message: message)
  }

  /// This node first, and those last that are likely to be down.
  func inOrderOfTrust(_ members: [MemberID]) -> [MemberID] {
    let now = now
    let others = members.filter { $0 != local.id }
    return members.filter { $0 == local.id } + others.filter { !peers.isSuspected($0, at: now) }
      + others.filter { peers.isSuspected($0, at: now) }
  }

  /// A member as quorums count it: each node has one, so it is a host of its own.
  func target(_ member: MemberID) -> QuorumTarget { QuorumTarget(member: member, host: member.rawValue) }

  /// Whether a place is what this node goes by still.
  func isCurrent(_ place: KeyPlace) -> Bool { view.print(of: place.partition).print == place.ring.print }

  /// Sends a message, and calls `reply` with what comes back; at once where nobody knows the member's node.
  func send(
    _ kind: UInt16, _ body: [UInt8], to member: MemberID, deadline: UInt64, _ reply: @escaping Answer<[UInt8]>
  ) {
    guard let node = peers.node(of: member) else {
      return reply(.failure(DatabaseError(.unreachable, "nobody says where member \(member) is")))
    }
    let isWrite = !NodeMessageKind.readers.contains(kind)
    transport.request(NodeMessage(kind: kind, body: body), of: node, deadline: deadline) { result in
      switch result {
      case .success(let body): reply(answered { () throws(DatabaseError) in try NodeAnswer.decode(body) })
      case .failure(let error):
        reply(.failure(NodeAnswer.failure(error, of: "node \(node)", isWrite: isWrite)))
      }
    }
  }
}
