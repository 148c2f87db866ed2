import Synchronization

/// Which member slots hold which partition, as every read and write looks it up.
///
/// Writers look while they hold a key lock, and the table changes only while all key locks are held:
/// so a write sees one state of it throughout. Readers hold nothing: they look, read, and look again
/// at ``version`` (``isUnchanged(since:)``); where it has changed they start over, because the store
/// they read from may have dropped the partition meanwhile, or what they saw was half of a change.
///
/// Thread-safe.
@safe
final class RouteTable: @unchecked Sendable {
  /// Stands where no member is.
  static let none: UInt16 = .max
  /// Beside a pending owner: the move may be decided at any moment, so it must have every write.
  private static let settles: UInt16 = 1 << 15

  let partitionCount: Int
  let replicas: Int
  private let owners: UnsafeMutablePointer<Atomic<UInt16>>
  private let pending: UnsafeMutablePointer<Atomic<UInt16>>
  /// The place in the list that a partition's pending owner is to have.
  private let pendingReplicas: UnsafeMutablePointer<Atomic<UInt16>>
  private let tenancies: UnsafeMutablePointer<Atomic<UInt64>>
  private let changes = Atomic<UInt64>(0)

  init(partitionCount: Int, replicas: Int) {
    self.partitionCount = partitionCount
    self.replicas = replicas
    unsafe owners = .allocate(capacity: partitionCount * replicas)
    unsafe pending = .allocate(capacity: partitionCount)
    unsafe pendingReplicas = .allocate(capacity: partitionCount)
    unsafe tenancies = .allocate(capacity: partitionCount * replicas)
    for index in 0..<(partitionCount * replicas) {
      unsafe (owners + index).initialize(to: Atomic(Self.none))
      unsafe (tenancies + index).initialize(to: Atomic(0))
    }
    for index in 0..<partitionCount {
      unsafe (pending + index).initialize(to: Atomic(Self.none))
      unsafe (pendingReplicas + index).initialize(to: Atomic(0))
    }
  }

  deinit {
    unsafe owners.deinitialize(count: partitionCount * replicas)
    unsafe pending.deinitialize(count: partitionCount)
    unsafe pendingReplicas.deinitialize(count: partitionCount)
    unsafe pendingReplicas.deallocate()
    unsafe tenancies.deinitialize(count: partitionCount * replicas)
    unsafe tenancies.deallocate()
    unsafe owners.deallocate()
    unsafe pending.deallocate()
  }

  /// Stands for a store that a partition is moving to and that is not open: it may own the partition
  /// on disk already, so nothing may be written to it.
  static let absent: UInt16 = 0x7FFE

  /// Rises with every change; odd while one is being made.
  @inline(__always)
  var version: UInt64 { changes.load(ordering: .acquiring) }

  /// Whether what was looked up since ``version`` was `version` is one state of the table: nothing has
  /// changed, nor was it changing then.
  @inline(__always)
  func isUnchanged(since version: UInt64) -> Bool { version & 1 == 0 && self.version == version }

  /// The member slot of one replica of a partition.
  @inline(__always)
  func owner(_ partition: Int, _ replica: Int = 0) -> Int {
    precondition(partition >= 0 && partition < partitionCount && replica >= 0 && replica < replicas)
    return unsafe Int(owners[partition &* replicas &+ replica].load(ordering: .acquiring))
  }

  /// The ring's epoch at which one replica of a partition came to the member that holds it.
  func tenancy(_ partition: Int, _ replica: Int) -> UInt64 {
    precondition(partition >= 0 && partition < partitionCount && replica >= 0 && replica < replicas)
    return unsafe tenancies[partition &* replicas &+ replica].load(ordering: .acquiring)
  }

  /// The member slot to which a partition is moving, or `none`: writes are forwarded there.
  ///
  /// - Parameter count: of a keyspace's replicas: to a later place than they have nothing of it moves.
  @inline(__always)
  func pendingOwner(_ partition: Int, ofFirst count: Int) -> Int {
    precondition(partition >= 0 && partition < partitionCount)
    let entry = unsafe pending[partition].load(ordering: .acquiring)
    if entry == Self.none { return Int(entry) }
    let replica = unsafe pendingReplicas[partition].load(ordering: .acquiring)
    return Int(Int(replica) < count ? entry & ~Self.settles : Self.none)
  }

  /// Whether the store that the partition is moving to may own it on disk already. Then a write is
  /// done only when it is done there too.
  @inline(__always)
  func isSettling(_ partition: Int) -> Bool {
    precondition(partition >= 0 && partition < partitionCount)
    let entry = unsafe pending[partition].load(ordering: .acquiring)
    return entry != Self.none && entry & Self.settles != 0
  }

  /// Says of a partition that is moving whether the move may be decided from now on, with all key
  /// locks held. Readers need not look again: who owns it stays.
  func setSettling(_ partition: Int, _ value: Bool) {
    let entry = unsafe pending[partition].load(ordering: .acquiring)
    if entry == Self.none { return }
    unsafe pending[partition].store(
      value ? entry | Self.settles : entry & ~Self.settles, ordering: .releasing)
  }

  /// Changes a partition's owners, with all key locks held.
  ///
  /// - Parameter replica: the place in the list that the pending one is to have.
  func set(
    _ partition: Int, owners new: [Int], tenancies newTenancies: [UInt64], pending target: Int?,
    at replica: Int = 0
  ) {
    precondition(new.count == replicas && newTenancies.count == replicas)
    // Readers that loaded the version before see it change, whichever of the entries they saw.
    changes.wrappingAdd(1, ordering: .acquiringAndReleasing)
    for (replica, owner) in new.enumerated() {
      unsafe owners[partition * replicas + replica].store(
        UInt16(truncatingIfNeeded: owner), ordering: .releasing)
      unsafe tenancies[partition * replicas + replica].store(
        newTenancies[replica], ordering: .releasing)
    }
    unsafe pendingReplicas[partition].store(
      UInt16(truncatingIfNeeded: replica), ordering: .releasing)
    unsafe pending[partition].store(
      target.map { UInt16(truncatingIfNeeded: $0) } ?? Self.none, ordering: .releasing)
    changes.wrappingAdd(1, ordering: .acquiringAndReleasing)
  }
}
