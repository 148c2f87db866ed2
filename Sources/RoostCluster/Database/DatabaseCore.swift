package import RoostCausality
import RoostEnvironment
import RoostStorage
import Synchronization

/// A database as one process holds it: its members, who holds which partition, and its keyspaces.
/// Everything here is synchronous; the face puts `async` around it.
///
/// Locks are taken in this order, and any may be skipped: `ringChanges`; `topology`; key stripes, in
/// order, all of them or one; then what a member, the clock or the transfers hold for themselves. No
/// key stripe is held while another is taken singly.
///
/// Thread-safe.
package final class DatabaseCore: @unchecked Sendable {
  /// Stores that one process may hold of a database, those included that have left it since it was
  /// opened.
  package static let slotLimit = 256

  /// What reads and writes need, shared with the keyspaces.
  package let shared: DatabaseShared
  package var options: DatabaseOptions { shared.options }
  package var id: DatabaseID { shared.id }

  /// Held while a store is opened or closed to join or leave: one change of the ring at a time.
  let ringChanges = Lock()
  /// Guards what follows, and orders changes of ring and schema: each is durable in every store
  /// before the next begins.
  let topology = Lock()
  /// Signalled when a move, an index or closing makes progress.
  let topologyChanged: Condition
  var ringState: RingState { didSet { shown.change { $0.ringState = ringState } } }
  /// Whether a newer ring state than `ringState` may be on disk: writing it failed part-way, and so
  /// did taking it back.
  var isRingInDoubt = false
  var schema: Schema { didSet { shown.change { $0.schema = schema } } }
  var slotOf: [MemberID: Int] = [:]
  var nextSlot = 0
  /// Of a node of a cluster: whether it has lost a partition since it took its incarnation.
  var hasLostPartitions = false
  var keyspaces: [String: KeyspaceCore] = [:]
  /// Keyspaces that are moved and that nobody has opened.
  var transferKeyspaces: [String: KeyspaceCore] = [:]
  /// The ring state to install before partitions move on: what an earlier process left, planned anew.
  var adoption: RingState? { didSet { shown.change { $0.isAdopting = adoption != nil } } }
  let transfers: TransferState
  /// The transactions of this process, where they are open. Partitions of transactional keyspaces move
  /// with their help only.
  weak var transactions: (any TransactionHandover)?
  /// What callers who must not wait are shown.
  let shown: ShownState

  init(
    _ parts: DatabaseOpening.Parts, _ ringState: RingState, _ schema: Schema, _ opened: [Member],
    clockAbove: Timestamp, withheld: Set<Int> = []
  ) {
    self.ringState = ringState
    self.schema = schema
    shown = ShownState(ringState, schema)
    topologyChanged = Condition(topology)
    transfers = TransferState(parts.environment, parts.options)
    shared = DatabaseShared(parts, ringState.ring, clockAbove: clockAbove, withheld: withheld)
    for member in opened {
      shared.members.publish(member, at: member.slot)
      slotOf[member.id] = member.slot
      nextSlot = max(nextSlot, member.slot + 1)
    }
    shared.locks.withAll { routeAll() }
    shared.owner.core = self
    resumeTransfers()
  }

  // MARK: - Members

  /// The members whose stores are open, by slot.
  package var presentMembers: [Member] { shared.presentMembers }

  /// Puts the ring's state into the route table. With all key locks held.
  func routeAll() {
    for partition in 0..<shared.routes.partitionCount { route(partition) }
  }

  /// Puts one partition's owners into the route table. With all key locks held.
  func route(_ partition: Int) {
    var owners = ringState.ring.replicas(of: partition).map { slotOf[$0] ?? Int(RouteTable.none) }
    let copy = ringState.copies.first { $0.partition == partition }
    if options.isNodeOfCluster {
      // A store that the partition is moving to takes what comes for it, in the place of the other process's.
      if let copy, let slot = slotOf[copy.to] { owners[copy.slot] = slot }
      let tenancies = owners.indices.map { ringState.tenancy(partition, $0) }
      return shared.routes.set(partition, owners: owners, tenancies: tenancies, pending: nil)
    }
    let target = copy.map { slotOf[$0.to] ?? Int(RouteTable.absent) }
    let tenancies = owners.indices.map { ringState.tenancy(partition, $0) }
    shared.routes.set(
      partition, owners: owners, tenancies: tenancies, pending: target, at: copy?.slot ?? 0)
    // Without some store nobody knows whether the move was decided there.
    if target != nil, !hasAllStores { shared.routes.setSettling(partition, true) }
  }

  /// Makes a ring state durable in every store, then lets it count. With `topology` held.
  ///
  /// Where some store cannot be written, the old state is written anew, above the new one, so that it
  /// is the old one that the next open finds.
  ///
  /// - Parameters:
  ///   - partition: the only one whose owners change; all are looked at where it is `nil`.
  ///   - change: runs with all key locks held, once the state is durable.
  /// - Throws: what writing to a store throws. The old state counts then. Whether the next open finds
  ///   it, or the new one, is told by `isRingInDoubt`.
  func install(
    _ next: RingState, routing partition: Int? = nil, _ change: () -> Void = {}
  ) throws(DatabaseError) {
    var next = next
    next.revision = ringState.revision + 1
    // Who leaves by it is told last. Else a crash could leave the news with that store alone: it would
    // not open with the others, nor the others without it.
    let leavers = presentMembers.filter { next.ring.member($0.id) == nil }
    let stayers = presentMembers.filter { next.ring.member($0.id) != nil }
    var told: [Member] = []
    do throws(DatabaseError) {
      let bytes = next.encoded()
      for member in stayers + leavers {
        told.append(member)
        try member.writeSystem(Member.SystemKey.ring, bytes)
      }
    } catch {
      revertRing(next, told)
      throw error
    }
    isRingInDoubt = false
    shared.locks.withAll {
      ringState = next
      change()
      if let partition { route(partition) } else { routeAll() }
    }
    topologyChanged.broadcast()
    // Those who follow changes look again: a partition may be another store's by now.
    shared.signal.wakeAll()
  }

  /// Takes back a state that reached some stores, perhaps. It is taken back as soon as one store has
  /// the old state with a higher revision.
  ///
  /// A store that gains something by the failed state is told first, or nobody is: opened without the
  /// others, it would serve what another serves too.
  private func revertRing(_ failed: RingState, _ told: [Member]) {
    // No number is used twice: of two records with the same one, nobody could tell which counts.
    ringState.revision = failed.revision + 1
    let bytes = ringState.encoded()
    var isReverted = false
    let gaining = told.filter { $0.gains(by: failed.ring, over: ringState.ring) }
    for member in gaining {
      do throws(DatabaseError) { try member.writeSystem(Member.SystemKey.ring, bytes) } catch {
        isRingInDoubt = true
        return
      }
      isReverted = true
    }
    for member in presentMembers where ringState.ring.member(member.id) != nil {
      if gaining.contains(where: { $0 === member }) { continue }
      do throws(DatabaseError) {
        try member.writeSystem(Member.SystemKey.ring, bytes)
        isReverted = true
      } catch {}
    }
    isRingInDoubt = !isReverted
  }

  /// Makes a schema durable in every store, then lets it count. With `topology` held.
  func install(_ next: Schema) throws(DatabaseError) {
    var next = next
    next.revision = schema.revision + 1
    do throws(DatabaseError) {
      let bytes = next.encoded()
      for member in presentMembers { try member.writeSystem(Member.SystemKey.schema, bytes) }
    } catch {
      schema.revision = next.revision
      throw error
    }
    schema = next
    topologyChanged.broadcast()
  }

  /// The ring as it is now.
  package var ring: Ring { shown.now.ringState.ring }

  // MARK: - Closing

  /// Finishes what reads began to repair, ends moves and builds, which go on at the next open, notes a
  /// clean close and closes every store. Closing twice does nothing.
  ///
  /// - Throws: the first failure; every store is closed all the same.
  package func close() throws(DatabaseError) {
    shared.repairs.close()
    // With all key locks held nobody is between minting a dot and writing it.
    let wasClosed = shared.locks.withAll { shared.closed.exchange(true, ordering: .acquiringAndReleasing) }
    if wasClosed { return }
    transfers.stop()
    topology.withLock { topologyChanged.broadcast() }
    shared.signal.wakeAll()
    var problem: DatabaseError?
    let latest = ClockRecord.encode(shared.clock.latest)
    // Whether copies under way are sound is decided when all stores are there, by whether each was
    // closed cleanly: a store that was opened without the others after a crash must not hide it.
    let isClean = topology.withLock { ringState.copies.isEmpty || hasAllStores }
    for member in presentMembers {
      // What was issued is all below: so the next open need not start at the far end of the window.
      do throws(DatabaseError) {
        try member.writeSystem(Member.SystemKey.clock, latest)
      } catch { problem = problem ?? error }
      do throws(DatabaseError) { try member.close(isClean: isClean) } catch { problem = problem ?? error }
    }
    if let problem { throw problem }
  }
}

// clock := version u8 (1) | bound u64 little-endian

/// The record `clock` of the system tree: no timestamp above it was ever issued.
package enum ClockRecord {
  package static func encode(_ bound: Timestamp) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(fixed: bound.rawValue)
    return writer.bytes
  }

  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> Timestamp {
    var reader = FieldReader(bytes, "the clock record")
    _ = try reader.readVersion(upTo: 1)
    let bound = Timestamp(rawValue: try reader.readFixed())
    // Some eight thousand years are enough, and leave room to count on.
    guard bound.milliseconds < 1 << 47 else { throw reader.damaged("a time too far in the future") }
    try reader.readEnd()
    return bound
  }
}

extension Member {
  /// Whether it holds some place in a partition's preference list that it does not hold in an older ring.
  fileprivate func gains(by ring: Ring, over old: Ring) -> Bool {
    (0..<ring.partitionCount).contains { partition in
      guard let slot = ring.replicas(of: partition).firstIndex(of: id) else { return false }
      guard let before = old.replicas(of: partition).firstIndex(of: id) else { return true }
      // Whoever comes first serves a transactional partition.
      return slot == 0 && before != 0
    }
  }
}
