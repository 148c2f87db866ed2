package import RoostEnvironment
import RoostCausality
import RoostStorage
import Synchronization

/// What every read and write of a database needs: its members, the routes to them, the key locks
/// and the clock.
///
/// Thread-safe.
package final class DatabaseShared: Sendable {
  package let environment: Environment
  package let options: DatabaseOptions
  package let id: DatabaseID
  let members = PublishedSlots<Member>(capacity: DatabaseCore.slotLimit)
  let routes: RouteTable
  let locks = KeyLocks()
  /// One for all keyspaces, as the stripes are: a reader of one keyspace's feed stops short of what is
  /// on its way in any, and must hear when that is done.
  let signal = ChangeSignal()
  let clock: DatabaseClock
  /// Where the clock began: everything that an earlier process issued is at or below it.
  let clockStart: Timestamp
  let closed = Atomic<Bool>(false)
  let owner = DatabaseReference()
  let maximumClockOffsetMilliseconds: UInt64
  /// What keyspaces may take to remember what was put lately.
  let recentPutMemory: MemoryAllowance
  /// Whether writes keep the leaves of hash trees: there are replicas in other processes to compare with.
  let keepsLeaves: Bool
  let repairs = ReadRepairs()
  /// Repairs that reads asked for and that failed, or found no room: the next read tries again.
  let failedRepairs = Atomic<Int>(0)
  private let forwarding = Lock()
  private let broken = BrokenForwards()

  private final class BrokenForwards: @unchecked Sendable {
    // Guarded by `forwarding`.
    var failures: [Int: DatabaseError] = [:]
  }

  /// Partitions whose transactional keys nobody serves while some store is missing: it may have been
  /// told that they are another's.
  let withheld: Set<Int>

  init(
    _ parts: DatabaseOpening.Parts, _ ring: Ring, clockAbove: Timestamp, withheld: Set<Int> = []
  ) {
    self.withheld = withheld
    environment = parts.environment
    options = parts.options
    recentPutMemory = MemoryAllowance(parts.options.recentPutBytes)
    keepsLeaves = parts.options.isNodeOfCluster && ring.replicas > 1
    id = parts.id
    let (seconds, attoseconds) = parts.options.maximumClockOffset.components
    maximumClockOffsetMilliseconds =
      UInt64(seconds) * 1_000 + UInt64(attoseconds / 1_000_000_000_000_000)
    routes = RouteTable(partitionCount: ring.partitionCount, replicas: ring.replicas)
    let members = members
    clockStart = clockAbove
    clock = DatabaseClock(
      parts.environment.time, above: clockAbove,
      later: { job in
        for slot in 0..<members.capacity {
          guard let member = members[slot] else { continue }
          return member.workers.submit(.urgent, job)
        }
      }
    ) { bound throws(DatabaseError) in
      // A store that cannot be written (a full disk) must not keep the others from being written: the
      // next open goes by the highest bound that any store knows.
      var isKnown = false
      var failure: DatabaseError?
      for slot in 0..<members.capacity {
        guard let member = members[slot] else { continue }
        do throws(DatabaseError) {
          try member.writeSystem(Member.SystemKey.clock, ClockRecord.encode(bound))
          isKnown = true
        } catch { failure = failure ?? error }
      }
      if !isKnown, let failure { throw failure }
    }
  }

  deinit {
    // Where nobody closed the database, a job that has not had its turn may hold the clock, and with it the
    // stores and the workers that the job waits for.
    for member in presentMembers {
      member.workers.shutdown()
      member.calls.close()
    }
  }

  /// The members whose stores are open, by slot.
  package var presentMembers: [Member] {
    (0..<members.capacity).compactMap { members[$0] }
  }

  @inline(__always)
  func checkOpen() throws(DatabaseError) {
    if closed.load(ordering: .acquiring) { throw DatabaseError(.closed, "the database is closed") }
  }

  package var isClosed: Bool { closed.load(ordering: .acquiring) }

  func repairFailed() { failedRepairs.wrappingAdd(1, ordering: .relaxed) }

  /// A write could not be forwarded to the store that its partition is moving to: that copy is not
  /// whole, and must be made again.
  func forwardFailed(_ partition: Int, _ error: DatabaseError) {
    forwarding.withLock { broken.failures[partition] = error }
  }

  /// Why a forward of the partition failed, if one did.
  func peekForwardFailure(_ partition: Int) -> DatabaseError? {
    forwarding.withLock { broken.failures[partition] }
  }

  /// Why a forward of the partition failed since this was last asked, if one did.
  func takeForwardFailure(_ partition: Int) -> DatabaseError? {
    forwarding.withLock { broken.failures.removeValue(forKey: partition) }
  }
}
