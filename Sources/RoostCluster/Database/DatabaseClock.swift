import RoostCausality
import RoostEnvironment
import Synchronization

/// The database's hybrid logical clock, shared by all threads.
///
/// It never issues a timestamp above its bound, and every store of the database that can be written
/// knows the bound durably before it is used: so a database that was killed starts above everything
/// that it ever issued. The step is ``HybridLogicalClock/next(after:physicalMilliseconds:)``.
///
/// Thread-safe.
final class DatabaseClock: @unchecked Sendable {
  /// How far ahead of the machine's clock the bound is written.
  static let windowMilliseconds: UInt64 = 4_000
  /// How far ahead of the last timestamp, at least, where that is ahead of the machine's clock: after a
  /// kill it is, by the rest of the window. Small, so that one kill after the other adds up to no more
  /// than the window and this for each; a millisecond holds 65,536 timestamps.
  static let marginMilliseconds: UInt64 = 10

  private let time: any TimeSource
  private let last: Atomic<UInt64>
  private let bound: Atomic<UInt64>
  /// Held while a higher bound is made durable.
  private let raising = Lock()
  /// Runs a job where it may block, some time later.
  private let later: (@escaping @Sendable () -> Void) -> Void
  private let isRaisingLater = Atomic<Bool>(false)
  /// Makes a bound durable in every store that can be written.
  private let persist: (Timestamp) throws(DatabaseError) -> Void

  /// - Parameter start: everything issued lies above it.
  init(
    _ time: any TimeSource, above start: Timestamp,
    later: @escaping (@escaping @Sendable () -> Void) -> Void,
    persist: @escaping (Timestamp) throws(DatabaseError) -> Void
  ) {
    self.time = time
    self.persist = persist
    self.later = later
    last = Atomic(start.rawValue)
    bound = Atomic(start.rawValue)
  }

  /// Milliseconds since 1970 by the machine's clock.
  @inline(__always)
  var physicalMilliseconds: UInt64 { time.wallClockNanoseconds / 1_000_000 }

  /// The last timestamp that was issued or observed.
  var latest: Timestamp { Timestamp(rawValue: last.load(ordering: .acquiring)) }

  /// What the stores of the database know: no timestamp above it was issued yet.
  var durableBound: Timestamp { Timestamp(rawValue: bound.load(ordering: .acquiring)) }

  /// A timestamp above all that were issued or observed before.
  ///
  /// - Throws: what writing a higher bound throws, where one is due.
  @inline(__always)
  func now() throws(DatabaseError) -> Timestamp { try now(physicalMilliseconds) }

  /// The same, for whoever has just looked at the machine's clock.
  @inline(__always)
  func now(_ physical: UInt64) throws(DatabaseError) -> Timestamp {
    while true {
      let before = last.load(ordering: .relaxed)
      let next = HybridLogicalClock.next(
        after: Timestamp(rawValue: before), physicalMilliseconds: physical)
      let known = bound.load(ordering: .acquiring)
      if next.rawValue > known {
        try raise(above: next)
        continue
      }
      let (exchanged, _) = last.compareExchange(
        expected: before, desired: next.rawValue, ordering: .acquiringAndReleasing)
      if exchanged {
        if Timestamp(rawValue: known).milliseconds < Self.wanted(next, physical) {
          raiseLater(above: next)
        }
        return next
      }
    }
  }

  /// Below which bound another is written ahead of time: half of what ``raise(above:isEarly:)`` leaves
  /// room for, so that right after it nothing is wanted.
  @inline(__always)
  private static func wanted(_ last: Timestamp, _ physical: UInt64) -> UInt64 {
    max(last.milliseconds &+ marginMilliseconds / 2, physical &+ windowMilliseconds / 2)
  }

  /// Whether the next timestamp is likely to wait for a bound that is not durable yet. A hint.
  ///
  /// - Parameter physical: ``physicalMilliseconds``, as the caller has just read it.
  func mayWait(_ physical: UInt64) -> Bool {
    let known = bound.load(ordering: .acquiring)
    return last.load(ordering: .relaxed) >= known
      || physical >= Timestamp(rawValue: known).milliseconds
  }

  /// Raises the bound on another thread, so that it is raised before it is needed: callers must not
  /// wait for the stores' disks.
  @inline(never)
  private func raiseLater(above needed: Timestamp) {
    if isRaisingLater.exchange(true, ordering: .acquiringAndReleasing) { return }
    // Keeps the clock until then: a weak reference would make every count of references to it, of which
    // each put makes some, a slow one from then on.
    later { [self] in
      // Where it fails, whoever needs a higher bound tries again, and is told.
      do throws(DatabaseError) { try raise(above: needed, isEarly: true) } catch {}
      isRaisingLater.store(false, ordering: .releasing)
    }
  }

  /// - Throws: as ``observe(_:maximumOffsetMilliseconds:)``, which would.
  func check(_ remote: Timestamp, maximumOffsetMilliseconds: UInt64) throws(DatabaseError) {
    if remote.rawValue <= last.load(ordering: .relaxed) { return }
    let physical = physicalMilliseconds
    // One that was killed goes on above its bound, and so up to a window ahead of its clock.
    let allowed = maximumOffsetMilliseconds &+ Self.windowMilliseconds
    guard remote.milliseconds <= physical &+ allowed else {
      throw DatabaseError(
        .clockOutOfBound,
        "a timestamp lies \(remote.milliseconds &- physical) ms in the future; up to \(allowed) ms are "
          + "taken, \(maximumOffsetMilliseconds) ms of them for clocks that differ")
    }
  }

  /// Makes everything issued from now on lie above a timestamp that came from outside.
  ///
  /// - Throws: `.clockOutOfBound` where it lies further ahead of the machine's clock than clocks
  ///   may differ: to follow it would drag every later timestamp along.
  func observe(_ remote: Timestamp, maximumOffsetMilliseconds: UInt64) throws(DatabaseError) {
    try check(remote, maximumOffsetMilliseconds: maximumOffsetMilliseconds)
    while true {
      let before = last.load(ordering: .relaxed)
      if remote.rawValue <= before { return }
      if remote.rawValue > bound.load(ordering: .acquiring) { try raise(above: remote) }
      let (exchanged, _) = last.compareExchange(
        expected: before, desired: remote.rawValue, ordering: .acquiringAndReleasing)
      if exchanged { return }
    }
  }

  /// Runs `body` with the bound, while nobody writes a higher one.
  func withDurableBound(_ body: (Timestamp) throws(DatabaseError) -> Void) throws(DatabaseError) {
    try raising.withLock { () throws(DatabaseError) in
      try body(Timestamp(rawValue: bound.load(ordering: .acquiring)))
    }
  }

  /// Waits until a bound that is being written is written: to the stores that were members when that
  /// began.
  func finishRaising() { raising.withLock {} }

  @inline(never)
  private func raise(
    above needed: Timestamp, isEarly: Bool = false
  ) throws(DatabaseError) {
    try raising.withLock { () throws(DatabaseError) in
      let known = Timestamp(rawValue: bound.load(ordering: .acquiring))
      let physical = physicalMilliseconds
      let isEnough = !isEarly || known.milliseconds >= Self.wanted(needed, physical)
      if needed <= known, isEnough { return }
      let higher = Timestamp(
        milliseconds: max(
          needed.milliseconds &+ Self.marginMilliseconds, physical &+ Self.windowMilliseconds),
        logical: 0)
      try persist(higher)
      bound.store(higher.rawValue, ordering: .releasing)
    }
  }
}
