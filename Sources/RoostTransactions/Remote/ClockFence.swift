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
  /// What was heard last of each clock.
  private var readings: [MemberID: Reading] = [:]
  private var wasFenced = false

  private struct Reading {
    var isApart: Bool
    /// By the monotonic clock.
    var heardMilliseconds: UInt64
  }

  /// - Parameters:
  ///   - lifeMilliseconds: how long a reading counts.
  ///   - others: how many other nodes there are.
  init(boundMilliseconds: UInt64, lifeMilliseconds: UInt64, others: @escaping @Sendable () -> Int) {
    self.boundMilliseconds = boundMilliseconds
    self.lifeMilliseconds = lifeMilliseconds
    self.others = others
  }

  /// Notes a clock that was read during a round trip: it is at most so much older. It counts from when it
  /// was heard, however late that is told: one that is too old by now, or came before another, is ignored.
  ///
  /// - Returns: whether the node has just been fenced, or let go of; `nil` where nothing changed.
  func heard(_ sign: NodeSign, of member: MemberID, at now: UInt64) -> Bool? {
    let (there, here) = (sign.physicalMilliseconds, sign.localPhysicalMilliseconds)
    let age = sign.roundTripNanoseconds / 1_000_000
    let behind = here > there ? here - there : 0
    return note(
      member, isApart: isFar(there > here ? there - here : 0) || isFar(behind > age ? behind - age : 0),
      heard: min(sign.heardNanoseconds / 1_000_000, now), at: now)
  }

  /// Notes the clock that a message came with. It may have been on its way for long: so it is no sign that
  /// the sender's is behind, nor that it is not ahead.
  func received(_ there: UInt64, of member: MemberID, here: UInt64, at now: UInt64) -> Bool? {
    isFar(there > here ? there - here : 0) ? note(member, isApart: true, heard: now, at: now) : nil
  }

  func isFenced(at now: UInt64) -> Bool {
    let others = others()
    return lock.withLock { isFenced(at: now, others) }
  }

  private func isFar(_ milliseconds: UInt64) -> Bool {
    // At least one: with a bound of a millisecond, clocks that agree are not apart.
    milliseconds >= max(1, boundMilliseconds * 8 / 10)
  }

  private func note(_ member: MemberID, isApart: Bool, heard: UInt64, at now: UInt64) -> Bool? {
    let others = others()
    return lock.withLock { () -> Bool? in
      guard heard &+ lifeMilliseconds > now else { return nil }
      if let last = readings[member], last.heardMilliseconds > heard { return nil }
      readings[member] = Reading(isApart: isApart, heardMilliseconds: heard)
      let isFenced = isFenced(at: now, others)
      defer { wasFenced = isFenced }
      return isFenced == wasFenced ? nil : isFenced
    }
  }

  /// With the lock held.
  private func isFenced(at now: UInt64, _ others: Int) -> Bool {
    readings.values.count { $0.isApart && $0.heardMilliseconds &+ lifeMilliseconds > now } * 2 > others
  }
}
