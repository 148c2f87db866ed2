package import RoostCausality
package import RoostCluster
import RoostEnvironment

/// The time that a snapshot reads at.
///
/// It is chosen when the snapshot is taken, and a store may refuse it: one that was started again keeps no
/// versions from before that, and its clock may be some seconds ahead of the asker's. Then
///
/// 1. a snapshot of which nothing was read yet moves to a later time, which it was told by the refusal. It
///    shows all that it was to show, and what came since;
/// 2. one that was read stays where it is, and the read fails: what it has shown and what it is to show would
///    be of two moments else. So does one whose time its holder chose, or has looked at.
///
/// Thread-safe. Reads at the same time may meet different times: only what was read at the one that stays
/// counts.
package final class SnapshotMoment: @unchecked Sendable {
  /// How often a call moves it: each time it learns the clock of one more store.
  package static let mostMoves = 8

  private let lock = Lock()
  // Guarded by `lock`.
  private var time: Timestamp
  private var isFixed: Bool
  /// Keeps the versions of the time.
  private var hold: SnapshotHold?

  /// - Parameter isFixed: whether it stays at this time whatever happens: its holder has chosen it.
  package init(_ time: Timestamp, isFixed: Bool, hold: SnapshotHold?) {
    self.time = time
    self.isFixed = isFixed
    self.hold = hold
  }

  /// The time to read at now.
  package var current: Timestamp { lock.withLock { time } }

  /// The time that it reads at, for good.
  package func fix() -> Timestamp {
    lock.withLock {
      isFixed = true
      return time
    }
  }

  /// Notes that all of a call was read at a time.
  ///
  /// - Returns: whether it counts; else the call begins anew.
  package func settle(at time: Timestamp) -> Bool {
    lock.withLock {
      guard time == self.time else { return false }
      isFixed = true
      return true
    }
  }

  /// Says how a call goes on that a store has refused at a time.
  ///
  /// - Parameter moves: how often this call has begun anew.
  /// - Returns: whether ``move(from:to:hold:)`` comes first; else another call has moved it already.
  /// - Throws: the error, where the call ends with it.
  package func moves(
    after error: DatabaseError, at time: Timestamp, moves: Int
  ) throws(DatabaseError) -> Bool {
    guard error.code == .snapshotTooOld else { throw error }
    let (isFixed, current) = lock.withLock { (self.isFixed, self.time) }
    // Another call has moved it.
    if current != time, moves < Self.mostMoves { return false }
    guard !isFixed, moves < Self.mostMoves else {
      throw DatabaseError(
        .snapshotTooOld,
        isFixed
          ? "\(error.message); the snapshot is of \(time) and cannot move: take another"
          : "\(error.message); moving the snapshot \(moves) times did not help", cause: error.cause)
    }
    return true
  }

  /// Moves it from one time to a later one; not where it was read or moved meanwhile.
  package func move(from old: Timestamp, to later: Timestamp, hold: SnapshotHold?) {
    lock.withLock {
      guard !isFixed, time == old, later > old else { return }
      time = later
      self.hold = hold
    }
  }
}
