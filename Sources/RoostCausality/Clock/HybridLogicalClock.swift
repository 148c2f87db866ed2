/// A clock that stays close to physical time, never goes back, and follows what it is told
/// (Kulkarni, Demirbas, Madappa, Avva, Leone: Logical Physical Clocks, 2014).
///
/// It reads no time itself: physical milliseconds are passed in. It never issues a time above
/// ``bound``, which its owner persists *before* raising it here: so after a restart, a clock that begins
/// at the persisted bound issues nothing that was issued before, whatever the physical clock says.
///
/// Invariant: each issued time is greater than all issued before and all received. A plain value.
public struct HybridLogicalClock: Hashable, Sendable {
  /// The greatest time issued or received.
  public private(set) var last: Timestamp
  /// The greatest time that may be issued.
  public private(set) var bound: Timestamp

  /// - Parameters:
  ///   - notBefore: all times issued are greater; after a restart the persisted bound.
  ///   - bound: the greatest time that may be issued, already persisted.
  public init(notBefore: Timestamp, bound: Timestamp) {
    last = notBefore
    self.bound = bound
  }

  /// Allows times up to `bound`, which the caller has persisted. Never lowers it.
  public mutating func raiseBound(to bound: Timestamp) { self.bound = max(self.bound, bound) }

  /// Issues the next time.
  ///
  /// - Parameter physicalMilliseconds: the physical clock, since 1970; may stand still or go back.
  /// - Returns: `nil`, and nothing is issued, where the time would exceed ``bound``: persist a higher
  ///   one, ``raiseBound(to:)``, and ask again.
  public mutating func now(physicalMilliseconds: UInt64) -> Timestamp? {
    let next = Self.next(after: last, physicalMilliseconds: physicalMilliseconds)
    guard next <= bound, next > last else { return nil }
    last = next
    return next
  }

  /// Takes note of a time from elsewhere: what is issued next is greater.
  ///
  /// - Parameters:
  ///   - remote: the time received.
  ///   - physicalMilliseconds: the physical clock here, since 1970.
  ///   - maximumOffsetMilliseconds: how far two physical clocks may differ.
  /// - Throws: ``CausalityError`` with code `.farFuture` where `remote` is further ahead of the physical
  ///   clock than clocks may differ; the clock is unchanged then.
  public mutating func receive(
    _ remote: Timestamp, physicalMilliseconds: UInt64, maximumOffsetMilliseconds: UInt64
  ) throws(CausalityError) {
    let (limit, over) = physicalMilliseconds.addingReportingOverflow(maximumOffsetMilliseconds)
    guard over || remote.milliseconds <= limit else {
      throw CausalityError(
        .farFuture,
        "the time received is \(remote.milliseconds - physicalMilliseconds) ms ahead of the clock here;"
          + " \(maximumOffsetMilliseconds) ms are allowed")
    }
    last = max(last, remote)
  }

  /// The least time that is greater than `last` and not before the physical clock: the one step of the
  /// algorithm, for those who keep `last` in an atomic of their own.
  ///
  /// - Returns: `last` itself only where `last` is the greatest time there is.
  @inlinable
  public static func next(after last: Timestamp, physicalMilliseconds: UInt64) -> Timestamp {
    guard last.rawValue < .max else { return last }
    return max(Timestamp(rawValue: last.rawValue + 1), Timestamp(milliseconds: physicalMilliseconds))
  }
}
