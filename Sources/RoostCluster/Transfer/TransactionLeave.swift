import RoostEnvironment

// How a member that holds nothing any more ends its part in transactions, before it is forgotten. It is out
// of the ring by then, for good, so nobody names it anew:
//
// 1. It begins no transactions, and waits until all that it began are over at all stores.
// 2. It asks all others until none has an unfinished transaction that names it (`NamingQuestions`). So
//    whoever tells a decision again, which it did not know to be done everywhere, may take it for done
//    where the member is forgotten (`RemoteTransport`).
// 3. It records nothing more, and gives what it has on record (outcomes, marks, operators' decisions) to a
//    member that stays, durably; last the word that what it coordinated and nobody has on record
//    is aborted. From then on that one answers for it.
//
// A kill or a failure anywhere begins it again: it records what it is told until 3 then, and what comes twice
// is there already.

/// Ends the part in transactions of a node that leaves. Used by one thread at a time.
final class TransactionLeave: @unchecked Sendable {
  private static let pageBytes = 256 << 10

  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private let view: RingView
  private let done: @Sendable (Result<Void, DatabaseError>) -> Void
  private var after: [UInt8] = []

  init(
    _ node: ClusterNode, _ view: RingView, _ done: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    self.node = node
    self.view = view
    self.done = done
  }

  func begin() {
    guard let node else { return }
    do throws(DatabaseError) {
      // One that failed before may have left it quiet: then it answers nobody who tells a decision again, and
      // who does so names it for ever.
      try node.openedTransactions().resume(node.local)
      try node.checkStep(.bequeath)
      guard try node.openedTransactions().retire() else {
        throw DatabaseError(.busy, "transactions that this member coordinates are not over everywhere")
      }
    } catch { return done(.failure(error)) }
    NamingQuestions(node.local.id, partition: nil, node, view) { [self] result in
      switch result {
      case .success: bequeath()
      case .failure(let error): done(.failure(error))
      }
    }.begin()
  }

  private func bequeath() {
    guard let node else { return }
    do throws(DatabaseError) {
      guard try node.openedTransactions().quiet(node.local) else {
        throw DatabaseError(.busy, "something is being recorded of transactions here")
      }
      if node.subversions.dropsBequest { return done(.success(())) }
      let staying = view.ring.staying.map(\.id).filter { $0 != node.local.id }
      guard let heir = node.inOrderOfTrust(staying).first else {
        throw DatabaseError(.missingStore, "no member stays that could keep the records of transactions")
      }
      try give(to: heir, node)
    } catch { done(.failure(error)) }
  }

  private func give(to heir: MemberID, _ node: ClusterNode) throws(DatabaseError) {
    let transactions = try node.openedTransactions()
    let (page, next) = try transactions.records(after: after, byteLimit: Self.pageBytes)
    var bequest = page
    if next == nil { bequest.ended = transactions.coordinators }
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds &* 4
    node.send(
      NodeMessageKind.bequest, bequest.encoded(of: node.local.id, node.core.id), to: heir, deadline: limit
    ) { [self, weak node] result in
      guard let node else { return }
      node.run(.background) { [self] in
        do throws(DatabaseError) {
          _ = try result.get()
          guard let next else { return done(.success(())) }
          after = next
          try give(to: heir, node)
        } catch {
          done(
            .failure(
              DatabaseError(
                .busy, "member \(heir) is to keep this one's records of transactions: \(error.message)")))
        }
      }
    }
  }
}
