import RoostCluster
import RoostEnvironment

/// The stores whose records of transactions this process has open, those that have left aside.
///
/// Thread-safe.
final class OpenStores: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var stores: [MemberID: ParticipantStore] = [:]
  /// Those whose records are being copied: no mark may be added to them.
  private var quiet: Set<MemberID> = []
  private var effects = 0

  subscript(_ member: MemberID) -> ParticipantStore? {
    get { lock.withLock { stores[member] } }
    set { lock.withLock { stores[member] = newValue } }
  }

  var all: [ParticipantStore] { lock.withLock { Array(stores.values) } }

  // MARK: - Effects, and stores that are about to leave

  /// Notes that an effect is being done whose mark comes into one of these stores.
  ///
  /// - Returns: `false` where one of them is about to leave: it must be tried again later.
  func beginEffect(at members: [MemberID]) -> Bool {
    lock.withLock {
      if members.contains(where: quiet.contains) { return false }
      effects += 1
      return true
    }
  }

  func endEffect() { lock.withLock { effects -= 1 } }

  /// From now on no effect begins whose mark would come into the store.
  ///
  /// - Returns: whether none is being done.
  func quiet(_ member: MemberID) -> Bool {
    lock.withLock {
      quiet.insert(member)
      return effects == 0
    }
  }

  func resume(_ member: MemberID) { lock.withLock { _ = quiet.remove(member) } }
}
