import RoostCluster

/// Keeps the versions of one time. Thread-safe.
package final class SnapshotHold: Sendable {
  private let holds: SnapshotHolds
  private let id: UInt64

  init(_ holds: SnapshotHolds, _ id: UInt64) {
    self.holds = holds
    self.id = id
  }

  deinit { holds.release(id) }
}
