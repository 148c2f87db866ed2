import RoostCausality
import RoostCluster
import RoostTransactions

extension SnapshotMoment {
  /// Reads at the moment: all that `body` reads is of one time. Where a store refuses that as too old, and
  /// nothing was read at it before, it is all read anew at a later one.
  ///
  /// - Parameters:
  ///   - later: a time above what the refusal told, and what keeps its versions.
  ///   - body: reads at a time. May run several times.
  /// - Throws: `.snapshotTooOld` where the moment cannot move; what the two throw.
  // Not inlined: the optimiser of Swift 6.3 fails on the like in its caller's loop.
  @inline(never)
  func reading<R>(
    later: () async throws -> (time: Timestamp, hold: SnapshotHold?),
    _ body: (Timestamp) async throws -> R
  ) async throws -> R {
    var count = 0
    while true {
      let time = current
      do {
        let result = try await body(time)
        if settle(at: time) { return result }
      } catch let error as DatabaseError {
        if try moves(after: error, at: time, moves: count) {
          let (next, hold) = try await later()
          move(from: time, to: next, hold: hold)
        }
        count += 1
      }
    }
  }
}

extension Database {
  /// A later time for a snapshot of which nothing was read.
  func laterMoment(
    _ manager: TransactionManager
  ) async throws -> (time: Timestamp, hold: SnapshotHold?) {
    // The clock may have to be raised, and its bound with it.
    try await blocking { () throws(DatabaseError) in
      let time = try manager.now()
      return (time, manager.hold(time))
    }
  }
}
