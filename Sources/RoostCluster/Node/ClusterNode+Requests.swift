import RoostCausality
import RoostEnvironment

// What clients ask of keys: done here where this node is a replica, else handed on to one.

extension ClusterNode {
  /// Does what a client asks, here or at a replica.
  ///
  /// - Parameters:
  ///   - deadline: when the client stops waiting, by the monotonic clock, in nanoseconds.
  ///   - reply: called once, from any thread, perhaps before this returns. Failures: as the calls of
  ///     `Keyspace`, and `.unreachable` (fewer replicas than asked for are there: nothing was written),
  ///     `.indeterminate` (fewer have acknowledged: it may still appear), `.deadlineExceeded`, `.busy`.
  package func perform(_ request: KeyRequest, deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>) {
    do throws(DatabaseError) { try enter() } catch { return reply(.failure(error)) }
    let (began, isWrite) = (now, request.isWrite)
    let counted: Answer<KeyAnswer> = { [counters, observer, time = environment.time] result in
      counters.leave()
      if let observer {
        let nanoseconds = time.monotonicNanoseconds &- began
        if case .failure(let error) = result {
          observer.answered(isWrite: isWrite, nanoseconds: nanoseconds, error.code)
        } else {
          observer.answered(isWrite: isWrite, nanoseconds: nanoseconds, nil)
        }
      }
      reply(result)
    }
    run(until: deadline, refused: { counted(.failure($0)) }) { [self] in begin(request, deadline, counted) }
  }

  /// Counts a client's call in.
  ///
  /// - Throws: `.busy`, `.closed`.
  func enter() throws(DatabaseError) {
    switch counters.enter(limit: options.requestLimit) {
    case .entered: return
    case .full:
      throw DatabaseError(.busy, "the node has \(options.requestLimit) requests in hand already")
    case .draining: throw DatabaseError(.closed, "the node is about to leave")
    }
  }

  /// How often a request is begun anew because the ring changed while nothing of it was done.
  static let mostAttempts = 4

  /// Whether a request of which nothing was done is to be begun anew: the ring is another by now.
  func mayBeginAgain(_ error: DatabaseError, _ place: KeyPlace, _ attempt: Int, _ deadline: UInt64) -> Bool {
    guard [.unreachable, .staleRing].contains(error.code), attempt < Self.mostAttempts, now < deadline else {
      return false
    }
    if error.code == .staleRing { _ = try? refreshRing() }
    return !isCurrent(place)
  }

  func begin(
    _ request: KeyRequest, _ deadline: UInt64, attempt: Int = 1, _ reply: @escaping Answer<KeyAnswer>
  ) {
    do throws(DatabaseError) {
      try checkServing()
      guard now < deadline else {
        throw DatabaseError(.deadlineExceeded, "the request came with no time left")
      }
      if request.isConditional, request.context == nil {
        throw DatabaseError(.invalidArgument, "a condition needs the context of a read")
      }
      try checkSize(request)
      let keyspace = try keyspace(request.keyspace)
      // By this one is read, what a write is to see too; what is written finds its own.
      let quorum = request.quorum ?? keyspace.quorums.read
      var place = try place(keyspace, request.key, quorum: quorum, isSynced: request.isSynced)
      if !place.isReplica, request.isHandedOn {
        // Who handed it on may have heard of a change that this node has not.
        try refreshRing()
        place = try self.place(keyspace, request.key, quorum: quorum, isSynced: request.isSynced)
      }
      let found = place
      let again: Answer<KeyAnswer> = { [self] result in
        guard case .failure(let error) = result, error.code == .unreachable || error.code == .staleRing else {
          return reply(result)
        }
        // Off the thread that brought the answer: the directory may be asked.
        run(until: deadline, refused: { _ in reply(result) }) { [self] in
          guard mayBeginAgain(error, found, attempt, deadline) else {
            // Of rings nodes talk among themselves.
            let isOurs = error.code == .staleRing && !request.isHandedOn
            return reply(isOurs ? .failure(DatabaseError(.unreachable, error.message)) : result)
          }
          begin(request, deadline, attempt: attempt + 1, reply)
        }
      }
      guard place.isReplica else {
        return handOn(request, place, ArraySlice(inOrderOfTrust(place.replicas)), deadline, nil, again)
      }
      if let session = request.session {
        return try carryOut(request, in: session, found, deadline, again)
      }
      try carryOut(request, found, deadline, again)
    } catch { reply(.failure(error)) }
  }

  /// Does at a replica what is asked. Where the ring changes before anything was done, it fails with
  /// `.unreachable` or `.staleRing`.
  func carryOut(
    _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>
  ) throws(DatabaseError) {
    switch request.operation {
    case .get:
      read(place, deadline) { result in reply(result.map { place.answer($0) }) }
    case _ where request.removes:
      // What is seen here goes: all that a read would show.
      catchUp(place, deadline) { [self] result in
        if case .failure(let error) = result { return reply(.failure(error)) }
        write(request, place, deadline, reply)
      }
    case .countOnce: try count(request, place, deadline, reply)
    case .delete where request.context == nil:
      // What a read would show goes: some of it may be known elsewhere only.
      read(place, deadline) { [self] result in
        switch result {
        case .failure(let error): reply(.failure(error))
        case .success(let record):
          var request = request
          request.context = place.context(record)
          let asked = request
          run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
            write(asked, place, deadline, reply)
          }
        }
      }
    default:
      if let dot = request.context?.dot, try place.keyspace.held(place.key)?.context.contains(dot) != true {
        return bring(dot, request, place, deadline, reply)
      }
      write(request, place, deadline, reply)
    }
  }

  /// What no other node would take must not be written here either.
  func checkSize(_ request: KeyRequest) throws(DatabaseError) {
    let count =
      switch request.operation {
      case .put(let value, _): value.count
      case .add(let element), .remove(let element): element.count
      case .change(let change): change.byteCount
      case .countOnce(_, _, let field): field?.count ?? 0
      case .get, .delete, .increment: 0
      }
    let limit = transport.largestBody - Self.headroom
    if count + request.key.count > limit {
      throw DatabaseError(
        .invalidArgument, "\(count + request.key.count) bytes; the cluster's nodes take up to \(limit)")
    }
  }

  /// Of a message's body, for what stands beside a key and a value.
  static let headroom = 64 << 10

  /// A context may name one write more than its vector claims: its writer's own, beside siblings that were
  /// not read. A replica that has never seen that write cannot replace it, and it would come back with the
  /// next message. So it is brought here first.
  func bring(
    _ dot: Dot, _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64,
    _ reply: @escaping Answer<KeyAnswer>
  ) {
    read(place, deadline) { [self] result in
      switch result {
      case .failure(let error): reply(.failure(error))
      case .success(let record):
        run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
          do throws(DatabaseError) {
            guard let record, record.context.contains(dot) else {
              throw DatabaseError(
                .unreachable,
                "the context names a write that no replica within reach has: read the key again")
            }
            try checkTimely(place.message.asOf)
            _ = try unsafe place.keyspace.join(place.key.span.bytes, record)
            write(request, place, deadline, reply)
          } catch { reply(.failure(error)) }
        }
      }
    }
  }

  func write(
    _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64, hasSeenAll: Bool = false,
    _ reply: @escaping Answer<KeyAnswer>
  ) {
    do throws(DatabaseError) {
      var answer = try place.keyspace.write(request, hasSeenAll: hasSeenAll)
      do throws(DatabaseError) {
        // By the ring as it is now that the write is in the store: had this partition begun to move just
        // before, the receiver must get it; just after, it is brought with the rest.
        let place = try self.place(
          place.keyspace, place.key, quorum: request.quorum ?? place.keyspace.quorums.write,
          isSynced: request.isSynced)
        // Whoever has the write has all that is here with it.
        if let session = request.session {
          answer.session = place.mark(try heldWithWrite(place), for: session)
        }
        let told = answer
        try replicate(place, deadline) { result in reply(result.map { told }) }
      } catch {
        throw DatabaseError(
          .indeterminate, "the write was applied, and could not be sent to other replicas: \(error.message)",
          cause: error.cause)
      }
    } catch { reply(.failure(error)) }
  }

  /// What is here of a key that was written here just now: `nil` where there was nothing, and the write left
  /// it so, as a delete does.
  ///
  /// - Throws: `.unreachable` where the partition has moved away since and took the write along: a session
  ///   that went by nothing would forget it. And as ``KeyspaceCore/held(_:)``.
  private func heldWithWrite(_ place: KeyPlace) throws(DatabaseError) -> Record? {
    if let record = try place.keyspace.held(place.key) { return record }
    // In this order: the ring changes before the partition is deleted here.
    guard view.isReplica(local.id, of: place.partition, in: place.keyspace) else {
      throw DatabaseError(
        .unreachable, "partition \(place.partition) moved away from \(local.path) while it was written to")
    }
    return nil
  }

  /// Sends a request to the replicas, one after the other, until one has taken it.
  func handOn(
    _ request: KeyRequest, _ place: KeyPlace, _ candidates: ArraySlice<MemberID>, _ deadline: UInt64,
    _ last: DatabaseError?, _ reply: @escaping Answer<KeyAnswer>
  ) {
    if request.isHandedOn {
      return reply(
        .failure(
          DatabaseError(.staleRing, "the request was handed on to \(local.path), which is no replica")))
    }
    guard let next = candidates.first else {
      let none = DatabaseError(.unreachable, "no replica of partition \(place.partition) is within reach")
      return reply(.failure(last ?? none))
    }
    // So few at a time that the nodes' own messages about writes always find room beside them.
    guard counters.enterHandingOn() else {
      return reply(.failure(DatabaseError(.busy, "too many requests wait at other nodes already")))
    }
    let rest = candidates.dropFirst()
    guard let node = peers.node(of: next) else {
      counters.leaveHandingOn()
      return handOn(request, place, rest, deadline, last, reply)
    }
    var handed = request
    handed.isHandedOn = true
    let message = NodeMessage(kind: NodeMessageKind.key, body: handed.encoded())
    // What does no harm when it is done twice can be asked again elsewhere.
    let patience = now &+ 2 &* options.replicaTimeout.wholeNanoseconds
    let limit = request.isRepeatable ? min(deadline, patience) : deadline
    transport.request(message, of: node, deadline: limit) { [self] result in
      counters.leaveHandingOn()
      var failure: DatabaseError
      switch result {
      case .success(let body):
        let answer = answered { () throws(DatabaseError) in
          try KeyAnswer(decoding: NodeAnswer.decode(body))
        }
        // These say that nothing was done.
        guard case .failure(let error) = answer else { return reply(answer) }
        // What an attempt before this one came to is still open.
        let isOpen = last?.code == .indeterminate
        let refusals: [DatabaseError.Code] = [.closed, .busy, .unreachable, .staleRing, .notAMember]
        guard refusals.contains(error.code) else {
          return reply(isOpen ? .failure(last ?? error) : answer)
        }
        failure = isOpen ? last ?? error : error
      case .failure(let error):
        failure = NodeAnswer.failure(error, of: "node \(node)", isWrite: request.isWrite)
        if failure.code == .indeterminate, !request.isRepeatable { return reply(.failure(failure)) }
        if let last, last.code == .indeterminate { failure = last }
      }
      handOn(request, place, rest, deadline, failure, reply)
    }
  }
}
