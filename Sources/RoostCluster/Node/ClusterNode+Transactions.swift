import RoostEnvironment

// What the transaction layer above asks of a node: its messages, and where members are.

/// Takes what other nodes say about transactions. Thread-safe.
package protocol NodeTransactionHandler: AnyObject, Sendable {
  /// A message of a kind from ``NodeMessageKind/transactions`` or ``NodeMessageKind/clientTransactions``.
  /// Must not wait for long.
  func receive(_ message: ReceivedMessage)

  /// A connection that messages came over has ended. Must not wait for long.
  func ended(_ connection: UInt64, of node: NodeID)

  /// What was heard of a member's clock.
  func heard(_ sign: NodeSign, of member: MemberID)

  /// The node's transactions, opened where nobody has used them yet; `nil` while they are being opened.
  ///
  /// - Throws: `.closed`; what opening them throws.
  func opened() throws(DatabaseError) -> (any NodeTransactionMoves)?

  /// What it has counted, and how it is now.
  var figures: TransactionFigures { get }
}

extension ClusterNode {
  /// From now on messages about transactions come to `handler`, which is held weakly. Before, and when it is
  /// gone, requests fail and other messages are lost.
  package func attach(_ handler: (any NodeTransactionHandler)?) {
    // What the one before has counted counts on: the node says it once more when it ends.
    let last = currentTransactionHandler?.figures
    lock.withLock {
      if let last { endedTransactions = last }
      transactionHandler = handler
    }
  }

  var transactionFigures: TransactionFigures {
    currentTransactionHandler?.figures ?? lock.withLock { endedTransactions }
  }

  var currentTransactionHandler: (any NodeTransactionHandler)? { lock.withLock { transactionHandler } }

  func receiveOfTransactions(_ message: ReceivedMessage) {
    if let handler = currentTransactionHandler { return handler.receive(message) }
    message.answer(
      NodeAnswer.encode(
        .failure(DatabaseError(.unreachable, "node \(transport.node) runs no transactions yet"))))
  }

  /// Whether the node still speaks for its store.
  package var isServing: Bool { lock.withLock { !isClosed && !isSuperseded } }

  /// The longest body of a message, in bytes, with room for what stands beside a message's keys and values.
  package var largestTransactionBody: Int { max(1, transport.largestBody - Self.headroom) }

  /// Sends a member's node a message that needs no answer: it may be lost all the same.
  ///
  /// - Parameter deadline: until when it may wait to be sent, by the monotonic clock, in nanoseconds.
  /// - Throws: nothing was sent: `.unreachable` where nobody says where the member is, and as
  ///   `NodeTransport.tell`.
  package func tell(
    _ kind: UInt16, _ body: [UInt8], to member: MemberID, deadline: UInt64
  ) throws(TransportError) {
    guard let node = peers.node(of: member) else {
      throw TransportError(.unreachable, "nobody says where member \(member) is")
    }
    try transport.tell(NodeMessage(kind: kind, body: body), to: node, deadline: deadline)
  }

  /// Asks a member's node; `reply` is called once, with what it answered.
  package func ask(
    _ kind: UInt16, _ body: [UInt8], of member: MemberID, deadline: UInt64, _ reply: @escaping Answer<[UInt8]>
  ) {
    guard let node = peers.node(of: member) else {
      return reply(.failure(DatabaseError(.unreachable, "nobody says where member \(member) is")))
    }
    transport.request(NodeMessage(kind: kind, body: body), of: node, deadline: deadline) { result in
      switch result {
      case .success(let body): reply(answered { () throws(DatabaseError) in try NodeAnswer.decode(body) })
      case .failure(let error):
        reply(.failure(NodeAnswer.failure(error, of: "node \(node)", isWrite: false)))
      }
    }
  }

  /// Whether a message of `node` is one of this member's: of no earlier process with its store, and of no
  /// copy.
  package func speaks(_ node: NodeID, for member: MemberID) -> Bool { peers.node(of: member) == node }

  /// Whether a member is likely to be down.
  package func isSuspected(_ member: MemberID) -> Bool { peers.isSuspected(member, at: now) }

  /// The members that other nodes have, those among them that are about to be forgotten: they know what
  /// became of transactions still.
  package var otherMembers: [MemberID] { view.everybody.filter { $0 != local.id } }

  /// The one member that has a partition's transactional keys: replica 0 of its preference list.
  package func transactionalOwner(_ partition: Int) -> MemberID { core.ring.replicas(of: partition)[0] }

  /// Whether this node has a partition's transactional keys. No partition is one that there is not.
  package func ownsTransactions(of partition: Int) -> Bool {
    // Before the ring: see there.
    if handovers.hasGivenUp(partition) { return false }
    let ring = view.ring
    return (0..<ring.partitionCount).contains(partition)
      && ring.replica(of: partition, slot: 0) == local.id
  }

  /// The member that does transactions' effects on a partition's eventual keys: this node's, where it is a
  /// replica; else the first that is not likely to be down. Which one does them is settled at the commit:
  /// ``lastingTarget(_:ofFirst:_:)``.
  ///
  /// - Parameter replicas: how many the keys' keyspace has; at least 1.
  package func effectTarget(_ partition: Int, ofFirst replicas: Int) -> MemberID {
    inOrderOfTrust(Array(core.ring.replicas(of: partition).prefix(replicas)))[0]
  }

  /// How many replicas a keyspace has, by its id; as many as the database where it is not known here.
  package func replicas(ofKeyspace id: UInt64) -> Int {
    core.keyspaceEntries.first { $0.id == id }?.replicas ?? core.ring.replicas
  }

  /// Makes sure that keyspaces are known here, by their ids. Asks the directory for those that are not.
  ///
  /// - Throws: `.unknownKeyspace`; what the directory or the store throws.
  package func learn(keyspaces ids: Set<UInt64>) throws(DatabaseError) {
    func unknown() -> UInt64? {
      let known = Set(core.keyspaceEntries.map(\.id))
      return ids.first { !known.contains($0) }
    }
    if ids.isEmpty || unknown() == nil { return }
    try learnKeyspaces()
    if let id = unknown() { throw DatabaseError(.unknownKeyspace, "there is no keyspace with the id \(id)") }
  }

  /// Makes sure that a keyspace is known here, by its name, whatever its policy.
  ///
  /// - Throws: what the directory or the store throws.
  package func learn(keyspace name: String) throws(DatabaseError) {
    if !core.keyspaceEntries.contains(where: { $0.name == name }) { try learnKeyspaces() }
  }
}
