import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// The rules that moving a partition stands on, each by the case that breaks without it.
// Budget: 2 s
@Suite struct RebalanceRuleTests {
  /// Has the mover carry out just this, whatever a plan would say.
  private func move(_ core: DatabaseCore, slot: Int, from: Int, to: Int) throws {
    let move = PartitionMove(
      partition: 0, slot: slot, from: try core.memberID(at: TransferWorld.path(from)),
      to: try core.memberID(at: TransferWorld.path(to)))
    core.transfers.withRecord { record in
      record.moves = [move]
      record.plan += 1
      record.renewed = []
    }
    core.scheduleTransfers()
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.replica(of: 0, slot: slot) == move.to)
  }

  /// Interleaving 2: leave and return. The value v is minted at a and missed by b. Its partition
  /// moves from a to d, and later from b to a, which so gets it back without v. What a mints then must
  /// not claim to have seen v.
  @Test func `interleaving 2, leave and return, keeps a value that the way back did not bring`() throws {
    let world = TransferWorld(seed: 1)
    var core = try world.open([0, 1, 2], replicas: 2, partitions: 1)
    let list = core.ringSnapshot.ring.replicas(of: 0)
    let numbers = try [0, 1, 2].map { try core.memberID(at: TransferWorld.path($0)) }
    let a = numbers.firstIndex(of: list[0])!
    let b = numbers.firstIndex(of: list[1])!
    let d = 3 - a - b
    var keyspace = try core.keyspace("values", .eventual)
    try keyspace.put(text: "k", "v")
    let store = try #require(core.presentMembers.first { $0.path == TransferWorld.path(b) }).store
    for name in store.treeNames where name != Member.systemTree {
      try store.existingTree(name)!.deleteRange(from: [0, 0], to: [0, 1])
    }
    try move(core, slot: 0, from: a, to: d)
    try move(core, slot: 1, from: b, to: a)
    try core.close()

    // With d away it is a that mints.
    core = try world.open([a, b], replicas: 2, partitions: 1) { $0.allowsMissingStores = true }
    keyspace = try core.keyspace("values", .eventual)
    #expect(try keyspace.values(text: "k") == [])
    try keyspace.put(text: "k", "w")
    try core.close()
    core = try world.open([0, 1, 2], replicas: 2, partitions: 1)
    keyspace = try core.keyspace("values", .eventual)
    #expect(try keyspace.values(text: "k").sorted() == ["v", "w"])
    try core.close()
  }

  @Test func `what is written behind the copy's back is forwarded`() throws {
    let world = TransferWorld(seed: 2)
    let core = try world.open([0], partitions: 1)
    let keyspace = try RebalanceTests.fill(core, 50)
    _ = try core.addStore(TransferWorld.path(1), weight: 1000, zone: "")
    try core.changeStore(try core.memberID(at: TransferWorld.path(0)), weight: 1, zone: nil)
    while core.rebalance.current?.keys ?? 0 < 50 { try require(world.run(1) == 1, "no job waits") }
    #expect(core.rebalance.movesLeft == 1)
    for number in 0..<50 { try keyspace.put(text: "k\(number)", "again") }
    try keyspace.put(text: "new", "value")
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.member(core.ringSnapshot.ring.replicas(of: 0)[0])?.name == "s1")
    for number in 0..<50 { #expect(try keyspace.values(text: "k\(number)") == ["again"]) }
    #expect(try keyspace.values(text: "new") == ["value"])
    try core.close()
  }

  /// A forward that fails is no failed write, but the copy that lacks it must not become the owner.
  @Test func `a forward that fails makes the copy begin anew`() throws {
    let world = TransferWorld(seed: 3)
    let core = try world.open([0], partitions: 1)
    let keyspace = try RebalanceTests.fill(core, 50)
    _ = try core.addStore(TransferWorld.path(1), weight: 1000, zone: "")
    try core.changeStore(try core.memberID(at: TransferWorld.path(0)), weight: 1, zone: nil)
    while core.rebalance.current?.keys ?? 0 < 50 { try require(world.run(1) == 1, "no job waits") }
    let disk = FullDisk(TransferWorld.path(1), world.fileSystem)
    var values: [String] = []
    // Until the receiver's log has no room: the writes go on.
    for round in 0..<400 where core.shared.peekForwardFailure(0) == nil {
      values.append(String(repeating: "\(round % 10)", count: 500))
      try keyspace.put(text: "grows\(round)", values[round])
    }
    #expect(core.shared.peekForwardFailure(0) != nil)
    disk.end()
    try core.waitUntilBalanced(.seconds(600))
    for (round, value) in values.enumerated() {
      #expect(try keyspace.values(text: "grows\(round)") == [value])
    }
    try core.checkPlacement()
    try core.close()
  }

  /// From the moment at which the receiver may be the owner by what is on disk, a write that it lacks
  /// is not done: nobody can say whether the next open shows it.
  @Test func `a forward that fails while a move is decided leaves the outcome open`() throws {
    let world = TransferWorld(seed: 13)
    let core = try world.open([0], partitions: 1)
    let keyspace = try RebalanceTests.fill(core, 50)
    _ = try core.addStore(TransferWorld.path(1), weight: 1000, zone: "")
    try core.changeStore(try core.memberID(at: TransferWorld.path(0)), weight: 1, zone: nil)
    while core.rebalance.current?.keys ?? 0 < 50 { try require(world.run(1) == 1, "no job waits") }
    let disk = FullDisk(TransferWorld.path(1), world.fileSystem)
    core.shared.locks.withAll { core.shared.routes.setSettling(0, true) }
    #expect(Set("k1".withKeyBytes { keyspace.owners(for: $0) }.map(\.path)) ==
      [TransferWorld.path(0), TransferWorld.path(1)])
    var failure: DatabaseError?
    var round = 0
    while failure == nil, round < 400 {
      failure = databaseError {
        try keyspace.put(text: "grows\(round)", String(repeating: "v", count: 500))
      }
      round += 1
    }
    #expect(failure?.code == .indeterminate, "\(String(describing: failure))")
    #expect(failure?.message.contains(TransferWorld.path(1)) == true)
    // Such a copy is not carried out: it begins anew, and what may appear appears.
    core.shared.locks.withAll { core.shared.routes.setSettling(0, false) }
    disk.end()
    try core.waitUntilBalanced(.seconds(600))
    for number in 0..<round { #expect(try keyspace.values(text: "grows\(number)").count == 1) }
    try core.checkPlacement()
    try core.close()
  }

  @Test func `a full receiver is shown, waited for, and left behind when there is room`() throws {
    let world = TransferWorld(seed: 4)
    let core = try world.open([0])
    let keyspace = try core.keyspace("values", .eventual)
    for number in 0..<300 { try keyspace.put(text: "k\(number)", String(repeating: "v", count: 900)) }
    _ = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    let disk = FullDisk(TransferWorld.path(1), world.fileSystem)
    let error = databaseError { try core.waitUntilBalanced(.seconds(300)) }
    #expect(error?.code == .deadlineExceeded)
    #expect(error?.message.contains("s1") == true, "\(String(describing: error))")
    let status = core.rebalance
    #expect(status.failure?.cause?.code == .diskFull, "\(String(describing: status.failure))")
    #expect(status.movesLeft > 0)
    // What the other store owns can be written all the same.
    let written = (0..<300).map { "k\($0)" }.filter { key in
      key.withKeyBytes { keyspace.member(for: $0)?.path } == TransferWorld.path(0)
    }
    #expect(written.count > 150)
    for key in written { try keyspace.put(text: key, "after") }
    disk.end()
    core.retryMoves()
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.rebalance.failure == nil)
    for key in written { #expect(try keyspace.values(text: key) == ["after"]) }
    #expect(try (0..<300).allSatisfy { try keyspace.values(text: "k\($0)").count == 1 })
    try core.checkPlacement()
    try core.close()
  }

  @Test func `a receiver that stays full can be given up`() throws {
    let world = TransferWorld(seed: 5)
    let core = try world.open([0])
    let keyspace = try core.keyspace("values", .eventual)
    for number in 0..<300 { try keyspace.put(text: "k\(number)", String(repeating: "v", count: 900)) }
    let added = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    let disk = FullDisk(TransferWorld.path(1), world.fileSystem, afterBytes: 100 << 10)
    _ = databaseError { try core.waitUntilBalanced(.seconds(100)) }
    #expect(core.rebalance.failure != nil)
    let given = core.ringSnapshot.ring.load(of: added).slots
    disk.end()
    try core.removeStore(added)
    try core.waitUntilBalanced(.seconds(100))
    #expect(core.presentMembers.count == 1)
    #expect(given < 8)
    for number in 0..<300 {
      #expect(try keyspace.values(text: "k\(number)") == [String(repeating: "v", count: 900)])
    }
    try core.checkPlacement()
    try core.close()
  }

  /// A power loss while the ring is written may leave the receiver as the owner: a write that was told
  /// durable meanwhile is durable there, not only at the store that still counts as the owner.
  @Test func `a synced write waits for the receiver while the move is decided`() throws {
    let world = TransferWorld(seed: 8)
    let core = try world.open([0, 1, 2])
    let keyspace = try RebalanceTests.fill(core, 100)
    let members = try (0..<3).map { try core.memberID(at: TransferWorld.path($0)) }
    let partition = try #require(
      (0..<16).first { core.ringSnapshot.ring.replicas(of: $0) == [members[0]] })
    let key = (0..<1000).map { "key\($0)" }.first {
      $0.withKeyBytes { Placement.partition(ofHash: Placement.hash($0), count: 16) } == partition
    }!
    let between = BetweenOperations(world.fileSystem) { operation in
      // The ring is told to the third store, last.
      guard operation.changesDisk, operation.path.string.hasPrefix(TransferWorld.path(2) + "/"),
        core.shared.routes.isSettling(partition)
      else { return false }
      try keyspace.put(text: key, "durable")
      try keyspace.sync(text: key)
      return true
    }
    let move = PartitionMove(partition: partition, slot: 0, from: members[0], to: members[1])
    core.transfers.withRecord { record in
      record.moves = [move]
      record.plan += 1
      record.renewed = []
    }
    core.scheduleTransfers()
    try core.waitUntilBalanced(.seconds(60))
    try between.end()
    let left = try #require(between.clone)
    let after = try TransferWorld(seed: 9, left).open([0, 1, 2])
    #expect(after.ringSnapshot.ring.replicas(of: partition) == [members[1]])
    #expect(try after.keyspace("values", .eventual).values(text: key) == ["durable"])
    try core.close()
  }

  /// Until the ring that gives the partition away is durable its source has all of it, and from its
  /// first durable record on its receiver has.
  /// What it has to drop is gone before any store says so. Stores are told in order: either may be first.
  @Test(arguments: [(0, 1), (1, 0)])
  func `a power loss at any moment of deciding loses nothing that was durable`(
    from: Int, to: Int
  ) throws {
    let world = TransferWorld(seed: 10)
    let core = try world.open([0, 1, 2])
    _ = try RebalanceTests.fill(core, 200)
    for member in core.presentMembers { try member.store.sync() }
    let members = try (0..<3).map { try core.memberID(at: TransferWorld.path($0)) }
    let partition = try #require(
      (0..<16).first { core.ringSnapshot.ring.replicas(of: $0) == [members[from]] })
    var clones: [SimulatedFileSystem] = []
    let between = BetweenOperations(world.fileSystem) { operation in
      let isDeciding = core.shared.routes.isSettling(partition) || !core.ringState.drops.isEmpty
      if operation.changesDisk, isDeciding {
        clones.append(world.fileSystem.crashClone(.dropAll))
      }
      return false
    }
    let move = PartitionMove(partition: partition, slot: 0, from: members[from], to: members[to])
    core.transfers.withRecord { record in
      record.moves = [move]
      record.plan += 1
      record.renewed = []
    }
    core.scheduleTransfers()
    try core.waitUntilBalanced(.seconds(60))
    try between.end()
    var owners: Set<MemberID> = []
    for clone in clones {
      let after = try TransferWorld(seed: 11, clone).open([0, 1, 2])
      owners.insert(after.ringSnapshot.ring.replica(of: partition, slot: 0))
      let keyspace = try after.keyspace("values", .eventual)
      try RebalanceTests.check(keyspace, 200)
      try after.waitUntilBalanced(.seconds(60))
      try RebalanceTests.check(keyspace, 200)
      try after.checkPlacement()
    }
    #expect(owners == [members[from], members[to]])
    try core.close()
  }

  /// Who has less than the others know of it would not be asked to drop it again.
  @Test func `what a store has to drop is gone from its disk before any store says so`() throws {
    let world = TransferWorld(seed: 14)
    let core = try world.open([0, 1])
    let keyspace = try RebalanceTests.fill(core, 300)
    for member in core.presentMembers { try member.store.sync() }
    let members = try [0, 1].map { try core.memberID(at: TransferWorld.path($0)) }
    // From the store that is told last.
    let partition = try #require(
      (0..<16).first { core.ringSnapshot.ring.replicas(of: $0) == [members[1]] })
    var clones: [SimulatedFileSystem] = []
    let between = BetweenOperations(world.fileSystem) { operation in
      if operation.changesDisk, !core.ringState.drops.isEmpty {
        clones.append(world.fileSystem.crashClone(.dropAll))
      }
      return false
    }
    let move = PartitionMove(partition: partition, slot: 0, from: members[1], to: members[0])
    core.transfers.withRecord { record in
      record.moves = [move]
      record.plan += 1
      record.renewed = []
    }
    core.scheduleTransfers()
    try core.waitUntilBalanced(.seconds(60))
    try between.end()
    var toldFirst = 0
    for clone in clones {
      let world = TransferWorld(seed: 15, clone)
      var states: [RingState] = []
      var keys = 0
      for number in 0..<2 {
        let store = try Store.open(at: TransferWorld.path(number), environment: world.environment)
        let system = try #require(store.existingTree(Member.systemTree))
        states.append(try RingState(decoding: try #require(try system.get(Member.SystemKey.ring))))
        if number == 1 {
          let records = try #require(store.existingTree(KeyspaceCore.recordTree("values")))
          var cursor = try records.cursor(prefix: StoredKey.make(partition))
          while try cursor.next() { keys += 1 }
        }
        try store.close()
      }
      let isOver = states.contains {
        $0.drops.isEmpty && $0.ring.replicas(of: partition) == [members[0]]
      }
      if isOver, states[0].revision > states[1].revision { toldFirst += 1 }
      #expect(!isOver || keys == 0, "\(keys) keys are left, and nobody is to drop them")
    }
    #expect(toldFirst > 0)
    try RebalanceTests.check(keyspace, 300)
    try core.close()
  }

  /// How far a copy was is not kept: a clean end on the way makes it begin anew too.
  @Test func `a copy that a close cut off begins anew`() throws {
    let world = TransferWorld(seed: 12)
    var core = try world.open([0], partitions: 1) { $0.transferBytesPerSecond = 16 << 10 }
    _ = try RebalanceTests.fill(core, 400)
    _ = try core.addStore(TransferWorld.path(1), weight: 1000, zone: "")
    try core.changeStore(try core.memberID(at: TransferWorld.path(0)), weight: 1, zone: nil)
    while core.rebalance.current?.keys ?? 0 == 0 { try require(world.run(1) == 1, "no job waits") }
    #expect(core.rebalance.current!.keys < 400)
    try core.close()
    core = try world.open([0, 1], partitions: 1)
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.replicas(of: 0) == [try core.memberID(at: TransferWorld.path(1))])
    try RebalanceTests.check(try core.keyspace("values", .eventual), 400)
    try core.checkPlacement()
    try core.close()
  }

  @Test func `moving keeps to its rate, on the clock that it is given`() throws {
    let world = TransferWorld(seed: 6)
    let core = try world.open([0]) { $0.transferBytesPerSecond = 16 << 10 }
    let keyspace = try core.keyspace("values", .eventual)
    for number in 0..<300 { try keyspace.put(text: "k\(number)", String(repeating: "v", count: 900)) }
    let time = world.simulated.time
    _ = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    let start = time.monotonicNanoseconds
    while core.rebalance.movesDone < 4 { try require(world.run(1) == 1, "no job waits") }
    let seconds = Double(time.monotonicNanoseconds - start) / 1e9
    let moved = Double(core.rebalance.bytesMoved)
    #expect(moved > 50_000)
    // A chunk may be ahead of its pause.
    #expect(moved <= 16_384 * seconds + 2 * 4_096 + 1_000)
    #expect(seconds <= moved / 16_384 + 1)
    #expect(abs(core.rebalance.bytesPerSecond - 16_384) < 4_096)

    try core.setTransferRate(nil)
    let before = time.monotonicNanoseconds
    try core.waitUntilBalanced(.seconds(60))
    // But for what it lets the receiver catch up.
    let left = Double(core.rebalance.bytesMoved) - moved
    #expect(Double(time.monotonicNanoseconds - before) / 1e9 < left / 16_384 / 2)
    #expect(databaseError { try core.setTransferRate(1) }?.code == .invalidOption)
    try core.checkPlacement()
    try core.close()
  }

  @Test func `a wait that ends says what it waited for`() throws {
    let world = TransferWorld(seed: 7)
    let core = try world.open([0]) { $0.transferBytesPerSecond = 1_024 }
    _ = try RebalanceTests.fill(core, 400)
    _ = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    let error = databaseError { try core.waitUntilBalanced(.seconds(2)) }
    #expect(error?.code == .deadlineExceeded)
    #expect(error?.message.contains("moves") == true && error?.message.contains("s1") == true)
    #expect(!core.rebalance.isBalanced)
    try core.close()
  }

  /// A plan may order a partition's replicas anew. A tenancy says since when a member has it.
  @Test func `a tenancy goes with its member`() throws {
    let members = (1...5).map { RingMember(id: MemberID(rawValue: $0), name: "m\($0)") }
    var state = RingState(
      ring: try Ring(partitionCount: 64, replicas: 3, members: Array(members.prefix(4))), places: [:])
    var since: [[MemberID: UInt64]] = []
    for partition in 0..<64 {
      var tenancies: [MemberID: UInt64] = [:]
      for (slot, member) in state.ring.replicas(of: partition).enumerated() {
        state.tenancies[partition * 3 + slot] = UInt64(partition * 10 + slot)
        tenancies[member] = UInt64(partition * 10 + slot)
      }
      since.append(tenancies)
    }
    for wanted in [members, Array(members.dropFirst()), Array(members.prefix(4))] {
      let plan = try state.ring.plan(to: wanted)
      state = state.adopting(plan)
      for move in plan.moves {
        let before = state.ring.epoch
        state = try state.moved(move)
        #expect(state.ring.epoch > before)
        since[move.partition][move.to] = state.ring.epoch
      }
      for partition in 0..<64 {
        for (slot, member) in state.ring.replicas(of: partition).enumerated() {
          #expect(state.tenancy(partition, slot) == since[partition][member])
        }
      }
    }
    #expect(try RingState(decoding: state.encoded()) == state)
  }

  /// What a copy brought to a store that is not to have it any more is dropped there, before the
  /// store may get it again.
  @Test func `a copy that is given up leaves something to drop`() throws {
    let members = (1...3).map { RingMember(id: MemberID(rawValue: $0), name: "m\($0)") }
    var state = RingState(
      ring: try Ring(partitionCount: 16, replicas: 1, members: Array(members.prefix(2))), places: [:])
    let plan = try state.ring.plan(to: members)
    state = state.adopting(plan).copying(plan.moves[0])
    #expect(state.needs(plan.moves[0].partition, at: plan.moves[0].to))
    let kept = state.adopting(try state.ring.plan(to: members))
    #expect(kept.copies == [plan.moves[0]] && kept.drops.isEmpty)
    let given = state.adopting(try state.ring.plan(to: Array(members.prefix(2))))
    let drop = RingState.Drop(partition: plan.moves[0].partition, member: plan.moves[0].to)
    #expect(given.copies.isEmpty && given.drops == [drop])
    #expect(!given.needs(drop.partition, at: drop.member))
    #expect(given.dropped(drop).drops.isEmpty)
  }
}

/// No room for what one store wants to write, while others have it.
final class FullDisk: @unchecked Sendable {
  private let fileSystem: SimulatedFileSystem
  private var left: Int64

  init(_ path: String, _ fileSystem: SimulatedFileSystem, afterBytes: Int64 = 0) {
    self.fileSystem = fileSystem
    left = afterBytes
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      guard operation.path.string.hasPrefix(path + "/") else { return }
      switch operation.kind {
      case .write, .allocate:
        left -= operation.byteCount
        if left < 0 {
          throw FileSystemError(.noSpace, operation: "\(operation.kind)", path: operation.path.string)
        }
      default: break
      }
    }
  }

  func end() { fileSystem.onOperation(nil) }
}

/// Does something once, before a file operation, and keeps what a power loss would leave just behind it.
final class BetweenOperations: @unchecked Sendable {
  private let fileSystem: SimulatedFileSystem
  private let body: (Operation) throws -> Bool
  private var failure: (any Error)?
  private var isWithin = false
  private(set) var clone: SimulatedFileSystem?

  /// - Parameter body: returns whether this was the operation.
  init(_ fileSystem: SimulatedFileSystem, _ body: @escaping (Operation) throws -> Bool) {
    self.fileSystem = fileSystem
    self.body = body
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      if isWithin || clone != nil || failure != nil { return }
      isWithin = true
      defer { isWithin = false }
      do { if try self.body(operation) { clone = fileSystem.crashClone(.dropAll) } } catch { failure = error }
    }
  }

  func end() throws {
    fileSystem.onOperation(nil)
    if let failure { throw failure }
  }
}
