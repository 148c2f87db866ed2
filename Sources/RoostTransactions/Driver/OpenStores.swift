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
  /// Effects that are being done, by the stores that their marks may come into.
  private var effects: [MemberID: Int] = [:]

  subscript(_ member: MemberID) -> ParticipantStore? {
    get { lock.withLock { stores[member] } }
    set { lock.withLock { stores[member] = newValue } }
  }

  var all: [ParticipantStore] { lock.withLock { Array(stores.values) } }

  // MARK: - Effects, and stores that are about to leave

  /// Notes that an effect is being done whose mark comes into one of these stores.
  ///
  /// - Returns: `false` where one of them is about to leave, or is not open yet: it must be tried again
  ///   later.
  func beginEffect(at members: [MemberID]) -> Bool {
    lock.withLock {
      if members.contains(where: { quiet.contains($0) || stores[$0] == nil }) { return false }
      for member in members { effects[member, default: 0] += 1 }
      return true
    }
  }

  func endEffect(at members: [MemberID]) {
    lock.withLock {
      for member in members {
        let left = effects[member, default: 1] - 1
        effects[member] = left > 0 ? left : nil
      }
    }
  }

  /// From now on no effect begins whose mark would come into the store.
  ///
  /// - Returns: whether none is being done there.
  func quiet(_ member: MemberID) -> Bool {
    lock.withLock {
      quiet.insert(member)
      return effects[member] == nil
    }
  }

  func resume(_ member: MemberID) { lock.withLock { _ = quiet.remove(member) } }
}
