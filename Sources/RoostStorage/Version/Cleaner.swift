import RoostEnvironment

/// Has tables removed in the background when their last reader lets go.
final class Cleaner: @unchecked Sendable {
  private let lock = Lock()
  private weak var store: Store?

  func attach(_ store: Store) { lock.withLock { self.store = store } }

  func wake() {
    guard let store = lock.withLock({ store }) else { return }
    store.workers.submit(.background) { [weak store] in store?.removeObsoleteFiles() }
  }
}
