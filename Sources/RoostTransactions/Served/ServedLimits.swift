/// The bounds of what a node keeps for its clients' transactions.
package struct ServedLimits: Sendable {
  /// Transactions of one connection.
  package var perConnection = 256
  /// Of all connections.
  package var total = 1_024
  /// Keys and values that all of them are to write, in bytes.
  package var bytes = 256 << 20
  /// The longest that one may be without a statement, in milliseconds.
  package var longestIdleMilliseconds: UInt64 = 60_000
  /// Keys that one statement may read.
  package var keysPerRead = 10_000

  package init() {}
}
