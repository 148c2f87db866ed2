import RoostCausality
import RoostEnvironment

/// Hands over what is kept for some members, as fast as the node's pace of hints lets it: a page for each in
/// its turn, a few hints at a time, until all were tried. A member that does not take its hints is passed
/// over, and one that comes back meanwhile is taken in.
/// What is for a member that has the key's partition no more goes to all that have it now; where one of them
/// does not take it, it waits, and holds up nothing behind it. Used by one thread at a time, but for what it
/// has in hand (``HintBatch``).
final class HintHandover: @unchecked Sendable {
  private static let pageBytes = 64 << 10
  /// Hints that go to a member at a time, once it has answered one.
  private static let mostInHand = 8
  /// After how long a member that was passed over, or had no more, has its turn again while others have
  /// theirs, in nanoseconds.
  private static let pause: UInt64 = 10_000_000_000

  private struct Target {
    let member: MemberID
    /// The last of its hints that was taken in hand.
    var last: [UInt8]?
    var hasAnswered = false
  }

  /// A target that is done with for now.
  private struct Passed {
    /// When it had its last turn.
    let at: UInt64
    /// Behind which of its hints the next turn begins; `nil` where all had theirs.
    let last: [UInt8]?
  }

  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  /// It is the first one's turn.
  private var targets: [Target]
  private var passed: [MemberID: Passed] = [:]
  /// Those that did not take what this node, which leaves, had for them: it is left with others. Changed only
  /// while nothing is in hand.
  private var failed: Set<MemberID> = []
  /// Whether this node goes for good: what a member that is down cannot take is left with another one.
  private let isLeaving: Bool
  private let done: @Sendable () -> Void
  /// Of the first target.
  private var page: ArraySlice<Hint> = []

  init(
    _ node: ClusterNode, _ targets: [MemberID], isLeaving: Bool = false,
    _ done: @escaping @Sendable () -> Void
  ) {
    self.node = node
    self.targets = targets.map { Target(member: $0) }
    self.isLeaving = isLeaving
    self.done = done
  }

  func begin() { goOnLater() }

  private func goOn() {
    guard let node else { return }
    if node.hasClosed || targets.isEmpty { return done() }
    // Then all is handed over as by one that leaves.
    if !isLeaving, node.view.isLeaving(node.local.id) { return done() }
    let (pace, now) = (node.paces.hints, node.now)
    let ready = pace.ready(at: now)
    guard ready > 0 else {
      // By then some may be too old, or hold more: they are read again.
      if !page.isEmpty { nextTurn(node) }
      return node.afterNanoseconds(pace.wait(at: now)) { [self] in goOn() }
    }
    while page.isEmpty {
      guard let target = targets.first else { return done() }
      do throws(DatabaseError) {
        page = ArraySlice(
          try node.hints.page(
            for: target.member, after: target.last, byteLimit: min(ready, Self.pageBytes),
            at: try node.core.shared.clock.now()))
        if page.isEmpty { passOver(node, isAtEnd: true) }
      } catch {
        if error.code == .closed { return done() }
        // What is for others may be sound.
        node.core.options.warn("hints for member \(target.member) could not be handed over: \(error)")
        passOver(node)
      }
    }
    // Who does not answer is sent one in vain.
    let hints = page.prefix(targets[0].hasAnswered ? Self.mostInHand : 1)
    page = page.dropFirst(hints.count)
    let before = targets[0].last
    targets[0].last = hints.last?.key
    let batch = HintBatch(hints.count) { [self] outcome in ended(outcome, after: before) }
    for hint in hints { hand(over: hint, batch, node) }
  }

  /// What was in hand is done with, or its target did not take it.
  ///
  /// - Parameter key: of the hint before it.
  private func ended(_ outcome: HintBatch.Outcome, after key: [UInt8]?) {
    guard let node else { return }
    if isLeaving, !outcome.failed.isSubset(of: failed) {
      // The same once more, by others. Each time there are fewer of them.
      failed.formUnion(outcome.failed)
      page = []
      targets[0].last = key
    } else if outcome.isToBePassedOver {
      passOver(node)
    } else {
      targets[0].hasAnswered = true
      if page.isEmpty { nextTurn(node) }
    }
    goOnLater()
  }

  /// The first target is done with for now. Where it goes on the next time is behind what it did not take,
  /// which would hold up the rest for good else, until all had their turn.
  private func passOver(_ node: ClusterNode, isAtEnd: Bool = false) {
    page = []
    let target = targets.removeFirst()
    passed[target.member] = Passed(at: node.now, last: isAtEnd ? nil : target.last)
  }

  /// The first target waits for its next turn, and who has come meanwhile for its first.
  private func nextTurn(_ node: ClusterNode) {
    page = []
    targets.append(targets.removeFirst())
    // Who leaves had all of them to begin with, and looks again at the end.
    if isLeaving { return }
    let now = node.now
    for member in node.hintTargets where !targets.contains(where: { $0.member == member }) {
      let known = passed[member]
      if let known, now < known.at &+ Self.pause { continue }
      targets.append(Target(member: member, last: known?.last))
    }
  }

  private func hand(over hint: Hint, _ batch: HintBatch, _ node: ClusterNode) {
    do throws(DatabaseError) {
      let keyspace: KeyspaceCore
      do throws(DatabaseError) { keyspace = try node.keyspace(hint.keyspace) } catch {
        guard error.code == .unknownKeyspace else { throw error }
        // Of a keyspace that nobody has any more.
        _ = try node.hints.handedOver(hint)
        return batch.ended()
      }
      let partition = try keyspace.partition(of: hint.userKey)
      let view = node.view
      let takers =
        view.takesWrites(hint.target, of: partition, in: keyspace)
        ? [hint.target] : view.replicas(of: partition, in: keyspace)
      hand(over: hint, keyspace, to: takers[...], batch, node)
    } catch { batch.ended(error, passesOver: true) }
  }

  /// Brings some members what a hint has, one after the other; the hint goes once all have it. Who leaves
  /// leaves it with others for those that are down.
  private func hand(
    over hint: Hint, _ keyspace: KeyspaceCore, to members: ArraySlice<MemberID>, _ batch: HintBatch,
    _ node: ClusterNode
  ) {
    guard let member = members.first else {
      _ = try? node.hints.handedOver(hint)
      return batch.ended()
    }
    do throws(DatabaseError) {
      if member == node.local.id {
        try node.checkTimely(hint.since)
        node.paces.hints.note(hint.byteCount, at: node.now)
        _ = try unsafe keyspace.join(hint.userKey.span.bytes, hint.state)
        return hand(over: hint, keyspace, to: members.dropFirst(), batch, node)
      }
      let isSuspected = node.peers.isSuspected(member, at: node.now)
      if !isLeaving, isSuspected, member != hint.target {
        // It waits for that one. At the pace of hints, since there may be many.
        node.paces.hints.note(hint.byteCount, at: node.now)
        return batch.ended()
      }
      var message = try message(hint, keyspace, node)
      var (kind, receiver) = (NodeMessageKind.apply, member)
      if isLeaving, isSuspected || failed.contains(member) {
        message.target = member
        kind = NodeMessageKind.hint
        receiver = try keeper(of: hint, for: member, keyspace, node)
      }
      send(hint, kind, message, to: receiver, batch, node) { [self] node in
        hand(over: hint, keyspace, to: members.dropFirst(), batch, node)
      }
    } catch { batch.ended(error, passesOver: member == hint.target) }
  }

  /// With whom a hint is left for a member that does not take it: one that stays and is no replica of the
  /// key, where there is one. A replica may have the state itself, and a hint beside it is no second copy.
  ///
  /// - Throws: `.unreachable` where there is nobody.
  private func keeper(
    of hint: Hint, for member: MemberID, _ keyspace: KeyspaceCore, _ node: ClusterNode
  ) throws(DatabaseError) -> MemberID {
    let (view, now) = (node.view, node.now)
    let others = view.ring.members.map(\.id).filter {
      $0 != member && $0 != node.local.id && !failed.contains($0) && !node.peers.isSuspected($0, at: now)
    }
    let partition = try keyspace.partition(of: hint.userKey)
    let strangers = others.filter { !view.isReplica($0, of: partition, in: keyspace) }
    guard let keeper = strangers.first ?? others.first else {
      throw DatabaseError(.unreachable, "nobody is there to leave a hint with for member \(member)")
    }
    return keeper
  }

  private func message(
    _ hint: Hint, _ keyspace: KeyspaceCore, _ node: ClusterNode
  ) throws(DatabaseError) -> ReplicaMessage {
    var message = try node.place(keyspace, hint.userKey, quorum: nil, isSynced: true).message
    message.record = hint.state
    // Of a hint the age of what is in it counts.
    if message.asOf != nil { message.asOf = hint.since }
    return message
  }

  /// Sends a hint; `then` runs on a worker once it was taken.
  private func send(
    _ hint: Hint, _ kind: UInt16, _ message: ReplicaMessage, to member: MemberID, _ batch: HintBatch,
    _ node: ClusterNode, _ then: @escaping @Sendable (ClusterNode) -> Void
  ) {
    // Else nothing leaves.
    if node.peers.node(of: member) != nil {
      node.paces.hints.note(hint.byteCount, at: node.now)
      node.counters.hintBytesSent.wrappingAdd(UInt64(hint.byteCount), ordering: .relaxed)
    }
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
    node.send(kind, message, to: member, deadline: limit) { [weak node] result in
      guard let node else { return }
      node.run(.background) {
        switch result {
        case .success: then(node)
        case .failure(let error): batch.ended(error, of: member, passesOver: member == hint.target)
        }
      }
    }
  }

  /// Not on this stack: there may be thousands that fail at once.
  private func goOnLater() { node?.run(.background) { [self] in goOn() } }
}

/// Hints of one target that are in hand at the same time. Thread-safe.
private final class HintBatch: @unchecked Sendable {
  /// How the hints ended.
  struct Outcome: Sendable {
    /// Whether their target is.
    var isToBePassedOver = false
    /// Those that did not answer, or take nothing now.
    var failed: Set<MemberID> = []
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var outcome = Outcome()
  private let done: @Sendable (Outcome) -> Void

  /// - Parameter done: called once the last has ended.
  init(_ count: Int, _ done: @escaping @Sendable (Outcome) -> Void) {
    left = count
    self.done = done
  }

  /// One of them is done with, or was not taken. What this one alone is refused for must not hold up those
  /// behind it, nor another receiver than their target; a target that does not answer does.
  ///
  /// - Parameters:
  ///   - member: whom it was sent to.
  ///   - passesOver: whether that concerns all that the target has.
  func ended(_ error: DatabaseError? = nil, of member: MemberID? = nil, passesOver: Bool = false) {
    let codes: [DatabaseError.Code] = [
      .unreachable, .deadlineExceeded, .busy, .indeterminate, .closed, .staleRing, .notAMember, .storage,
    ]
    let end = lock.withLock { () -> Outcome? in
      if let error, codes.contains(error.code) {
        if passesOver { outcome.isToBePassedOver = true }
        if let member { outcome.failed.insert(member) }
      }
      left -= 1
      return left == 0 ? outcome : nil
    }
    if let end { done(end) }
  }
}
