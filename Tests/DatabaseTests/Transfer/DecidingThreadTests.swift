import Foundation
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// What comes between the steps in which a move is decided, from other threads: each waits for the other at
/// points that leave one order only.
// Budget: 2 s
@Suite struct DecidingThreadTests {
  /// A world with a partition whose keys have all been copied from one store to another, and whose move is
  /// about to be decided.
  private struct Deciding: @unchecked Sendable {
    let world = TransferWorld(seed: 1, waiting: .blocks)
    let core: DatabaseCore
    let keyspace: KeyspaceCore
    let members: [MemberID]
    let partition: Int
    /// A key of the partition that nobody has written.
    let key: String

    init(to target: Int) throws {
      core = try world.open([0, 1, 2])
      keyspace = try RebalanceTests.fill(core)
      for member in core.presentMembers { try member.store.sync() }
      var members: [MemberID] = []
      for store in 0..<3 { members.append(try core.memberID(at: TransferWorld.path(store))) }
      self.members = members
      let ring = core.ringSnapshot.ring
      let held = (0..<16).filter { ring.replicas(of: $0) == [members[0]] }
      let partition = try #require(held.first)
      self.partition = partition
      let names = (0..<1_000).map { "new\($0)" }
      let inside = names.filter { name in
        let hash = name.withKeyBytes { Placement.hash($0) }
        return Placement.partition(ofHash: hash, count: 16) == partition
      }
      key = try #require(inside.first)
      let move = PartitionMove(partition: partition, slot: 0, from: members[0], to: members[target])
      core.transfers.withRecord { record in
        record.moves = [move]
        record.plan += 1
        record.renewed = []
      }
      core.scheduleTransfers()
      while core.rebalance.current?.phase != .deciding { try require(world.run(1) == 1, "no job waits") }
    }

    var isSettling: Bool { core.shared.routes.isSettling(partition) }

    /// Has a thread go on with the move, to its end.
    func onThread(_ body: @escaping @Sendable () throws -> Void) -> Meeting {
      let ended = Meeting()
      Thread {
        do { try body() } catch { Issue.record("\(error)") }
        ended.come()
      }.start()
      return ended
    }
  }

  /// Where one thread waits for another.
  private final class Meeting: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    func come() { semaphore.signal() }
    func wait() { semaphore.wait() }
  }

  /// The receiver is synced, and while it is, a key is written and synced: at the store that owns it, as
  /// nothing is decided yet. The receiver has it, behind what its sync covers, and becomes the owner.
  @Test func `what was durable before the move is decided is durable at its receiver too`() throws {
    let deciding = try Deciding(to: 1)
    let (core, fileSystem) = (deciding.core, deciding.world.fileSystem)
    let (isSyncing, mayGoOn) = (Meeting(), Meeting())
    let seen = Seen()
    fileSystem.onOperation { operation in
      if operation.kind == .sync, operation.path.string.hasPrefix("/data/s1/"), seen.isFirst() {
        isSyncing.come()
        mayGoOn.wait()
      } else if operation.changesDisk, deciding.isSettling || !core.ringState.drops.isEmpty {
        seen.add(fileSystem.crashClone(.dropAll))
      }
    }
    let ended = deciding.onThread { try core.waitUntilBalanced(.seconds(60)) }
    isSyncing.wait()
    // The move can be decided no sooner than this is let go.
    core.topology.lock()
    mayGoOn.come()
    try deciding.keyspace.put(text: deciding.key, "durable")
    try deciding.keyspace.sync(text: deciding.key)
    core.topology.unlock()
    ended.wait()
    fileSystem.onOperation(nil)
    var owners: Set<MemberID> = []
    for clone in seen.clones {
      let after = try TransferWorld(seed: 2, clone).open([0, 1, 2])
      owners.insert(after.ringSnapshot.ring.replica(of: deciding.partition, slot: 0))
      let keyspace = try after.keyspace("values", .eventual)
      #expect(try keyspace.values(text: deciding.key) == ["durable"])
      try after.waitUntilBalanced(.seconds(60))
      #expect(try keyspace.values(text: deciding.key) == ["durable"])
    }
    #expect(owners == [deciding.members[0], deciding.members[1]])
    try core.close()
  }

  /// What a hook met. Thread-safe.
  private final class Seen: @unchecked Sendable {
    private let lock = Lock()
    // Guarded by `lock`.
    private var isMet = false
    private var all: [SimulatedFileSystem] = []

    var clones: [SimulatedFileSystem] { lock.withLock { all } }

    /// Whether it is asked for the first time.
    func isFirst() -> Bool {
      lock.withLock {
        defer { isMet = true }
        return !isMet
      }
    }

    func add(_ clone: SimulatedFileSystem) { lock.withLock { all.append(clone) } }
  }
}
