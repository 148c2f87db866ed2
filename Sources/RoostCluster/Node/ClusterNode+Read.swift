import RoostCausality
import RoostEnvironment

extension ClusterNode {
  /// Reads a key from a quorum of its replicas.
  ///
  /// - Parameters:
  ///   - session: what they must cover together: where they do not, all others are asked too.
  ///   - reply: called once, by the deadline: with what they hold together, expired or not; with
  ///     `.unreachable` where too few answer, `.behindSession` where that does not cover what it must.
  func read(
    _ place: KeyPlace, _ deadline: UInt64, covering session: SessionDemand? = nil,
    _ reply: @escaping Answer<Record?>
  ) {
    counters.reads.wrappingAdd(1, ordering: .relaxed)
    ReplicatedRead(self, place, deadline, session, reply).begin()
  }

  /// Has this node hold all that a quorum of a key's replicas holds.
  ///
  /// - Parameter reply: called once, on a worker where that went well: as ``read(_:_:_:)``, and with what
  ///   joining throws.
  func catchUp(_ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<Void>) {
    read(place, deadline) { [self] result in
      switch result {
      case .failure(let error): reply(.failure(error))
      case .success(let record):
        run(until: deadline, refused: { reply(.failure($0)) }) {
          reply(
            answered { () throws(DatabaseError) in
              try self.checkTimely(place.message.asOf)
              if let record { _ = try unsafe place.keyspace.join(place.key.span.bytes, record) }
            })
        }
      }
    }
  }
}

/// A read on its way to the replicas: drives a ``QuorumRead``. Thread-safe.
final class ReplicatedRead: UnderWay, @unchecked Sendable {
  private let node: ClusterNode
  private let place: KeyPlace
  private let deadline: UInt64
  private let session: SessionDemand?
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: ClusterNode.Answer<Record?>?
  /// A key that was never written is an empty record.
  private var read: QuorumRead<Record>?
  private var number: UInt64 = 0
  private var nextLook: UInt64
  /// Those that have nothing of the key.
  private var hasNothing: Set<MemberID> = []

  init(
    _ node: ClusterNode, _ place: KeyPlace, _ deadline: UInt64, _ session: SessionDemand?,
    _ reply: @escaping ClusterNode.Answer<Record?>
  ) {
    self.session = session
    self.node = node
    self.place = place
    self.deadline = deadline
    self.reply = reply
    nextLook = node.now &+ node.options.impatience.wholeNanoseconds
  }

  func begin() {
    let (read, effects) = QuorumRead<Record>.begin(
      replicas: node.inOrderOfTrust(place.replicas).map(node.target), quorum: place.quorum,
      suffices: { [session] in session?.isCovered(by: $0.context) ?? true },
      join: { one, other in
        var joined = one
        joined.join(other)
        return joined
      })
    let number = node.enlist(self)
    lock.withLock {
      self.read = read
      self.number = number
    }
    carryOut(effects)
  }

  private func receive(_ event: QuorumRead<Record>.Event) {
    let effects = lock.withLock { () -> [QuorumRead<Record>.Effect] in
      if case .found(let member, let record) = event, record == Record() { hasNothing.insert(member) }
      return read?.receive(event) ?? []
    }
    carryOut(effects)
  }

  private func carryOut(_ effects: [QuorumRead<Record>.Effect]) {
    for effect in effects {
      switch effect {
      case .ask(let member): ask(member)
      case .answer(let record): answer(.success(record == Record() ? nil : record))
      case .unavailable(let count):
        node.counters.unavailableReads.wrappingAdd(1, ordering: .relaxed)
        answer(
          .failure(
            DatabaseError(
              .unreachable,
              "\(count) of \(place.quorum.count) replicas of partition \(place.partition) have answered")))
      case .insufficient(let record, let count):
        let session = session ?? SessionDemand()
        if count == place.replicas.count, node.mayBeReaped(session) {
          answer(.success(record == Record() ? nil : record))
        } else {
          let found = "\(count) of \(place.replicas.count) replicas of partition \(place.partition)"
          answer(.failure(session.failure(record.context, found)))
        }
      case .repair(let member, let record): repair(member, record)
      }
    }
    let isFinished = lock.withLock { read?.isFinished ?? true }
    if isFinished { node.strike(lock.withLock { number }) }
  }

  private func ask(_ member: MemberID) {
    if member == node.local.id {
      return node.runReading { [self] in
        switch answered({ () throws(DatabaseError) in try place.keyspace.held(place.key) }) {
        // Asked after it was read: what moved away meanwhile may have been deleted.
        case .success(let record) where node.view.isReplica(member, of: place.partition, in: place.keyspace):
          receive(.found(member, record ?? Record()))
        case .success:
          failed(member, DatabaseError(.staleRing, "partition \(place.partition) has moved away"))
        case .failure(let error): failed(member, error)
        }
      }
    }
    let limit = min(deadline, node.now &+ node.options.replicaTimeout.wholeNanoseconds)
    node.send(NodeMessageKind.fetch, place.message, to: member, deadline: limit) { [self] result in
      let found = result.flatMap { bytes in
        answered { () throws(DatabaseError) in try ReplicaMessage.record(bytes) }
      }
      switch found {
      case .success(let record): receive(.found(member, record ?? Record()))
      case .failure(let error): failed(member, error)
      }
    }
  }

  private func failed(_ member: MemberID, _ error: DatabaseError) {
    // Others may have the key whole: who runs the node should know all the same.
    if error.code == .corruption { node.core.options.warn("a replica could not be read: \(error)") }
    receive(.failed(member))
  }

  /// Nobody waits for it: what fails is found again by the next read.
  private func repair(_ member: MemberID, _ record: Record) {
    // It may have reaped it.
    if node.isEmpty(record), lock.withLock({ hasNothing.contains(member) }) { return }
    node.counters.repairs.wrappingAdd(1, ordering: .relaxed)
    if member == node.local.id {
      return node.run { [node, place] in
        guard (try? node.checkTimely(place.message.asOf)) != nil else { return }
        _ = try? unsafe place.keyspace.join(place.key.span.bytes, record)
      }
    }
    var message = place.message
    message.record = record
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
    node.send(NodeMessageKind.apply, message, to: member, deadline: limit) { _ in }
  }

  private func answer(_ result: Result<Record?, DatabaseError>) {
    let reply = lock.withLock {
      defer { self.reply = nil }
      return self.reply
    }
    reply?(result)
  }

  func look(at nanoseconds: UInt64) {
    if nanoseconds >= deadline { return receive(.deadline) }
    let isImpatient = lock.withLock {
      guard nanoseconds >= nextLook, reply != nil else { return false }
      nextLook = nanoseconds &+ node.options.impatience.wholeNanoseconds
      return true
    }
    if isImpatient { receive(.impatient) }
  }

  func end() { answer(.failure(DatabaseError(.closed, "the node was closed"))) }
}
