import RoostCluster
import RoostEnvironment

/// Whether this node's clock can be trusted, by what it hears of the others'.
///
/// A clock is apart where it differs from this one by four fifths of the bound, or more: before the bound is
/// reached. A node whose clock is apart from those of more than half of the other nodes runs no transactions
/// until it is not; with two nodes neither can tell who is wrong, and neither does. One wrong clock among
/// many so stops its own node only; what it sends is refused by each message's reading.
///
/// Thread-safe.
final class ClockFence: @unchecked Sendable {
  private let boundMilliseconds: UInt64
  private let lifeMilliseconds: UInt64
  private let others: @Sendable () -> Int
  private let lock = Lock()
  // Guarded by `lock`.
  /// Whose clocks are apart, and until when, by the monotonic clock, that is believed.
  private var apart: [MemberID: UInt64] = [:]
  private var wasFenced = false

  /// - Parameters:
  ///   - lifeMilliseconds: how long a reading counts.
  ///   - others: how many other nodes there are.
  init(boundMilliseconds: UInt64, lifeMilliseconds: UInt64, others: @escaping @Sendable () -> Int) {
    self.boundMilliseconds = boundMilliseconds
    self.lifeMilliseconds = lifeMilliseconds
    self.others = others
  }

  /// Notes a clock that was read during a round trip: it is at most so much older.
  ///
  /// - Returns: whether the node has just been fenced, or let go of; `nil` where nothing changed.
  func heard(_ sign: NodeSign, of member: MemberID, at now: UInt64) -> Bool? {
    let (there, here) = (sign.physicalMilliseconds, sign.localPhysicalMilliseconds)
    let age = sign.roundTripNanoseconds / 1_000_000
    let behind = here > there ? here - there : 0
    return note(
      member, isApart: isFar(there > here ? there - here : 0) || isFar(behind > age ? behind - age : 0),
      at: now)
  }

  /// Notes the clock that a message came with. It may have been on its way for long: so it is no sign that
  /// the sender's is behind, nor that it is not ahead.
  func received(_ there: UInt64, of member: MemberID, here: UInt64, at now: UInt64) -> Bool? {
    isFar(there > here ? there - here : 0) ? note(member, isApart: true, at: now) : nil
  }

  func isFenced(at now: UInt64) -> Bool {
    let others = others()
    return lock.withLock { isFenced(at: now, others) }
  }

  private func isFar(_ milliseconds: UInt64) -> Bool {
    // At least one: with a bound of a millisecond, clocks that agree are not apart.
    milliseconds >= max(1, boundMilliseconds * 8 / 10)
  }

  private func note(_ member: MemberID, isApart: Bool, at now: UInt64) -> Bool? {
    let others = others()
    return lock.withLock {
      apart[member] = isApart ? now &+ lifeMilliseconds : nil
      let isFenced = isFenced(at: now, others)
      defer { wasFenced = isFenced }
      return isFenced == wasFenced ? nil : isFenced
    }
  }

  /// With the lock held.
  private func isFenced(at now: UInt64, _ others: Int) -> Bool {
    apart.values.count { $0 > now } * 2 > others
  }
}
