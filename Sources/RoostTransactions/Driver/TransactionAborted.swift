import RoostCluster

/// A transaction came to its end before its caller asked for it.
package struct TransactionAborted: Error, Hashable, Sendable {
  package var reason: AbortReason

  package init(_ reason: AbortReason) { self.reason = reason }
}

extension DatabaseError {
  init(_ refusal: BeginRefusal) {
    switch refusal {
    case .clock:
      self.init(
        .clockOutOfBound, "this process's clock was seen near the bound: it begins no transaction meanwhile")
    case .tooManyActive(let count): self.init(.busy, "\(count) transactions are under way already")
    case .logFailed(let text):
      self.init(.storage, "the coordinator's log failed, open the database again: \(text)")
    case .timeUsedTwice: self.init(.busy, "the clock gave a time twice")
    }
  }
}
