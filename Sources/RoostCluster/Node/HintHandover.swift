import RoostCausality

/// Hands over what is kept for some members: a page at a time, one hint after the other, as fast as the
/// node's pace of hints lets it, until all were tried; a member that does not take its hints is passed over.
/// What is for a member that has the key's partition no more goes to all that have it now. Used by one thread
/// at a time.
final class HintHandover: @unchecked Sendable {
  private static let pageBytes = 64 << 10

  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private var targets: ArraySlice<MemberID>
  /// Whether this node goes for good: what a member that is down cannot take is left with another one.
  private let isLeaving: Bool
  private let done: @Sendable () -> Void
  private var page: ArraySlice<Hint> = []
  /// The last hint that was taken in hand of the first target's.
  private var last: [UInt8]?

  init(
    _ node: ClusterNode, _ targets: [MemberID], isLeaving: Bool = false,
    _ done: @escaping @Sendable () -> Void
  ) {
    self.node = node
    self.targets = ArraySlice(targets)
    self.isLeaving = isLeaving
    self.done = done
  }

  func begin() { goOnLater() }

  private func goOn() {
    guard let node else { return }
    if node.hasClosed || targets.isEmpty { return done() }
    let (pace, now) = (node.paces.hints, node.now)
    let ready = pace.ready(at: now)
    guard ready > 0 else {
      // By then some may be too old, or hold more: they are read again.
      page = []
      return node.afterNanoseconds(pace.wait(at: now)) { [self] in goOn() }
    }
    do throws(DatabaseError) {
      while page.isEmpty {
        guard let target = targets.first else { return done() }
        page = ArraySlice(
          try node.hints.page(
            for: target, after: last, byteLimit: min(ready, Self.pageBytes),
            at: try node.core.shared.clock.now()))
        if page.isEmpty { nextTarget() }
      }
      guard let hint = page.popFirst() else { return done() }
      last = hint.key
      try hand(over: hint, node)
    } catch {
      if error.code != .closed { node.core.options.warn("hints could not be handed over: \(error)") }
      done()
    }
  }

  private func nextTarget() {
    _ = targets.popFirst()
    last = nil
    page = []
  }

  private func hand(over hint: Hint, _ node: ClusterNode) throws(DatabaseError) {
    let keyspace: KeyspaceCore
    do throws(DatabaseError) { keyspace = try node.keyspace(hint.keyspace) } catch {
      guard error.code == .unknownKeyspace else { throw error }
      // Of a keyspace that nobody has any more.
      _ = try node.hints.handedOver(hint)
      return goOnLater()
    }
    let partition = try keyspace.partition(of: hint.userKey)
    let view = node.view
    if view.takesWrites(hint.target, of: partition, in: keyspace) {
      if isLeaving, node.peers.isSuspected(hint.target, at: node.now) {
        return leave(hint, keyspace, view, node)
      }
      return hand(over: hint, keyspace, to: [hint.target], node)
    }
    hand(over: hint, keyspace, to: view.replicas(of: partition, in: keyspace)[...], node)
  }

  /// Brings some members what a hint has, one after the other; the hint goes once all have it.
  private func hand(
    over hint: Hint, _ keyspace: KeyspaceCore, to members: ArraySlice<MemberID>, _ node: ClusterNode
  ) {
    guard let member = members.first else {
      _ = try? node.hints.handedOver(hint)
      return goOnLater()
    }
    do throws(DatabaseError) {
      if member == node.local.id {
        try node.checkTimely(hint.since)
        node.paces.hints.note(hint.byteCount, at: node.now)
        _ = try unsafe keyspace.join(hint.userKey.span.bytes, hint.state)
        return hand(over: hint, keyspace, to: members.dropFirst(), node)
      }
      let message = try message(hint, keyspace, node)
      send(hint, NodeMessageKind.apply, message, to: member, node) { [self] node in
        hand(over: hint, keyspace, to: members.dropFirst(), node)
      }
    } catch { failed(error) }
  }

  /// Leaves a hint with a member that stays: with one that is no replica of the key, where there is one. A
  /// replica may have the state itself, and a hint beside it is no second copy.
  private func leave(_ hint: Hint, _ keyspace: KeyspaceCore, _ view: RingView, _ node: ClusterNode) {
    let now = node.now
    let others = view.ring.members.map(\.id).filter {
      $0 != hint.target && $0 != node.local.id && !node.peers.isSuspected($0, at: now)
    }
    do throws(DatabaseError) {
      let partition = try keyspace.partition(of: hint.userKey)
      let keepers = others.filter { !view.isReplica($0, of: partition, in: keyspace) }
      guard let keeper = keepers.first ?? others.first else { return nextAndOn() }
      var message = try message(hint, keyspace, node)
      message.target = hint.target
      send(hint, NodeMessageKind.hint, message, to: keeper, node) { [self] node in
        _ = try? node.hints.handedOver(hint)
        goOn()
      }
    } catch { failed(error) }
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
    _ hint: Hint, _ kind: UInt16, _ message: ReplicaMessage, to member: MemberID, _ node: ClusterNode,
    _ then: @escaping @Sendable (ClusterNode) -> Void
  ) {
    node.paces.hints.note(hint.byteCount, at: node.now)
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
    node.send(kind, message, to: member, deadline: limit) { [self, weak node] result in
      guard let node else { return }
      node.run(.background) { [self] in
        switch result {
        case .success: then(node)
        case .failure(let error): failed(error)
        }
      }
    }
  }

  /// What this one hint is refused for must not hold up those behind it; a member that does not answer does.
  private func failed(_ error: DatabaseError) {
    let codes: [DatabaseError.Code] = [
      .unreachable, .deadlineExceeded, .busy, .indeterminate, .closed, .staleRing, .notAMember, .storage,
    ]
    if codes.contains(error.code) { nextTarget() }
    goOnLater()
  }

  private func nextAndOn() {
    nextTarget()
    goOnLater()
  }

  /// Not on this stack: there may be thousands that fail at once.
  private func goOnLater() { node?.run(.background) { [self] in goOn() } }
}
