import RoostCluster

// What is counted of transactions, for whoever watches a node.

extension TransactionManager {
  /// What its coordinators have counted, and how many transactions are under way and in doubt.
  ///
  /// - Complexity: O(coordinators, and what is locked at the open stores).
  var figures: TransactionFigures {
    var figures = TransactionFigures()
    for driver in lock.withLock({ state.coordinatorsInOrder }) {
      let (outcomes, underWay) = driver.figures
      figures.outcomes.add(outcomes)
      figures.underWay += underWay
    }
    figures.inDoubt = inDoubt.count
    return figures
  }

  /// The same reply, which tells the node's observer first how long the commit took.
  func timed(
    _ reply: @escaping @Sendable (TransactionOutcome) -> Void
  ) -> @Sendable (TransactionOutcome) -> Void {
    // A process alone has no observer, and pays nothing for it.
    guard let observer = services.node?.observer else { return reply }
    let services = services
    let start = services.monotonicNanoseconds
    return { outcome in
      let now = services.monotonicNanoseconds
      observer.answeredCommit(nanoseconds: now - min(start, now))
      reply(outcome)
    }
  }
}
