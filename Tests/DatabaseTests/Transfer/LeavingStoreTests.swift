import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// What transactions do where a store is about to leave, or a partition about to be handed over, and it comes
/// to nothing.
// Budget: 3 s
@Suite struct LeavingStoreTests {
  private static let stranger = CoordinatorID(rawValue: 9)

  /// Sends a message of a coordinator that nobody knows, about a transaction that has just begun.
  private func tell(_ member: Member, _ body: Message.Body, _ bank: MovingBank) throws {
    let now = try bank.manager.now()
    _ = bank.transport.send(
      Envelope(
        from: .coordinator(Self.stranger), to: .participant(member.id), timestamp: now,
        physicalMilliseconds: now.milliseconds,
        Message(TransactionID(start: now, coordinator: Self.stranger), body)))
  }

  /// Whether a store answers who asks it about a transaction: one that is kept still records nothing, and so
  /// says nothing.
  private func answers(_ member: Member, _ bank: MovingBank) throws -> Bool {
    let answers = Answer<String>()
    bank.transport.drops = { envelope in
      guard envelope.message.kind == "answer" else { return false }
      answers.set(envelope.message.kind)
      return true
    }
    defer { bank.transport.drops = nil }
    try tell(member, .inquire, bank)
    return answers.count > 0
  }

  // MARK: - Thaws

  /// The participant is in the middle of an event: what comes meanwhile stands behind it, and what its
  /// machine says of the partition is of the handover before.
  @Test func `as long as a thaw is on its way nothing is frozen`() throws {
    let bank = try MovingBank(TransferWorld(seed: 21), stores: [0])
    let (manager, transport) = (bank.manager, bank.transport)
    let member = try #require(bank.core.presentMembers.first)
    let name = bank.account(0)
    let partition = bank.partition(name)
    #expect(manager.freeze(partition, at: member))
    #expect(manager.giveUp(partition, at: member) != nil)
    let frozen = Answer<Bool>()
    let givenUp = Answer<Bool>()
    let now = try manager.now()
    let again = Envelope(
      from: .coordinator(Self.stranger), to: .participant(member.id), timestamp: now,
      physicalMilliseconds: now.milliseconds,
      Message(TransactionID(start: now, coordinator: Self.stranger), .commit(now)))
    transport.drops = { envelope in
      guard envelope.message.kind == "acknowledged" else { return false }
      let isFirst = frozen.count == 0
      if isFirst { manager.thaw(partition, at: member) }
      // The second time the first thaw has been done, and this is frozen; the other thaw is to come.
      frozen.set(manager.freeze(partition, at: member))
      givenUp.set(manager.giveUp(partition, at: member) != nil)
      if isFirst {
        _ = transport.send(again)
        manager.thaw(partition, at: member)
      }
      return true
    }
    _ = transport.send(again)
    transport.drops = nil
    #expect(frozen.count == 2 && frozen.all == [false, false])
    #expect(givenUp.all == [false, false])
    // What was asked for last counts, once all is done.
    #expect(manager.freeze(partition, at: member) && manager.giveUp(partition, at: member) != nil)
    manager.thaw(partition, at: member)
    let transaction = try TransactionCore(manager)
    #expect(try bank.read(name, in: transaction) == 100)
    transaction.abort()
    try bank.close()
  }

  // MARK: - Coordinators

  /// A store was about to leave, and stays: another one has it on record that its coordinator is over. What
  /// that decided since is in its log only, and the log is not there.
  @Test func `that a coordinator is over proves nothing while a store is missing`() throws {
    let bank = try MovingBank(TransferWorld(seed: 22), stores: [0, 1, 2])
    let members = bank.core.presentMembers.sorted { $0.id < $1.id }
    #expect(try bank.manager.stopCoordinating(at: members[0]) && bank.manager.quiet(members[0]))
    try bank.manager.bequeath(from: members[0], to: members[1])
    bank.manager.resume(members[0])
    // The first of the stores coordinates again.
    try bank.reopen()
    let names = try (1...2).map { index in
      try #require(
        (0..<MovingBank.accountCount).map(bank.account).first {
          try bank.owner($0).id == members[index].id
        })
    }
    let spread = try TransactionCore(bank.manager)
    for name in names { try spread.write(bank.reference(name), bank.text(5)) }
    let answer = Answer<TransactionOutcome>()
    bank.transport.isHolding = true
    try spread.commit(isSynced: true) { answer.set($0) }
    for _ in 0..<4 { bank.transport.deliver() }
    #expect(bank.transport.held == ["commit", "commit"])
    guard case .committed? = answer.value else { throw Mismatch("\(String(describing: answer.value))") }
    let left = bank.world.fileSystem.processKillClone()

    let missing = Int(members[0].path.dropFirst(7))!
    let part = try TransferWorld(seed: 23, left).open((0..<3).filter { $0 != missing }, partitions: 8) {
      MovingBank.options(&$0)
      $0.allowsMissingStores = true
    }
    let partManager = try TransactionManager(part)
    #expect(partManager.inDoubt.map(\.doubt.transaction) == [spread.id, spread.id])
    if case .aborted = try partManager.outcome(of: spread.id) { Issue.record("it is told to be aborted") }
    try partManager.close()
    try part.close()

    let world = TransferWorld(seed: 24, left)
    let whole = try world.open([0, 1, 2], partitions: 8, MovingBank.options)
    let wholeManager = try TransactionManager(whole)
    let accounts = try #require(try whole.keyspace("accounts", .transactional).versions)
    for name in names {
      let key = bank.reference(name).key
      var random = SplitMix64(seed: 1)
      var count = 0
      while try accounts.latest(key)?.value != bank.text(5), count < 500, world.runOne(&random) { count += 1 }
      #expect(try accounts.latest(key)?.value == bank.text(5), "\(name)")
    }
    try wholeManager.close()
    try whole.close()
    bank.transport.drops = { _ in true }
    bank.transport.isHolding = false
    try bank.close()
  }

  /// What the next home is chosen for must not have begun to leave meanwhile: its log would go with it.
  @Test func `no store becomes the home that is about to leave`() throws {
    let bank = try MovingBank(TransferWorld(seed: 25), stores: [0, 1, 2])
    let manager = bank.manager
    let members = bank.core.presentMembers.sorted { $0.id < $1.id }
    let next = members[1]
    let left = Answer<Bool>()
    bank.world.fileSystem.onOperation { operation in
      guard left.count == 0, operation.path.string.hasPrefix(next.path + "/") else { return }
      // The coordinator's log is about to be begun there. Nothing is coordinated from it so far.
      left.set(true)
      let isOver = try? manager.stopCoordinating(at: next)
      left.set(isOver ?? false)
    }
    #expect(try manager.stopCoordinating(at: members[0]))
    bank.world.fileSystem.onOperation(nil)
    #expect(left.all == [true, true])
    let transaction = try TransactionCore(manager)
    #expect(try bank.read(bank.account(0), in: transaction) == 100)
    #expect(try manager.stopCoordinating(at: next) && manager.stopCoordinating(at: members[0]))
    manager.resume(next)
    #expect(try !manager.stopCoordinating(at: members[2]), "the one that stays coordinates it")
    transaction.abort()
    for member in members { manager.resume(member) }
    try bank.close()
  }

  // MARK: - Stores that stay after all

  /// The bank's transactions, but for a word that is said before a store's records are another's.
  private final class Grudging: TransactionHandover {
    let manager: TransactionManager
    /// Whether a store may be quiet. Without locks.
    let mayBeQuiet: @Sendable (Member) -> Bool
    /// With `topology` held.
    let beforeBequest: @Sendable (Member, _ heir: Member) throws(DatabaseError) -> Void

    init(
      _ manager: TransactionManager, mayBeQuiet: @escaping @Sendable (Member) -> Bool = { _ in true },
      beforeBequest: @escaping @Sendable (Member, _ heir: Member) throws(DatabaseError) -> Void
    ) {
      self.manager = manager
      self.mayBeQuiet = mayBeQuiet
      self.beforeBequest = beforeBequest
    }

    func joined(_ member: Member) throws(DatabaseError) { try manager.joined(member) }
    func withdrew(_ member: Member) { manager.withdrew(member) }
    func freeze(_ partition: Int, at member: Member) -> Bool { manager.freeze(partition, at: member) }
    func giveUp(_ partition: Int, at member: Member) -> Timestamp? { manager.giveUp(partition, at: member) }
    func thaw(_ partition: Int, at member: Member) { manager.thaw(partition, at: member) }
    func stopCoordinating(at member: Member) throws(DatabaseError) -> Bool {
      try manager.stopCoordinating(at: member)
    }
    func quiet(_ member: Member) -> Bool { manager.quiet(member) && mayBeQuiet(member) }
    func resume(_ member: Member) { manager.resume(member) }
    func copyRecords(of member: Member, to heir: Member) throws(DatabaseError) {
      try manager.copyRecords(of: member, to: heir)
    }
    func bequeath(from member: Member, to heir: Member) throws(DatabaseError) {
      try beforeBequest(member, heir)
      try manager.bequeath(from: member, to: heir)
    }
    func left(_ member: Member, heir: Member) { manager.left(member, heir: heir) }
    var longestMilliseconds: UInt64 { manager.longestMilliseconds }
  }

  /// Refuses each bequest up to a moment.
  private func refusing(_ bank: MovingBank, until isOver: SharedFlag) -> Grudging {
    Grudging(bank.manager) { (_, _) throws(DatabaseError) in
      if !isOver.isSet { throw DatabaseError(.storage, "the heir refuses") }
    }
  }

  @Test func `a store that holds nothing, and cannot leave, goes on`() throws {
    let bank = try MovingBank(TransferWorld(seed: 26), stores: [0, 1, 2])
    let core = bank.core
    let leaver = try #require(core.presentMembers.first)
    for member in core.presentMembers {
      try core.changeStore(member.id, weight: member === leaver ? 1 : 1_000, zone: nil)
    }
    try core.waitUntilBalanced(.seconds(600))
    #expect(core.ringSnapshot.ring.load(of: leaver.id).slots == 0)
    let isOver = SharedFlag()
    let grudging = refusing(bank, until: isOver)
    try core.attach(grudging)
    let error = databaseError { try core.removeStore(leaver.id) }
    #expect(error?.message == "the heir refuses")
    #expect(core.ringSnapshot.ring.staying.contains { $0.id == leaver.id })
    #expect(try answers(leaver, bank))
    isOver.set()
    try core.removeStore(leaver.id)
    try core.waitUntilBalanced(.seconds(600))
    #expect(core.ringSnapshot.ring.member(leaver.id) == nil)
    try bank.checkTotal()
    withExtendedLifetime(grudging) {}
    try bank.close()
  }

  @Test func `a store that is waited for too long goes on`() throws {
    let bank = try MovingBank(TransferWorld(seed: 27), stores: [0, 1, 2])
    let core = bank.core
    let leaver = try #require(core.presentMembers.first)
    for member in core.presentMembers {
      try core.changeStore(member.id, weight: member === leaver ? 1 : 1_000, zone: nil)
    }
    try core.waitUntilBalanced(.seconds(600))
    let grudging = Grudging(bank.manager, mayBeQuiet: { _ in false }) { (_, _) throws(DatabaseError) in }
    try core.attach(grudging)
    let error = databaseError { try core.removeStore(leaver.id) }
    #expect(error?.code == .busy, "\(String(describing: error))")
    #expect(try answers(leaver, bank))
    withExtendedLifetime(grudging) {}
    try core.attach(bank.manager)
    try core.removeStore(leaver.id)
    #expect(core.ringSnapshot.ring.member(leaver.id) == nil)
    try core.waitUntilBalanced(.seconds(600))
    try bank.close()
  }

  /// The mover had begun to bring it a partition, and comes to the end of that.
  @Test func `a store that is to leave and gets a partition meanwhile goes on until that has moved`() throws {
    let bank = try MovingBank(TransferWorld(seed: 31), stores: [0, 1])
    let core = bank.core
    let grudging = Grudging(
      bank.manager,
      mayBeQuiet: { member in
        while core.ring.load(of: member.id).slots == 0, core.transfers.runOneHere() {}
        return true
      }
    ) { (_, _) throws(DatabaseError) in }
    try core.attach(grudging)
    try bank.addStore(2)
    let leaver = try #require(core.presentMembers.first { $0.path == TransferWorld.path(2) })
    try bank.removeStore(2)
    #expect(core.ringSnapshot.ring.load(of: leaver.id).slots == 1)
    #expect(!core.ringSnapshot.ring.staying.contains { $0.id == leaver.id })
    #expect(try answers(leaver, bank))
    try bank.checkTotal()
    try core.waitUntilBalanced(.seconds(600))
    #expect(core.ringSnapshot.ring.member(leaver.id) == nil)
    try bank.checkTotal()
    withExtendedLifetime(grudging) {}
    try bank.close()
  }

  @Test func `a store whose last move fails goes on`() throws {
    let bank = try MovingBank(TransferWorld(seed: 28), stores: [0, 1, 2])
    let core = bank.core
    let leaver = try #require(core.presentMembers.first)
    let isOver = SharedFlag()
    let grudging = refusing(bank, until: isOver)
    try core.attach(grudging)
    try core.removeStore(leaver.id)
    var jobs = 0
    while core.rebalance.failure == nil, jobs < 10_000 {
      _ = core.transfers.runOneHere()
      jobs += 1
    }
    let failure = core.rebalance.failure
    #expect(failure?.message == "the heir refuses", "\(String(describing: failure))")
    #expect(core.ringSnapshot.ring.load(of: leaver.id).slots == 1)
    #expect(core.transfers.withRecord { $0.quieted == nil && $0.frozen == nil && !$0.isGivenUp })
    #expect(try answers(leaver, bank))
    isOver.set()
    try core.waitUntilBalanced(.seconds(600))
    #expect(core.ringSnapshot.ring.member(leaver.id) == nil)
    try bank.checkTotal()
    withExtendedLifetime(grudging) {}
    try bank.close()
  }

  /// The move that it was kept still for is planned no more, and had no keys that a transaction may lock.
  @Test func `a store that was kept still for a move that is given up goes on`() throws {
    let bank = try MovingBank(TransferWorld(seed: 29), stores: [0, 1])
    let core = bank.core
    let (from, to) = (core.presentMembers[0], core.presentMembers[1])
    #expect(bank.manager.quiet(from))
    #expect(try !answers(from, bank))
    core.transfers.withRecord { record in
      record.quieted = PartitionMove(partition: 0, slot: 1, from: from.id, to: to.id)
    }
    core.scheduleTransfers()
    while core.transfers.runOneHere() {}
    #expect(core.transfers.withRecord { $0.quieted == nil })
    #expect(try answers(from, bank))
    try bank.close()
  }

  /// Reads and writes that need the ring's lock do not wait for what may be an hour's outcomes.
  @Test(arguments: [false, true])
  func `the records of a store that leaves are copied before the ring is held for that`(
    holdsPartitions: Bool
  ) throws {
    let bank = try MovingBank(TransferWorld(seed: 30), stores: [0, 1, 2])
    let core = bank.core
    var random = SplitMix64(seed: 30)
    for _ in 0..<40 { try bank.transfer(&random) }
    let leaver = try #require(core.presentMembers.first)
    if !holdsPartitions {
      for member in core.presentMembers {
        try core.changeStore(member.id, weight: member === leaver ? 1 : 1_000, zone: nil)
      }
      try core.waitUntilBalanced(.seconds(600))
    }
    let missing = Answer<Int>()
    let records = Answer<Int>()
    let grudging = Grudging(bank.manager) { (member, heir) throws(DatabaseError) in
      try storing("records could not be counted") { () throws(StoreError) in
        guard let from = member.store.existingTree(Member.transactionTree),
          let to = heir.store.existingTree(Member.transactionTree)
        else { return }
        var (all, lacking) = (0, 0)
        var cursor = try from.cursor()
        while try cursor.next() {
          all += 1
          if try to.get(cursor.keyBytes) == nil { lacking += 1 }
        }
        records.set(all)
        missing.set(lacking)
      }
    }
    try core.attach(grudging)
    try core.removeStore(leaver.id)
    try core.waitUntilBalanced(.seconds(600))
    #expect(core.ringSnapshot.ring.member(leaver.id) == nil)
    #expect(records.value ?? 0 > 0 && missing.value == 0, "\(missing.all) of \(records.all)")
    try bank.finish()
    withExtendedLifetime(grudging) {}
    try bank.close()
  }
}
