import RoostCausality
/// Hands over what is kept for some members: a page at a time, until so many bytes have gone, or a member
/// does not take its hints. What is for a member that has the key's partition no more goes to all that have
/// it now. Used by one thread at a time.
final class HintHandover: @unchecked Sendable {
  private static let pageBytes = 64 << 10

  private let node: ClusterNode
  private var targets: ArraySlice<MemberID>
  private var bytesLeft: Int
  /// Whether this node goes for good: what a member that is down cannot take is left with another one.
  private let isLeaving: Bool
  private let done: @Sendable () -> Void
  private var page: ArraySlice<Hint> = []
  private var last: [UInt8]?

  init(
    _ node: ClusterNode, _ targets: [MemberID], byteLimit: Int, isLeaving: Bool = false,
    _ done: @escaping @Sendable () -> Void
  ) {
    self.node = node
    self.targets = ArraySlice(targets)
    bytesLeft = byteLimit
    self.isLeaving = isLeaving
    self.done = done
  }

  func begin() { node.run(.background) { [self] in goOn() } }

  private func goOn() {
    if node.hasClosed { return done() }
    do throws(DatabaseError) {
      while page.isEmpty {
        guard bytesLeft > 0, let target = targets.first else { return done() }
        page = ArraySlice(
          try node.hints.page(
            for: target, after: last, byteLimit: min(bytesLeft, Self.pageBytes),
            at: try node.core.shared.clock.now()))
        last = page.last?.key
        if page.isEmpty { nextTarget() }
      }
      guard let hint = page.popFirst() else { return done() }
      bytesLeft -= hint.byteCount
      try hand(over: hint)
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

  private func hand(over hint: Hint) throws(DatabaseError) {
    let keyspace: KeyspaceCore
    do throws(DatabaseError) { keyspace = try node.keyspace(hint.keyspace) } catch {
      guard error.code == .unknownKeyspace else { throw error }
      // Of a keyspace that nobody has any more.
      _ = try node.hints.handedOver(hint)
      return node.run(.background) { [self] in goOn() }
    }
    let partition = try keyspace.partition(of: hint.userKey)
    let view = node.view
    if view.takesWrites(hint.target, of: partition, in: keyspace) {
      if isLeaving, node.peers.isSuspected(hint.target, at: node.now) { return leave(hint, keyspace, view) }
      return hand(over: hint, keyspace, to: [hint.target])
    }
    hand(over: hint, keyspace, to: view.replicas(of: partition, in: keyspace)[...])
  }

  /// Brings some members what a hint has, one after the other; the hint goes once all have it.
  private func hand(over hint: Hint, _ keyspace: KeyspaceCore, to members: ArraySlice<MemberID>) {
    guard let member = members.first else {
      _ = try? node.hints.handedOver(hint)
      return node.run(.background) { [self] in goOn() }
    }
    do throws(DatabaseError) {
      if member == node.local.id {
        try node.checkTimely(hint.since)
        _ = try unsafe keyspace.join(hint.userKey.span.bytes, hint.state)
        return hand(over: hint, keyspace, to: members.dropFirst())
      }
      let message = try message(hint, keyspace)
      let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
      node.send(NodeMessageKind.apply, message, to: member, deadline: limit) { [self] result in
        node.run(.background) { [self] in
          switch result {
          case .success: hand(over: hint, keyspace, to: members.dropFirst())
          case .failure(let error): failed(error)
          }
        }
      }
    } catch { failed(error) }
  }

  /// Leaves a hint with a member that stays: with one that is no replica of the key, where there is one. A
  /// replica may have the state itself, and a hint beside it is no second copy.
  private func leave(_ hint: Hint, _ keyspace: KeyspaceCore, _ view: RingView) {
    let now = node.now
    let others = view.ring.members.map(\.id).filter {
      $0 != hint.target && $0 != node.local.id && !node.peers.isSuspected($0, at: now)
    }
    do throws(DatabaseError) {
      let partition = try keyspace.partition(of: hint.userKey)
      let keepers = others.filter { !view.isReplica($0, of: partition, in: keyspace) }
      guard let keeper = keepers.first ?? others.first else { return nextAndOn() }
      var message = try message(hint, keyspace)
      message.target = hint.target
      let limit = now &+ node.options.replicaTimeout.wholeNanoseconds
      node.send(NodeMessageKind.hint, message, to: keeper, deadline: limit) { [self] result in
        node.run(.background) { [self] in
          switch result {
          case .success:
            _ = try? node.hints.handedOver(hint)
            goOn()
          case .failure(let error): failed(error)
          }
        }
      }
    } catch { failed(error) }
  }

  private func message(_ hint: Hint, _ keyspace: KeyspaceCore) throws(DatabaseError) -> ReplicaMessage {
    var message = try node.place(keyspace, hint.userKey, quorum: nil, isSynced: true).message
    message.record = hint.state
    // Of a hint the age of what is in it counts.
    if message.asOf != nil { message.asOf = hint.since }
    return message
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
  private func goOnLater() { node.run(.background) { [self] in goOn() } }
}
