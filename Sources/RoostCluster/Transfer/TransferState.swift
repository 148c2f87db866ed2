import RoostEnvironment
import Synchronization

/// The moving of partitions between stores, as far as it must be stopped and throttled.
///
/// Thread-safe.
package final class TransferState: @unchecked Sendable {
  private let stopped = Atomic<Bool>(false)

  init(_ environment: Environment, _ options: DatabaseOptions) {}

  func stop() { stopped.store(true, ordering: .releasing) }

  var isStopped: Bool { stopped.load(ordering: .acquiring) }
}
