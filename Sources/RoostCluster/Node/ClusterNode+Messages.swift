import RoostCausality
import RoostEnvironment
import RoostStorage

// What other nodes and clients say to this one.

extension ClusterNode {
  package func heard(_ sign: NodeSign) {
    peers.heard(sign.node, at: now)
    guard let handler = currentTransactionHandler, let member = peers.member(of: sign.node) else { return }
    handler.heard(sign, of: member)
  }

  package func receive(_ message: ReceivedMessage) {
    switch message.message.kind {
    case NodeMessageKind.apply:
      serve(message) { [self] body, answer throws(DatabaseError) in try apply(body, answer) }
    case NodeMessageKind.fetch:
      serve(message, isReading: true) { [self] body, answer throws(DatabaseError) in try fetch(body, answer) }
    case NodeMessageKind.hint:
      serve(message) { [self] body, answer throws(DatabaseError) in try takeHint(body, answer) }
    case NodeMessageKind.key:
      do throws(DatabaseError) {
        let request = try KeyRequest(decoding: message.message.body)
        perform(request, deadline: message.deadline) { result in
          message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
        }
      } catch { message.answer(NodeAnswer.encode(.failure(error))) }
    case NodeMessageKind.makeKeyspace:
      serve(message, .background) { [self] body, answer throws(DatabaseError) in
        try makeKeyspace(try KeyspaceRequest(decoding: body))
        answer(.success([]))
      }
    case NodeMessageKind.status:
      serve(message) { [self] _, answer in answer(.success(status.encoded())) }
    case NodeMessageKind.repair:
      // A little before the client stops waiting, so that it is told what was done by then.
      let left = message.deadline &- min(now, message.deadline)
      do throws(DatabaseError) {
        let request = try RepairRequest(decoding: message.message.body)
        repair(until: message.deadline &- min(left / 10, 1_000_000_000), isFull: request.isFull) { result in
          message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
        }
      } catch { message.answer(NodeAnswer.encode(.failure(error))) }
    case NodeMessageKind.compare:
      runComparison { [self] in
        message.answer(
          NodeAnswer.encode(
            answered { () throws(DatabaseError) in
              try compare(message.message.body) { message.isCancelled || hasClosed }
            }))
      }
    case NodeMessageKind.ring:
      serve(message) { [self] body, answer throws(DatabaseError) in
        answer(.success(try ringState(atLeast: try RingRequest(decoding: body).revision).encoded()))
      }
    case NodeMessageKind.changeMembers:
      serve(message, .background) { [self] body, answer throws(DatabaseError) in
        answer(.success(try changeMembers(try MembersRequest(decoding: body)).encoded()))
      }
    case NodeMessageKind.page: servePage(message)
    case NodeMessageKind.scan: serveScan(message)
    case NodeMessageKind.feed: serveFeed(message)
    case NodeMessageKind.changes: serveChanges(message)
    case NodeMessageKind.candidates:
      serve(message, .background) { [self] _, answer throws(DatabaseError) in
        answer(.success(ClusterCandidate.encode(try askingToJoin())))
      }
    case NodeMessageKind.transactions, NodeMessageKind.clientTransactions: receiveOfTransactions(message)
    case NodeMessageKind.handover: serveHandover(message)
    case NodeMessageKind.naming: serveNaming(message)
    case NodeMessageKind.bequest: serveBequest(message)
    case NodeMessageKind.reapQuestion:
      serve(message, .background) { [self] body, answer throws(DatabaseError) in
        try answerReaping(body, answer)
      }
    case NodeMessageKind.reapOrder:
      serve(message, .background) { [self] body, answer throws(DatabaseError) in
        try takeReapOrder(body, answer)
      }
    default:
      message.answer(
        .failure(
          TransportError(
            .failed, "node \(transport.node) knows no messages of kind \(message.message.kind)")))
    }
  }

  /// Runs what a message asks for on a worker, and answers with what it throws.
  func serve(
    _ message: ReceivedMessage, _ lane: WorkLane = .urgent, isReading: Bool = false,
    _ body: @escaping @Sendable ([UInt8], @escaping Answer<[UInt8]>) throws(DatabaseError) -> Void
  ) {
    let job: @Sendable () -> Void = { [self] in
      let answer: Answer<[UInt8]> = { message.answer(NodeAnswer.encode($0)) }
      // What nobody waits for any more is not worth doing.
      if message.isCancelled { return answer(.failure(DatabaseError(.deadlineExceeded, "too late"))) }
      do throws(DatabaseError) {
        try checkServing()
        try body(message.message.body, answer)
      } catch { answer(.failure(error)) }
    }
    if isReading { runReading(job) } else { run(lane, job) }
  }

  /// A message of a replica, if it is of this database and goes by the same list of its key's partition.
  func replicaMessage(_ body: [UInt8]) throws(DatabaseError) -> (ReplicaMessage, partition: Int) {
    let message = try ReplicaMessage(decoding: body)
    let partition = partition(of: message.key)
    try check(message.head, partition)
    return (message, partition)
  }

  func apply(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let (message, partition) = try replicaMessage(body)
    let keyspace = try keyspace(message.head.keyspace)
    guard view.takesWrites(local.id, of: partition, in: keyspace) else { throw noReplica(partition) }
    guard let record = message.record else {
      throw DatabaseError(.invalidArgument, "a message without the state that it brings")
    }
    guard try isWelcome(message, record, keyspace) else { return answer(.success([])) }
    _ = try unsafe keyspace.join(message.key.span.bytes, record)
    // It may have come just before this node took over that the partition moves: then the sender has yet to
    // learn to whom.
    try check(message.head, partition)
    sync(message.isSynced) { failure in answer(failure.map { .failure($0) } ?? .success([])) }
  }

  func fetch(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let (message, partition) = try replicaMessage(body)
    let keyspace = try keyspace(message.head.keyspace)
    let held = try keyspace.held(message.key)
    // Asked after it was read: what moved away meanwhile may have been deleted. Whom a partition is moving to
    // has not all of it yet.
    guard view.isReplica(local.id, of: partition, in: keyspace) else { throw noReplica(partition) }
    answer(.success(ReplicaMessage.bytes(of: held)))
  }

  private func noReplica(_ partition: Int) -> DatabaseError {
    DatabaseError(.staleRing, "\(local.path) is no replica of partition \(partition)")
  }

  func takeHint(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let (message, _) = try replicaMessage(body)
    guard let record = message.record else {
      throw DatabaseError(.invalidArgument, "a hint without a state")
    }
    // One that the target would refuse must not be taken for kept.
    try core.shared.clock.check(
      record.highestTimestamp, maximumOffsetMilliseconds: core.shared.maximumClockOffsetMilliseconds)
    try checkTimely(message.asOf)
    try keepHint(
      for: message.target, try keyspace(message.head.keyspace), message.key, record, asOf: message.asOf)
    // Asked after it was kept: a node that is about to leave looks at its hints once it has heard of that.
    guard view.ring.member(local.id) != nil else {
      throw DatabaseError(.staleRing, "\(local.path) is about to leave the cluster, and keeps no hints")
    }
    sync(true) { failure in answer(failure.map { .failure($0) } ?? .success([])) }
  }

  /// Keeps a state for another member's store.
  ///
  /// - Parameter asOf: when it was read; `nil` for now.
  func keepHint(
    for target: MemberID, _ keyspace: KeyspaceCore, _ key: [UInt8], _ record: Record, asOf: Timestamp? = nil
  ) throws(DatabaseError) {
    try hints.keep(
      for: target, keyspace: keyspace.schemaID, partition: try keyspace.partition(of: key), key, record,
      at: try core.shared.clock.now(), asOf: asOf, .applied)
  }

  /// Calls `then` once what was written here before survives the machine, where that is asked for.
  func sync(_ isAsked: Bool, _ then: @escaping @Sendable (DatabaseError?) -> Void) {
    if isAsked { local.calls.sync(then) } else { then(nil) }
  }
}
