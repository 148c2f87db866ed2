import RoostEnvironment

/// Asks all members whether unfinished transactions name a member: for an effect on one partition, or at all
/// (step 2 of `PartitionHandover.swift`, and `TransactionLeave`). Ends once none does. Used by one thread at
/// a time.
///
/// Each answers once it goes by a ring in which nobody names that member any more for what is asked: so what
/// was true once stays so, and one after the other may be asked.
final class NamingQuestions: @unchecked Sendable {
  private let named: MemberID
  private let partition: Int?
  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private let view: RingView
  private let done: @Sendable (Result<Void, DatabaseError>) -> Void
  private var left: ArraySlice<MemberID>
  /// Nanoseconds of the monotonic clock.
  private let deadline: UInt64

  init(
    _ named: MemberID, partition: Int?, _ node: ClusterNode, _ view: RingView,
    _ done: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    self.named = named
    self.partition = partition
    self.node = node
    self.view = view
    self.done = done
    let dead = view.change?.dead ?? []
    left = view.everybody.filter { !dead.contains($0) }[...]
    deadline =
      node.now &+ node.core.options.transactions.longestDuration.wholeNanoseconds &+ 2_000_000_000
  }

  func begin() { askNext() }

  private func askNext() {
    guard let node else { return }
    guard let member = left.first else { return done(.success(())) }
    let request = NamingRequest(
      database: node.core.id, revision: view.revision, named, partition: partition)
    guard member != node.local.id else {
      let count = answered { () throws(DatabaseError) in UInt64(try node.unfinished(request)) }
      return takeAnswer(of: member, count, node)
    }
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds &* 2
    node.send(NodeMessageKind.naming, request.encoded(), to: member, deadline: limit) {
      [self, weak node] result in
      guard let node else { return }
      node.run(.background) { [self] in
        let count = result.flatMap { bytes in
          answered { () throws(DatabaseError) in try NamingRequest.unfinished(bytes) }
        }
        takeAnswer(of: member, count, node)
      }
    }
  }

  private func takeAnswer(of member: MemberID, _ count: Result<UInt64, DatabaseError>, _ node: ClusterNode) {
    switch count {
    case .success(0):
      left.removeFirst()
      askNext()
    case .success(let count):
      guard node.now < deadline else {
        let what = partition.map { "for effects on partition \($0)" } ?? "for something"
        return done(
          .failure(
            DatabaseError(
              .busy, "\(count) unfinished transactions of member \(member) name member \(named) \(what)")))
      }
      node.afterNanoseconds(20_000_000) { [self] in askNext() }
    case .failure(let error):
      done(
        .failure(
          DatabaseError(
            error.code == .closed ? .unreachable : error.code,
            "member \(member), which may have unfinished transactions, has to be there: \(error.message)")))
    }
  }
}
