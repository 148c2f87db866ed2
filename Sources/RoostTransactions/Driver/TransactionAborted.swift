/// A transaction came to its end before its caller asked for it.
package struct TransactionAborted: Error, Hashable, Sendable {
  package var reason: AbortReason

  package init(_ reason: AbortReason) { self.reason = reason }
}
