import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// The rules that moving a transactional partition stands on, each by the case that breaks without it.
// Budget: 10 s
@Suite struct TransactionalMoveTests {
  // MARK: - What moves

  @Test(arguments: [1, 2])
  func `versions, old ones too, go where the ring says`(replicas: Int) throws {
    let bank = try MovingBank(TransferWorld(seed: 1), stores: [0, 1, 2], replicas: replicas)
    var random = SplitMix64(seed: 1)
    for _ in 0..<60 { try bank.transfer(&random) }
    let time = try bank.manager.now()
    let balances = try bank.balances(at: time)
    for _ in 0..<60 { try bank.transfer(&random) }
    try bank.addStore(3)
    try bank.finish()
    #expect(bank.core.ringSnapshot.ring.loads.allSatisfy { $0.slots > 0 })
    #expect(try bank.balances(at: time) == balances)
    for leaver in [0, 1] where bank.core.ringSnapshot.ring.staying.count > replicas {
      try bank.removeStore(leaver)
      try bank.finish()
      #expect(try bank.balances(at: time) == balances)
    }
    for _ in 0..<20 { try bank.transfer(&random) }
    try bank.finish()
    try bank.reopen()
    try bank.close()
  }

  /// An order that gives partitions to other members must bring their keys along.
  @Test func `a plan leaves first who is first, unless it moves`() throws {
    let members = (1...4).map { RingMember(id: MemberID(rawValue: $0), name: "m\($0)") }
    let ring = try Ring(partitionCount: 64, replicas: 2, members: Array(members.prefix(3)))
    let wishes = [members, Array(members.prefix(2)), [members[0], members[2], members[3]]]
    for wanted in wishes {
      let plan = try ring.plan(to: wanted, keepsOrder: true)
      for partition in 0..<64 {
        #expect(plan.start.replica(of: partition, slot: 0) == ring.replica(of: partition, slot: 0))
        let moved = plan.moves.first { $0.partition == partition && $0.slot == 0 }
        let first = moved?.to ?? ring.replica(of: partition, slot: 0)
        #expect(plan.target.replica(of: partition, slot: 0) == first)
      }
      var carried = plan.start
      for move in plan.moves { try carried.apply(move) }
      #expect(carried == plan.target)
      #expect(try carried.plan(to: carried.staying, keepsOrder: true).isEmpty)
    }
  }

  @Test func `a keyspace that is made while a partition moves goes along`() throws {
    let world = TransferWorld(seed: 2)
    let core = try world.open([0, 1], partitions: 8, MovingBank.options)
    _ = try RebalanceTests.fill(core, 100)
    _ = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
    while core.rebalance.current == nil { try require(world.run(1) == 1, "no job waits") }
    let accounts = try core.keyspace("accounts", .transactional)
    let manager = try TransactionManager(core)
    let versions = try #require(accounts.versions)
    let keys = try (0..<40).map { number in
      let key = [UInt8(number)]
      return KeyReference(
        keyspace: accounts.schemaID, partition: try versions.partition(of: key), key: key)
    }
    let transaction = try TransactionCore(manager)
    for key in keys { try transaction.write(key, key.key) }
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: true) { answer.set($0) }
    guard case .committed? = answer.value else { throw Mismatch("\(String(describing: answer.value))") }
    try core.waitUntilBalanced(.seconds(600))
    for key in keys { #expect(try versions.latest(key.key)?.value == key.key) }
    try core.checkPlacement()
    try manager.close()
    try core.close()
  }

  /// No tree of the source has it any more, so nothing that is copied would remove it.
  @Test func `what an earlier copy brought does not come back`() throws {
    let moving = try Moving(seed: 13)
    let bank = moving.bank
    let core = bank.core
    let versions = try #require(bank.accounts.versions)
    let source = try versions.part(of: try core.member(moving.move.from))
    let target = try versions.part(of: try core.member(moving.move.to))
    let key = bank.reference(moving.name).key
    moving.begin()
    var jobs = 0
    while try target.latest(moving.move.partition, key) == nil, jobs < 1_000 {
      moving.run(1)
      jobs += 1
    }
    #expect(core.transfers.withRecord { $0.copy != nil && $0.frozen == nil })
    let deletion = try TransactionCore(bank.manager)
    try deletion.write(bank.reference(moving.name), nil)
    guard case .committed? = try bank.commit(deletion, isSynced: true) else {
      Issue.record("the deletion did not commit")
      return
    }
    let horizon = try bank.manager.now()
    while try !source.collect(before: horizon, limit: 1_000).isRoundDone {}
    // As where a write could not be forwarded: the copy begins anew.
    core.transfers.withRecord { $0.copy = nil }
    try core.waitUntilBalanced(.seconds(60))
    #expect(moving.isMoved)
    #expect(try target.newest(moving.move.partition, key) == nil)
    #expect(try moving.value() == nil)
    try bank.close()
  }

  /// What the source has collected did not come along: at the new owner an old moment would show less.
  @Test func `a read of what was collected before the move is refused at the new owner too`() throws {
    let moving = try Moving(seed: 15)
    let bank = moving.bank
    let versions = try #require(bank.accounts.versions)
    let (source, target) = (
      try versions.part(of: try bank.core.member(moving.move.from)),
      try versions.part(of: try bank.core.member(moving.move.to))
    )
    let reference = bank.reference(moving.name)
    let before = try bank.manager.now()
    for value in 1...2 {
      let transaction = try TransactionCore(bank.manager)
      try transaction.write(reference, bank.text(value))
      guard case .committed? = try bank.commit(transaction, isSynced: true) else {
        Issue.record("write \(value) did not commit")
        return
      }
    }
    let horizon = try bank.manager.now()
    while try !source.collect(before: horizon, limit: 1_000).isRoundDone {}
    moving.begin()
    try bank.core.waitUntilBalanced(.seconds(60))
    #expect(moving.isMoved)
    let error = databaseError { _ = try target.read(moving.move.partition, reference.key, at: before) }
    #expect(error?.code == .snapshotTooOld, "\(String(describing: error))")
    #expect(try target.latest(moving.move.partition, reference.key)?.value == bank.text(2))
    try bank.close()
  }

  @Test func `a store that stays after all coordinates again`() throws {
    let bank = try MovingBank(TransferWorld(seed: 14), stores: [0, 1])
    let members = bank.core.presentMembers.sorted { $0.id < $1.id }
    for leaver in members {
      #expect(try bank.manager.stopCoordinating(at: leaver))
      bank.manager.resume(leaver)
      let transaction = try TransactionCore(bank.manager)
      #expect(try bank.read(bank.account(0), in: transaction) == 100)
      transaction.abort()
    }
    try bank.close()
  }

  // MARK: - Freeze and drain

  /// A bank whose first account's partition is about to move, with everything else at rest.
  private struct Moving {
    let bank: MovingBank
    let name: String
    let move: PartitionMove

    init(seed: UInt64) throws {
      bank = try MovingBank(TransferWorld(seed: seed), stores: [0, 1, 2])
      name = bank.account(0)
      let owner = try bank.owner(name)
      let target = bank.core.presentMembers.first { $0.id != owner.id }!
      move = PartitionMove(partition: bank.partition(name), slot: 0, from: owner.id, to: target.id)
    }

    func begin() {
      let move = move
      bank.core.transfers.withRecord { record in
        record.moves = [move]
        record.plan += 1
        record.renewed = []
      }
      bank.core.scheduleTransfers()
    }

    /// Runs the mover's jobs.
    func run(_ count: Int) { for _ in 0..<count { _ = bank.core.transfers.runOneHere() } }

    var isMoved: Bool { bank.core.ringSnapshot.ring.replica(of: move.partition, slot: 0) == move.to }

    /// Writes an account alone.
    func write(_ value: Int) throws -> TransactionOutcome? {
      let transaction = try TransactionCore(bank.manager)
      try transaction.write(bank.reference(name), bank.text(value))
      return try bank.commit(transaction, isSynced: true)
    }

    func value() throws -> String? {
      try bank.values([name], at: try bank.manager.now())[0].map { String(decoding: $0, as: UTF8.self) }
    }
  }

  @Test func `a partition waits for who holds its locks, and gives no others meanwhile`() throws {
    let moving = try Moving(seed: 3)
    let bank = moving.bank
    let holder = try TransactionCore(bank.manager)
    #expect(try bank.read(moving.name, in: holder) != nil)
    moving.begin()
    moving.run(40)
    #expect(!moving.isMoved)
    #expect(try moving.write(1) == .aborted(.moving))
    // What holds its locks goes on, and reads of the past and of now too.
    #expect(try moving.value() == "100")
    try holder.write(bank.reference(moving.name), bank.text(7))
    guard case .committed? = try bank.commit(holder, isSynced: true) else {
      Issue.record("the holder did not commit")
      return
    }
    try bank.core.waitUntilBalanced(.seconds(60))
    #expect(moving.isMoved)
    #expect(try moving.value() == "7")
    guard case .committed? = try moving.write(8) else {
      Issue.record("it is not written at its new owner")
      return
    }
    #expect(try moving.value() == "8")
    try bank.core.checkPlacement()
    try bank.close()
  }

  @Test func `who holds locks for long is waited for again later, and nobody is locked out`() throws {
    let moving = try Moving(seed: 4)
    let bank = moving.bank
    let holder = try TransactionCore(bank.manager)
    #expect(try bank.read(moving.name, in: holder) != nil)
    moving.begin()
    while bank.core.rebalance.failure == nil { moving.run(1) }
    let failure = try #require(bank.core.rebalance.failure)
    #expect(failure.code == .busy && failure.message.contains("partition \(moving.move.partition)"))
    // Thawed: readers share the lock.
    let other = try TransactionCore(bank.manager)
    #expect(try bank.read(moving.name, in: other) != nil)
    other.abort()
    holder.abort()
    try bank.core.waitUntilBalanced(.seconds(60))
    #expect(moving.isMoved)
    try bank.close()
  }

  @Test func `nothing moves while something is prepared, and it is decided where it was`() throws {
    let moving = try Moving(seed: 5)
    let bank = moving.bank
    let elsewhere = try #require(
      (1..<MovingBank.accountCount).map(bank.account).first {
        try bank.owner($0).id != moving.move.from
      })
    let spread = try TransactionCore(bank.manager)
    for name in [moving.name, elsewhere] { try spread.write(bank.reference(name), bank.text(5)) }
    let answer = Answer<TransactionOutcome>()
    bank.transport.isHolding = true
    try spread.commit(isSynced: true) { answer.set($0) }
    for _ in 0..<3 { bank.transport.deliver() }
    #expect(bank.transport.held == ["vote", "vote"])
    moving.begin()
    while bank.core.rebalance.failure == nil { moving.run(1) }
    #expect(!moving.isMoved)
    bank.transport.isHolding = false
    bank.transport.deliver()
    guard case .committed? = answer.value else { throw Mismatch("\(String(describing: answer.value))") }
    try bank.core.waitUntilBalanced(.seconds(60))
    #expect(moving.isMoved)
    #expect(try moving.value() == "5")
    try bank.close()
  }

  /// As the mover has it that takes no locks from anybody, or does not wait for those that are held.
  private final class Careless: TransactionHandover {
    let manager: TransactionManager
    let freezes: Bool
    /// Does something while the mover believes that the partition is frozen and drained.
    let meanwhile: @Sendable () -> Void

    init(_ manager: TransactionManager, freezes: Bool, meanwhile: @escaping @Sendable () -> Void) {
      self.manager = manager
      self.freezes = freezes
      self.meanwhile = meanwhile
    }

    func joined(_ member: Member) throws(DatabaseError) { try manager.joined(member) }
    func withdrew(_ member: Member) { manager.withdrew(member) }
    func freeze(_ partition: Int, at member: Member) -> Bool {
      if freezes { _ = manager.freeze(partition, at: member) }
      return true
    }
    func giveUp(_ partition: Int, at member: Member) -> Timestamp? {
      meanwhile()
      return Timestamp(rawValue: 1)
    }
    func thaw(_ partition: Int, at member: Member) { manager.thaw(partition, at: member) }
    func stopCoordinating(at member: Member) throws(DatabaseError) -> Bool {
      try manager.stopCoordinating(at: member)
    }
    func quiet(_ member: Member) -> Bool { manager.quiet(member) }
    func resume(_ member: Member) { manager.resume(member) }
    func copyRecords(of member: Member, to heir: Member) throws(DatabaseError) {
      try manager.copyRecords(of: member, to: heir)
    }
    func bequeath(from member: Member, to heir: Member) throws(DatabaseError) {
      try manager.bequeath(from: member, to: heir)
    }
    func left(_ member: Member, heir: Member) { manager.left(member, heir: heir) }
    var longestMilliseconds: UInt64 { manager.longestMilliseconds }
  }

  /// The mutations of steps 2 and 3: what the tests above would not see they were no tests of.
  @Test(arguments: [false, true])
  func `without freezing, or without draining, an acknowledged write is lost`(freezes: Bool) throws {
    let moving = try Moving(seed: 6)
    let bank = moving.bank
    let holder = try TransactionCore(bank.manager)
    let held = Answer<Result<ReadAnswer, TransactionAborted>>()
    let target = bank.reference(moving.name)
    bank.manager.acquire(holder.id, at: moving.move.from, [.exclusive(target)], nil) { held.set($0) }
    let answer = Answer<TransactionOutcome>()
    let (manager, text, from) = (bank.manager, bank.text(9), moving.move.from)
    let careless = Careless(bank.manager, freezes: freezes) {
      if answer.count > 0 { return }
      manager.commit(
        holder.id, [from: [TransactionWrite(target, text)]], [], isSynced: true
      ) { answer.set($0) }
    }
    try bank.core.attach(careless)
    moving.begin()
    try bank.core.waitUntilBalanced(.seconds(60))
    guard case .committed? = answer.value else { throw Mismatch("\(String(describing: answer.value))") }
    #expect(try moving.value() == "100", "the write was brought along: then nothing need be drained")
    try bank.close()
  }

  // MARK: - Giving up

  /// What a power loss leaves at each moment of a handover between two of three stores.
  private func crashes(from: Int, to: Int) throws -> (MovingBank, name: String, left: [SimulatedFileSystem]) {
    let bank = try MovingBank(TransferWorld(seed: 7), stores: [0, 1, 2])
    let core = bank.core
    let members = try (0..<3).map { try core.memberID(at: TransferWorld.path($0)) }
    let name = try #require(
      (0..<MovingBank.accountCount).map(bank.account).first { try bank.owner($0).id == members[from] })
    let move = PartitionMove(
      partition: bank.partition(name), slot: 0, from: members[from], to: members[to])
    var clones: [SimulatedFileSystem] = []
    let between = BetweenOperations(bank.world.fileSystem) { operation in
      if operation.changesDisk, core.transfers.withRecord({ $0.frozen == move || $0.movesDone > 0 }) {
        clones.append(bank.world.fileSystem.crashClone(.dropAll))
      }
      return false
    }
    core.transfers.withRecord { record in
      record.moves = [move]
      record.plan += 1
      record.renewed = []
    }
    core.scheduleTransfers()
    try core.waitUntilBalanced(.seconds(60))
    try between.end()
    return (bank, name, clones)
  }

  /// At any moment of a handover, with any store missing: whoever serves the partition, what it
  /// acknowledges is there when all stores are back.
  @Test(arguments: [(0, 1), (1, 0), (2, 1)])
  func `whichever store is missing after a crash, nobody serves what is another's`(
    from: Int, to: Int
  ) throws {
    let (bank, name, clones) = try crashes(from: from, to: to)
    #expect(clones.count > 4)
    var served = 0
    var refused = 0
    for (index, clone) in clones.enumerated() {
      for missing in 0..<3 {
        do {
          let found = try writeWithout(missing, name, bank, clone.processKillClone())
          if found { served += 1 } else { refused += 1 }
        } catch { throw Mismatch("crash \(index), without store \(missing): \(error)") }
      }
    }
    #expect(served > 0 && refused > 0)
    try bank.close()
  }

  /// The mutation of step 5: as if the ring were flipped before the source has durably given up.
  @Test func `without the record of giving up an acknowledged write is lost`() throws {
    let (bank, name, clones) = try crashes(from: 2, to: 1)
    var lost = 0
    for clone in clones {
      let left = clone.processKillClone()
      for number in 0..<3 {
        try change(TransferWorld.path(number), left) { try $0.delete(Member.SystemKey.handover, .synced) }
      }
      do { _ = try writeWithout(0, name, bank, left) } catch let mismatch as Mismatch {
        #expect(mismatch.description.hasPrefix("written: true, found 100"))
        lost += 1
      }
    }
    #expect(lost > 0)
    try bank.close()
  }

  /// Changes the system tree of a store that nobody has open.
  private func change(
    _ path: String, _ fileSystem: SimulatedFileSystem, _ body: (Tree) throws -> Void
  ) throws {
    let store = try Store.open(
      at: path, environment: SimulatedEnvironment(seed: 3, fileSystem: fileSystem).environment)
    try body(try #require(store.existingTree(Member.systemTree)))
    try store.close()
  }

  /// Writes with a store missing, where that can be; then opens all and looks.
  private func writeWithout(
    _ missing: Int, _ name: String, _ bank: MovingBank, _ fileSystem: SimulatedFileSystem
  ) throws -> Bool {
    let world = TransferWorld(seed: 8, fileSystem)
    let core = try world.open((0..<3).filter { $0 != missing }, partitions: 8) { options in
      MovingBank.options(&options)
      options.allowsMissingStores = true
    }
    let manager = try TransactionManager(core)
    let target = bank.reference(name)
    let answer = Answer<TransactionOutcome>()
    do {
      let transaction = try TransactionCore(manager)
      try transaction.write(target, bank.text(777))
      try transaction.commit(isSynced: true) { answer.set($0) }
    } catch {
      guard error.code == .unreachable else { throw error }
    }
    var isWritten = false
    if case .committed? = answer.value { isWritten = true }
    try manager.close()
    try core.close()
    let whole = try TransferWorld(seed: 9, fileSystem).open([0, 1, 2], partitions: 8, MovingBank.options)
    let again = try TransactionManager(whole)
    let accounts = try #require(try whole.keyspace("accounts", .transactional).versions)
    let value = try accounts.latest(target.key)?.value
    try require(
      value == bank.text(isWritten ? 777 : MovingBank.opening),
      "written: \(isWritten), found \(String(decoding: value ?? [], as: UTF8.self))")
    try whole.waitUntilBalanced(.seconds(600))
    try require(try accounts.latest(target.key)?.value == value, "it is another after the move")
    try whole.checkPlacement()
    try again.close()
    try whole.close()
    return isWritten
  }

  /// The receiver alone must not write below what was read at the source, though it knows no other
  /// clock's bound.
  @Test func `the new owner starts above the old one's highest read`() throws {
    let moving = try Moving(seed: 10)
    let bank = moving.bank
    let core = bank.core
    let target = try #require(core.presentMembers.first { $0.id == moving.move.to })
    // The bound of the clock is raised while the receiver's disk is full: the others know it.
    let disk = FullDisk(target.path, bank.world.fileSystem)
    fill(target)
    bank.world.simulated.time.advance(byNanoseconds: 3_600_000_000_000)
    let read = try bank.manager.now()
    #expect(try bank.values([moving.name], at: read) == [bank.text(MovingBank.opening)])
    let known = try ClockRecord.decode(
      try #require(try target.system.get(Member.SystemKey.clock)))
    #expect(known < read, "the receiver knew the bound anyway")
    disk.end()
    moving.begin()
    try core.waitUntilBalanced(.seconds(600))
    #expect(moving.isMoved)
    let left = bank.world.fileSystem.processKillClone()
    #expect(try firstTimestamp(target, left.processKillClone()) > read)
    // The mutation of step 5: as if the receiver's clock record were left as it was.
    try change(target.path, left) {
      try $0.put(Member.SystemKey.clock, ClockRecord.encode(known), .synced)
    }
    #expect(try firstTimestamp(target, left) <= read)
    try bank.close()
  }

  /// The first time that is given where only one store is opened, on a machine whose clock is far behind.
  private func firstTimestamp(_ member: Member, _ fileSystem: SimulatedFileSystem) throws -> Timestamp {
    let number = Int(member.path.dropFirst(7))!
    let core = try TransferWorld(seed: 11, fileSystem).open([number], partitions: 8) { options in
      MovingBank.options(&options)
      options.allowsMissingStores = true
    }
    let manager = try TransactionManager(core)
    let time = try manager.now()
    try manager.close()
    try core.close()
    return time
  }

  /// Takes the room that a store's log had before its disk was full: what is left of it would hold a small
  /// record still where a large one finds no room.
  private func fill(_ member: Member) {
    for byteCount in [200, 20, 0] {
      while true {
        let filler = [UInt8](repeating: 1, count: byteCount)
        do { try member.system.put("f", filler) } catch { break }
      }
    }
  }

  /// Some stores could not be told of the flip: the source serves the partition again once all know that it
  /// did not come to be.
  @Test func `a flip that fails is taken back`() throws {
    let moving = try Moving(seed: 12)
    let bank = moving.bank
    let third = try #require(
      bank.core.presentMembers.first { $0.id != moving.move.from && $0.id != moving.move.to })
    moving.begin()
    while bank.core.ringState.copies.isEmpty { moving.run(1) }
    let disk = FullDisk(third.path, bank.world.fileSystem)
    fill(third)
    var rounds = 0
    while !bank.core.transfers.withRecord({ $0.isGivenUp }), rounds < 10_000 {
      moving.run(1)
      rounds += 1
    }
    #expect(
      bank.core.transfers.withRecord { $0.isGivenUp } && !moving.isMoved,
      "\(String(describing: bank.core.rebalance.failure))")
    #expect(try moving.write(1) == .aborted(.moving))
    disk.end()
    try bank.core.waitUntilBalanced(.seconds(600))
    #expect(moving.isMoved)
    guard case .committed? = try moving.write(3) else {
      Issue.record("it is not written at its new owner")
      return
    }
    try bank.close()
  }
}
