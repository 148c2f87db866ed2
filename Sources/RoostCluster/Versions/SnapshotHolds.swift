package import RoostCausality
import RoostEnvironment

/// Which times are being read at, so that their versions are kept a little longer; and up to where old ones
/// may go.
///
/// Nothing within the retention goes. A hold keeps what its time sees beyond that, but not for longer than
/// the longest transaction may last: one that is older no longer counts, and its reads are refused once the
/// versions are gone.
///
/// Thread-safe.
package final class SnapshotHolds: @unchecked Sendable {
  private struct Hold {
    var time: Timestamp
    var since: UInt64
  }

  private let retentionMilliseconds: UInt64
  private let longestMilliseconds: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var holds: [UInt64: Hold] = [:]
  private var nextID: UInt64 = 0
  private var last = Timestamp.zero

  /// - Parameters:
  ///   - retentionMilliseconds: how far back one may read without a hold.
  ///   - longestMilliseconds: how long a hold counts.
  package init(retentionMilliseconds: UInt64 = 60_000, longestMilliseconds: UInt64) {
    self.retentionMilliseconds = retentionMilliseconds
    self.longestMilliseconds = longestMilliseconds
  }

  /// Keeps what a read at `time` needs, until it is released or too old.
  package func hold(_ time: Timestamp, atMonotonicMilliseconds now: UInt64) -> UInt64 {
    lock.withLock {
      defer { nextID += 1 }
      holds[nextID] = Hold(time: time, since: now)
      return nextID
    }
  }

  package func release(_ id: UInt64) { lock.withLock { holds[id] = nil } }

  package var count: Int { lock.withLock { holds.count } }

  /// Up to where versions may be collected; never goes back.
  ///
  /// - Parameters:
  ///   - physicalMilliseconds: the machine's clock, since 1970.
  ///   - now: of the clock that does not go back. Holds that are too old are dropped.
  package func horizon(
    physicalMilliseconds: UInt64, atMonotonicMilliseconds now: UInt64
  ) -> Timestamp {
    lock.withLock {
      let longest = longestMilliseconds
      holds = holds.filter { now < $0.value.since || now - $0.value.since <= longest }
      let retained = physicalMilliseconds - min(physicalMilliseconds, retentionMilliseconds)
      var horizon = Timestamp(milliseconds: retained)
      for hold in holds.values { horizon = min(horizon, hold.time) }
      last = max(last, horizon)
      return last
    }
  }
}
