/// Hands over what is kept for some members: a page at a time, until so many bytes have gone, or a member
/// does not take its hints. Used by one thread at a time.
final class HintHandover: @unchecked Sendable {
  private static let pageBytes = 64 << 10

  private let node: ClusterNode
  private var targets: ArraySlice<MemberID>
  private var bytesLeft: Int
  private let done: @Sendable () -> Void
  private var page: ArraySlice<Hint> = []
  private var last: [UInt8]?

  init(
    _ node: ClusterNode, _ targets: [MemberID], byteLimit: Int, _ done: @escaping @Sendable () -> Void
  ) {
    self.node = node
    self.targets = ArraySlice(targets)
    bytesLeft = byteLimit
    self.done = done
  }

  func begin() { node.run(.background) { [self] in goOn() } }

  private func goOn() {
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
    var message = try node.place(keyspace, hint.userKey, quorum: nil, isSynced: true).message
    message.record = hint.state
    if message.asOf != nil { message.asOf = hint.since }
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
    node.send(NodeMessageKind.apply, message, to: hint.target, deadline: limit) { [self] result in
      node.run(.background) { [self] in
        switch result {
        case .success: _ = try? node.hints.handedOver(hint)
        case .failure(let error):
          // What this one hint is refused for must not hold up those behind it.
          if [.unreachable, .deadlineExceeded, .busy, .indeterminate, .closed].contains(error.code) {
            nextTarget()
          }
        }
        goOn()
      }
    }
  }
}
