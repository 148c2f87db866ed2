import RoostCausality
import RoostEnvironment

// Why a tombstone may go (REPLICATION: interleavings 7 and 8). A key comes back where, after all replicas
// have dropped the tombstone, a state arrives that has a value which the tombstone had replaced. Such a state
// was read from a replica before that replica had the tombstone, and:
//
// - each replica, asked in one ring, has had the very same record for longer than the horizon, durably, or
//   has nothing of the key: so no replica has the value any more, and whoever read it did so longer ago;
// - a state on its way says when it was read (a hint: when the first state in it was), and one that was read
//   longer ago than `lateAfter` is taken by nobody;
// - a disk that goes back to before it had the tombstone is not let into the cluster (`ReapingEvidence`), or,
//   where it had no part in the partition meanwhile, loses what it has of it (`EarlierTenures`).
//
// A tombstone that is still somewhere, because an order to reap was lost, does no harm: it brings nothing
// back.

/// How old what is reaped must be, and what comes too late. Timestamps of two nodes' clocks for one moment
/// differ by `slack` at most. A plain value.
struct ReapingRule: Sendable, Equatable {
  // Milliseconds.
  let horizon: UInt64
  let slack: UInt64
  /// How long ago a state that arrives may have been read: as long as hints are kept, and no longer.
  let lateAfter: UInt64
  /// How long an order may be on its way.
  let messageLifetime: UInt64

  /// - Returns: `nil` where nothing is ever reaped.
  /// - Throws: `.invalidOption` where the horizon is too near.
  init?(_ cluster: ClusterOptions, _ database: DatabaseOptions) throws(DatabaseError) {
    let slack = Self.slack(database.maximumClockOffset)
    let longest = max(cluster.replicaTimeout, cluster.requestTimeout, cluster.repairTimeout)
    let lifetime = longest.wholeMilliseconds
    let hintAge = cluster.hintAge.wholeMilliseconds
    guard let horizon = cluster.tombstoneHorizon else { return nil }
    let least = hintAge + 2 * lifetime + 4 * slack
    guard horizon > .zero, horizon <= .seconds(3_660 * 86_400), horizon.wholeMilliseconds >= least else {
      throw DatabaseError(
        .invalidOption,
        "tombstoneHorizon is \(horizon), must be \(least) ms to ten years: longer than a hint is kept "
          + "(\(hintAge) ms), a message lives twice (2 × \(lifetime) ms), clocks differ (4 × \(slack) ms)")
    }
    self.horizon = horizon.wholeMilliseconds
    self.slack = slack
    lateAfter = hintAge + lifetime + slack
    messageLifetime = lifetime
  }

  /// By how much two clocks may differ: the machines', the window by which one that was killed is ahead of
  /// its own when it starts again, and a second for a write on its way to the log.
  static func slack(_ maximumOffset: Duration) -> UInt64 {
    maximumOffset.wholeMilliseconds + DatabaseClock.windowMilliseconds + 1_000
  }

  /// What was written up to then is old enough.
  ///
  /// - Parameter horizon: in milliseconds, where another one than the rule's counts.
  func before(_ now: Timestamp, horizon: UInt64? = nil) -> Timestamp {
    let horizon = max(self.horizon, horizon ?? 0)
    return Timestamp(milliseconds: now.milliseconds - min(now.milliseconds, horizon))
  }

  /// Whether a state that was read then comes too late.
  func isLate(_ asOf: Timestamp, at now: Timestamp) -> Bool {
    now.milliseconds > asOf.milliseconds && now.milliseconds - asOf.milliseconds > lateAfter
  }
}

/// Conditions of reaping that a test leaves out, to show what then comes back.
package enum ReapingCondition: Sendable, Hashable, CaseIterable {
  /// All replicas are asked, and answer.
  case allReplicas
  /// Each holds the same, or nothing.
  case sameRecord
  /// It is older than the horizon.
  case age
  /// What was read too long ago is refused.
  case lateStates
  /// A disk that went back is refused.
  case rolledBackDisk
  /// What such a disk has of a partition that was others' in between is deleted.
  case earlierTenures
  /// Old tombstones are not pushed to replicas that have nothing of the key.
  case noPushes
}

extension StoredRecord {
  /// Whether it is nothing but a tombstone, or would be one once what has expired by then is dropped, and is
  /// as it is since then or longer. States of counters, sets, maps and flags never go: an empty one is not
  /// kept, and one that is there says something (a counter's operations that are not to count again, say).
  func isReapable(before: Timestamp) -> Bool {
    changeNumber <= before.rawValue && record.states.isEmpty
      && record.siblings.elements.allSatisfy { $0.isExpired(at: before.milliseconds) }
  }
}

extension Duration {
  /// Of what is neither negative nor too long.
  fileprivate var wholeMilliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(clamping: seconds) * 1_000 + UInt64(clamping: attoseconds / 1_000_000_000_000_000)
  }
}
