/// How the transactions of a database run.
public struct TransactionOptions: Sendable {
  /// How long a lock is waited for before the transaction is aborted: 1 ms to a minute.
  public var lockWait: Duration = .seconds(5)

  /// How long a transaction may take, from its first call to its commit: 10 ms to ten minutes. Longer
  /// ones are aborted, so that locks left behind by a caller that went away do not stay.
  public var longestDuration: Duration = .seconds(10)

  /// What one transaction may write, keys and values: up to a quarter of a store's memory budget.
  public var largestBytes = 10 << 20

  /// How many keys one transaction may write or lock: 1 to a million.
  public var mostKeys = 100_000

  /// The greatest difference between the physical clocks of any two members. A commit is answered, and
  /// its locks are let go, once the clock has passed the commit timestamp by as much. 0 where one
  /// process has all stores: there is one clock then; in a cluster 0 stands for
  /// ``DatabaseOptions/maximumClockOffset``. All nodes of a cluster must say the same.
  public var clockBound: Duration = .zero

  /// How long outcomes are kept for `Database.outcome(of:)`: a minute to a year.
  public var outcomeRetention: Duration = .seconds(3_600)

  /// For how long what was overwritten can still be read by `Database.snapshot(at:)`: from 0 to a
  /// year. Costs the room of the versions.
  public var versionRetention: Duration = .seconds(60)

  /// How often a transaction that met a conflict is begun anew: 0 to 1,000 times.
  public var mostRetries = 50

  public init() {}

  /// - Throws: `.invalidOption` naming the first option outside its limits.
  package func validate() throws(DatabaseError) {
    func check(
      _ name: String, _ value: Duration, _ low: Duration, _ high: Duration
    ) throws(DatabaseError) {
      if value >= low, value <= high { return }
      throw DatabaseError(.invalidOption, "transactions.\(name) is \(value), must be \(low) to \(high)")
    }
    try check("lockWait", lockWait, .milliseconds(1), .seconds(60))
    try check("longestDuration", longestDuration, .milliseconds(10), .seconds(600))
    try check("clockBound", clockBound, .zero, .seconds(60))
    try check("outcomeRetention", outcomeRetention, .seconds(60), .seconds(86_400 * 366))
    try check("versionRetention", versionRetention, .zero, .seconds(86_400 * 366))
    func check(_ name: String, _ value: Int, _ low: Int, _ high: Int) throws(DatabaseError) {
      if value >= low, value <= high { return }
      throw DatabaseError(.invalidOption, "transactions.\(name) is \(value), must be \(low) to \(high)")
    }
    try check("largestBytes", largestBytes, 1, 1 << 30)
    try check("mostKeys", mostKeys, 1, 1_000_000)
    try check("mostRetries", mostRetries, 0, 1_000)
  }
}
