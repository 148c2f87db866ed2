import RoostCausality
import RoostEnvironment
import RoostStorage

extension ClusterNode {
  /// Sends what this node holds of a key to the other replicas: it was changed here.
  ///
  /// - Parameter reply: called once, by the deadline, with `.indeterminate` where too few have it.
  /// - Throws: what reading the key throws.
  func replicate(
    _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<Void>
  ) throws(DatabaseError) {
    counters.writes.wrappingAdd(1, ordering: .relaxed)
    // It may hold more by now: what others wrote since goes along.
    guard let record = try place.keyspace.held(place.key) else { return reply(.success(())) }
    ReplicatedWrite(self, place, record, deadline, reply).begin()
  }

  /// Sends what was changed here by something else than a request: an effect of a transaction.
  ///
  /// - Parameter reply: called once, with `.indeterminate` where too few have it by the deadline.
  package func replicate(
    _ key: [UInt8], of keyspace: KeyspaceCore, isSynced: Bool, deadline: UInt64,
    _ reply: @escaping Answer<Void>
  ) {
    // The key was changed already: also a node that is full or about to leave sends it.
    let refused: @Sendable (DatabaseError) -> Void = { error in
      reply(.failure(DatabaseError(.indeterminate, "the write may still appear: \(error.message)")))
    }
    run(until: deadline, refused: refused) { [self] in
      do throws(DatabaseError) {
        // A majority whatever the keyspace says: nobody waits for it, and it is tried until it is done, which
        // one node that is down must not hold up.
        try replicate(try place(keyspace, key, quorum: nil, isSynced: isSynced), deadline, reply)
      } catch { refused(error) }
    }
  }
}

/// A write on its way to the replicas: drives a ``QuorumWrite``. Thread-safe.
private final class ReplicatedWrite: UnderWay, @unchecked Sendable {
  private let node: ClusterNode
  private let place: KeyPlace
  private let record: Record
  private let deadline: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: ClusterNode.Answer<Void>?
  private var write: QuorumWrite?
  private var number: UInt64 = 0
  /// Whether this node's own part survives what it has to.
  private var isKept = false
  private var isWritten = false
  /// Whom the state was sent to, or is to be.
  private var known: Set<MemberID>
  /// Whom the partition is moving to, as long as it has neither the state nor a hint for it. The caller waits
  /// for them beside the quorum: at any moment they may take a replica's place, and count.
  private var awaited: Set<MemberID>

  init(
    _ node: ClusterNode, _ place: KeyPlace, _ record: Record, _ deadline: UInt64,
    _ reply: @escaping ClusterNode.Answer<Void>
  ) {
    self.node = node
    self.place = place
    self.record = record
    self.deadline = deadline
    self.reply = reply
    known = Set(place.replicas + [node.local.id])
    awaited = []
    if let pending = place.pending {
      known.insert(pending)
      let isUp = !node.peers.isSuspected(pending, at: node.now)
      if isUp, !node.subversions.dropsForwards { awaited = [pending] }
    }
  }

  func begin() {
    let local = node.local.id
    let now = node.now
    let members = node.core.ring.members.map(\.id)
    let subversions = node.subversions
    var replicas = place.replicas
    var pending = place.pending.map { [$0] } ?? []
    if subversions.countsPending { replicas += pending }
    if subversions.countsPending || subversions.dropsForwards { pending = [] }
    // Each partition's begin at another one: what a node that is down misses is kept by all others.
    let first = place.partition % members.count
    let fallbacks = (members[first...] + members[..<first]).filter {
      !place.replicas.contains($0) && !node.peers.isSuspected($0, at: now)
    }
    let (write, effects) = QuorumWrite.begin(
      coordinator: local, replicas: replicas.map(node.target), pending: pending,
      fallbacks: fallbacks.map(node.target),
      down: Set(place.replicas.filter { $0 != local && node.peers.node(of: $0) == nil }),
      quorum: place.quorum, isSloppy: true)
    let number = node.enlist(self)
    lock.withLock {
      self.write = write
      self.number = number
    }
    // Beside the messages: a crash of this node before its sync takes a dot that others have by then, and
    // this node's next incarnation mints others.
    node.sync(place.isSynced) { [self] failure in kept(failure) }
    carryOut(effects)
  }

  private func receive(_ event: QuorumWrite.Event) {
    let effects = lock.withLock { write?.receive(event) ?? [] }
    carryOut(effects)
  }

  private func carryOut(_ effects: [QuorumWrite.Effect]) {
    for effect in effects {
      switch effect {
      case .send(let member): send(to: member)
      case .hint(let fallback, let member): hint(at: fallback, for: member)
      case .answer(.written): written()
      case .answer(.indeterminate(let count)):
        node.counters.indeterminateWrites.wrappingAdd(1, ordering: .relaxed)
        answer(
          .failure(
            DatabaseError(
              .indeterminate,
              "\(count) of \(place.quorum.count) replicas have acknowledged: the write may still appear")))
      case .pendingMissed(let member), .missed(let member): keepHint(for: member)
      }
    }
    strikeIfOver()
  }

  /// Looked at until all have answered, and the caller is.
  private func strikeIfOver() {
    let (isOver, number) = lock.withLock { ((write?.isFinished ?? true) && reply == nil, self.number) }
    if isOver { node.strike(number) }
  }

  private func send(to member: MemberID) {
    var message = place.message
    message.record = record
    let limit = patience(with: member)
    node.send(
      NodeMessageKind.apply, message, to: member, deadline: limit, caughtUp: { [self] in bringOthers($0) }
    ) { [self] result in
      if case .success = result { receive(.acknowledged(member)) } else { receive(.failed(member)) }
      settled(member)
    }
  }

  /// Until when a store may answer. Of one that the caller waits for beside the quorum a hint can be kept
  /// here.
  private func patience(with member: MemberID) -> UInt64 {
    let isLast = lock.withLock { !awaited.contains(member) && write?.hasFallbacks != true }
    return node.patience(until: deadline, isLast: isLast)
  }

  /// One that was waited for beside the quorum has the state, or a hint is kept for it.
  private func settled(_ member: MemberID) {
    answerIfDone { awaited.remove(member) }
  }

  private func answerIfDone(_ change: () -> Void) {
    let isDone = lock.withLock {
      change()
      return isWritten && isKept && awaited.isEmpty
    }
    if isDone { answer(.success(())) }
  }

  /// The partition has moved, or begun to, since this write did: whom that brought in gets the state too. It
  /// counts for nothing, and is kept as a hint where it does not arrive.
  private func bringOthers(_ view: RingView) {
    if node.subversions.dropsForwards { return }
    let pending = view.pending(of: place.partition, in: place.keyspace)
    let takers = view.replicas(of: place.partition, in: place.keyspace) + (pending.map { [$0] } ?? [])
    let new = lock.withLock {
      let new = takers.filter { known.insert($0).inserted }
      awaited.formUnion(new)
      return new
    }
    for member in new {
      var message = place.message
      message.record = record
      message.head.ring = view.print(of: place.partition)
      let limit = node.patience(until: deadline)
      node.send(NodeMessageKind.apply, message, to: member, deadline: limit) { [self] result in
        if case .failure = result { keepHint(for: member) }
        settled(member)
      }
    }
  }

  private func hint(at fallback: MemberID, for member: MemberID) {
    var message = place.message
    message.record = record
    message.target = member
    let limit = patience(with: fallback)
    node.send(NodeMessageKind.hint, message, to: fallback, deadline: limit) { [self] result in
      if case .success = result { receive(.hinted(for: member)) } else { receive(.hintFailed(for: member)) }
    }
  }

  /// No other store keeps a hint: this one does. It has the state already, so that is no acknowledgement.
  private func keepHint(for member: MemberID) {
    // The caller may have been answered: no limit of requests bounds what waits here.
    let byteCount = place.key.count + record.encoded.count
    guard node.hints.enter(byteCount) else { return }
    node.run(.background) { [node, place, record] in
      defer { node.hints.leave(byteCount) }
      do throws(DatabaseError) {
        try node.keepHint(for: member, place.keyspace, place.key, record, asOf: place.message.asOf)
      } catch {
        if error.code == .closed || error.code == .busy { return }
        node.core.options.warn("a hint could not be kept: \(error)")
      }
    }
  }

  private func kept(_ failure: DatabaseError?) {
    if let failure {
      return answer(
        .failure(
          DatabaseError(
            .indeterminate, "the write was applied, and could not be made durable: \(failure.message)",
            cause: failure.cause)))
    }
    answerIfDone { isKept = true }
  }

  private func written() { answerIfDone { isWritten = true } }

  private func answer(_ result: Result<Void, DatabaseError>) {
    let reply = lock.withLock {
      defer { self.reply = nil }
      return self.reply
    }
    reply?(result)
    strikeIfOver()
  }

  func look(at nanoseconds: UInt64) { if nanoseconds >= deadline { overdue() } }

  private func overdue() {
    receive(.deadline)
    answerIfDone { awaited = [] }
    // Its sync may take longer than anybody waits.
    answer(
      .failure(
        DatabaseError(.indeterminate, "the deadline passed before the write was durable at its replicas")))
  }

  func end() {
    answer(.failure(DatabaseError(.indeterminate, "the node was closed: the write may still appear")))
  }
}
