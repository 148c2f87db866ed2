import RoostCausality
import RoostEnvironment

// What a session asks of a key, at a replica:
//
// 1. A read asks as many replicas as its quorum says; where they hold less together than the session saw, all
//    others too (`QuorumRead`). Where also they lack it, they are asked again later: a hint, a repair or a
//    node that comes back may bring it. A little before the deadline that ends, with `.behindSession`. Where
//    it may have been reaped, it is looked for no longer (`SessionDemand`).
// 2. A write is made on a state that covers what the session saw: where this node holds less, it reads first.
// 3. The answer says what the key's state had seen, which the session remembers.

extension ClusterNode {
  /// Whether what a session saw may have been reaped since, where all replicas together do not have it.
  func mayBeReaped(_ session: SessionDemand) -> Bool {
    guard let rule = reaping.rule, let since = session.since else { return false }
    let now = Timestamp(milliseconds: core.shared.clock.physicalMilliseconds)
    // The time is of another node's clock.
    return since.milliseconds &+ rule.slack < rule.before(now).milliseconds
  }

  /// - Throws: `.foreignToken`, `.foreignContext`, and as ``carryOut(_:_:_:_:)``.
  func carryOut(
    _ request: KeyRequest, in session: SessionDemand, _ place: KeyPlace, _ deadline: UInt64,
    _ reply: @escaping Answer<KeyAnswer>
  ) throws(DatabaseError) {
    guard request.operation != .get else {
      try session.check(core.id, binding: place.context(nil).binding)
      return readCovering(session, place, deadline) { result in
        reply(
          result.map { record in
            var answer = place.answer(record)
            answer.session = place.mark(record, for: session)
            return answer
          })
      }
    }
    try hold(session, place, deadline) { [self] result in
      if case .failure(let error) = result { return reply(.failure(error)) }
      do throws(DatabaseError) {
        try carryOut(request, place, deadline, reply)
      } catch { reply(.failure(error)) }
    }
  }

  /// Has this node hold what a session saw of a key.
  ///
  /// - Parameter reply: called once, on a worker where that went well: `.behindSession`, `.unreachable`, and
  ///   what joining throws.
  /// - Throws: `.foreignToken`, `.foreignContext`, and what reading the key throws.
  private func hold(
    _ session: SessionDemand, _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<Void>
  ) throws(DatabaseError) {
    try session.check(core.id, binding: place.context(nil).binding)
    if !session.asksAll {
      let held = try place.keyspace.held(place.key)?.context ?? VersionVector()
      if session.isCovered(by: held) { return reply(.success(())) }
    }
    readCovering(session, place, deadline) { [self] result in
      switch result {
      case .failure(let error): reply(.failure(error))
      case .success(let record):
        run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
          reply(
            answered { () throws(DatabaseError) in
              try checkTimely(place.message.asOf)
              if let record { _ = try unsafe place.keyspace.join(place.key.span.bytes, record) }
            })
        }
      }
    }
  }

  /// Reads a key until what was found covers what a session saw of it.
  private func readCovering(
    _ session: SessionDemand, _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<Record?>
  ) {
    var place = place
    if session.asksAll { place.quorum = QuorumSize(place.replicas.count) }
    // Who asked should hear what is missing, and not just that the time is over.
    let left = deadline &- min(now, deadline)
    CoveringRead(self, session, place, deadline &- min(left / 10, 500_000_000), reply).begin()
  }
}

/// A read that is tried again until it covers what a session saw. Thread-safe.
private final class CoveringRead: UnderWay, @unchecked Sendable {
  /// Between a try and the next, in nanoseconds: doubled each time.
  private static let firstPause: UInt64 = 50_000_000
  private static let longestPause: UInt64 = 400_000_000

  private let node: ClusterNode
  private let session: SessionDemand
  private let place: KeyPlace
  private let deadline: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: ClusterNode.Answer<Record?>?
  private var number: UInt64 = 0
  private var pause = CoveringRead.firstPause
  /// When to try again, and what the last try came to; `nil` while one is under way.
  private var waiting: (until: UInt64, DatabaseError)?

  init(
    _ node: ClusterNode, _ session: SessionDemand, _ place: KeyPlace, _ deadline: UInt64,
    _ reply: @escaping ClusterNode.Answer<Record?>
  ) {
    self.node = node
    self.session = session
    self.place = place
    self.deadline = deadline
    self.reply = reply
  }

  func begin() {
    let number = node.enlist(self)
    lock.withLock { self.number = number }
    read()
  }

  private func read() {
    node.read(place, deadline, covering: session) { [self] result in
      guard case .failure(let error) = result, error.code == .behindSession, node.now < deadline else {
        return answer(result)
      }
      lock.withLock {
        waiting = (node.now &+ pause, error)
        pause = min(2 &* pause, Self.longestPause)
      }
    }
  }

  func look(at nanoseconds: UInt64) {
    // A read that is under way ends by itself.
    guard let (next, failure) = lock.withLock({ waiting }) else { return }
    if nanoseconds >= deadline { return answer(.failure(failure)) }
    guard nanoseconds >= next else { return }
    lock.withLock { waiting = nil }
    read()
  }

  func end() { answer(.failure(DatabaseError(.closed, "the node was closed"))) }

  private func answer(_ result: Result<Record?, DatabaseError>) {
    let (reply, number) = lock.withLock {
      defer { self.reply = nil }
      return (self.reply, self.number)
    }
    node.strike(number)
    reply?(result)
  }
}
