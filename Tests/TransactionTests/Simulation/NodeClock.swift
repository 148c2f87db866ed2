import RoostCausality
import RoostTransactions

/// The clocks of one simulated node: a physical one that is off by some time, and the hybrid logical
/// one on it, whose bound is on disk. Nodes share one where the protocol is told that there is one.
final class NodeClock {
  /// Physical time minus true time. Nodes whose offsets lie within a window are never further apart
  /// than its width, however they jump in it.
  var offsetMilliseconds: Int64
  /// How far the bound is raised at once.
  let boundAhead: UInt64
  private var hybrid: HybridLogicalClock

  static let epochMilliseconds: UInt64 = 1_000_000

  init(offsetMilliseconds: Int64, boundAhead: UInt64) {
    self.offsetMilliseconds = offsetMilliseconds
    self.boundAhead = boundAhead
    hybrid = HybridLogicalClock(notBefore: .zero, bound: .zero)
  }

  func physicalMilliseconds(_ now: UInt64) -> UInt64 {
    UInt64(Int64(Self.epochMilliseconds + now / 1_000) + offsetMilliseconds)
  }

  func timestamp(_ now: UInt64) -> Timestamp {
    let physical = physicalMilliseconds(now)
    if let time = hybrid.now(physicalMilliseconds: physical) { return time }
    let ahead = max(physical, hybrid.last.milliseconds) + boundAhead
    hybrid.raiseBound(to: Timestamp(milliseconds: ahead, logical: .max))
    return hybrid.now(physicalMilliseconds: physical) ?? hybrid.bound
  }

  func instant(_ now: UInt64) -> Instant {
    let timestamp = timestamp(now)
    return Instant(
      physicalMilliseconds: physicalMilliseconds(now), timestamp: timestamp, bound: hybrid.bound,
      monotonicMilliseconds: now / 1_000)
  }

  /// Raises the clock over a time from elsewhere. Whether that is too far ahead, the machines judge.
  func observe(_ timestamp: Timestamp, _ now: UInt64) {
    try? hybrid.receive(
      timestamp, physicalMilliseconds: physicalMilliseconds(now), maximumOffsetMilliseconds: .max)
  }

  /// After a restart only the bound is known.
  func restart() {
    hybrid = HybridLogicalClock(notBefore: hybrid.bound, bound: hybrid.bound)
  }
}
