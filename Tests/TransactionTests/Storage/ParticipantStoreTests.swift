import RoostCausality
import RoostCluster
import RoostSimulation
import RoostStorage
import Testing

@testable import RoostTransactions

/// What a participant writes is in its store in one piece, and is found again.
// Budget: 5 s
@Suite struct ParticipantStoreTests {
  private static let directories = ["/disk0/db", "/disk1/db"]

  private struct World {
    let world: SimulatedEnvironment
    let core: DatabaseCore
    let accounts: VersionedKeyspace
    let store: ParticipantStore

    init(_ world: SimulatedEnvironment = SimulatedEnvironment()) throws {
      self.world = world
      var options = DatabaseOptions()
      options.partitionCount = 8
      options.store = VersionWorld.options()
      core = try DatabaseOpening.open(directories, options, world.environment)
      accounts = try #require(try core.keyspace("accounts", .transactional).versions)
      store = try ParticipantStore(core.presentMembers[0], of: core)
    }

    /// A write to a key of this participant's.
    func write(_ name: String, _ value: String?) throws -> TransactionWrite {
      for suffix in 0..<1_000 {
        let key = Array("\(name)\(suffix)".utf8)
        let partition = try accounts.partition(of: key)
        guard try accounts.owner(of: partition) === store.member else { continue }
        return TransactionWrite(
          KeyReference(keyspace: accounts.id, partition: partition, key: key), value.map { Array($0.utf8) })
      }
      throw DatabaseError(.invalidArgument, "no key of this store was found")
    }

    func value(_ write: TransactionWrite, at time: UInt64? = nil) throws -> [UInt8]? {
      try store.read(.keys([write.target]), at: time.map { later($0) }).entries.first?.value
    }
  }

  /// Times above where the clock began, in counts.
  private static func later(_ count: UInt64) -> Timestamp {
    Timestamp(rawValue: Timestamp(milliseconds: 1_800_000_000_000).rawValue + count)
  }

  private static func id(_ count: UInt64) -> TransactionID {
    TransactionID(start: later(count), coordinator: CoordinatorID(rawValue: 7))
  }

  private static func record(_ count: UInt64, _ writes: [TransactionWrite]) -> PreparedRecord {
    PreparedRecord(
      transaction: id(count), timestamp: later(count), writes: writes, writers: [MemberID(rawValue: 1)],
      isSynced: true)
  }

  @Test func `what is prepared is found after a kill, and goes with its outcome`() throws {
    let world = try World()
    let a = try world.write("a", "1")
    let b = try world.write("b", nil)
    let records = (1...4).map { Self.record(UInt64($0), [a, b]) }
    for record in records { try world.store.execute(.prepare(record), at: Self.later(9)) }
    var again = try World(
      SimulatedEnvironment(seed: 2, fileSystem: world.world.fileSystem.processKillClone()))
    #expect(try again.store.prepared() == records)
    #expect(try again.value(a) == nil)

    try again.store.execute(.commit(Self.id(1), Self.later(10), [a, b]), at: Self.later(11))
    try again.store.execute(.abort(Self.id(2)), at: Self.later(11))
    try again.store.execute(.refuse(Self.id(3)), at: Self.later(12))
    try again.store.execute(.force(Self.id(4), .aborted, []), at: Self.later(13))
    try again.store.execute(
      .force(Self.id(5), .committed(Self.later(20)), [try again.write("c", "3")]), at: Self.later(21))
    again = try World(SimulatedEnvironment(seed: 3, fileSystem: again.world.fileSystem.processKillClone()))
    #expect(try again.store.prepared() == [])
    #expect(try again.value(a) == Array("1".utf8))
    #expect(try again.value(try again.write("c", nil)) == Array("3".utf8))
    let outcomes = try (1...6).map { try again.store.outcome(of: Self.id(UInt64($0)))?.outcome }
    #expect(
      outcomes == [
        .committed(Self.later(10)), nil, .aborted, .aborted, .committed(Self.later(20)), nil,
      ])
    let forced = try again.store.forcedDecisions()
    #expect(forced.map(\.transaction) == [Self.id(4), Self.id(5)])
    #expect(forced.map(\.record.recorded) == [Self.later(13), Self.later(21)])
  }

  @Test func `a commit that breaks the order of versions writes nothing`() throws {
    let world = try World()
    let a = try world.write("a", "1")
    let b = try world.write("b", "1")
    try world.store.execute(.commit(Self.id(1), Self.later(10), [a]), at: Self.later(10))
    try world.store.execute(.prepare(Self.record(2, [b, a])), at: Self.later(10))
    let error = thrown {
      try world.store.execute(.commit(Self.id(2), Self.later(10), [b, a]), at: Self.later(11))
    }
    #expect(error?.code == .corruption)
    #expect(try world.value(b) == nil)
    #expect(try world.store.outcome(of: Self.id(2)) == nil)
    #expect(try world.store.prepared().map(\.transaction) == [Self.id(2)])
  }

  @Test func `keys and ranges are read, the newest and those of a time`() throws {
    let world = try World()
    let write = try world.write("a", "1")
    let target = write.target
    for count in 1...3 {
      let value = Array("\(count)".utf8)
      let time = Self.later(UInt64(count) * 10)
      try world.store.execute(
        .commit(Self.id(UInt64(count)), time, [TransactionWrite(target, value)]), at: time)
    }
    #expect(try [5, 10, 25, 99].map { try world.value(write, at: $0) } == [nil, [0x31], [0x32], [0x33]])
    let range = RangeReference(
      keyspace: target.keyspace, partition: target.partition, lower: [], upper: nil)
    let answer = try world.store.read(.range(range, limit: 5), at: Self.later(25))
    #expect(answer.entries == [ReadEntry(target, [0x32], at: Self.later(20))] && answer.isComplete)
    let newest = try world.store.read(.range(range, limit: 5))
    #expect(newest.entries.map(\.value) == [[0x33]])
    let stranger = KeyReference(keyspace: 99, partition: 0, key: [1])
    #expect(thrown { _ = try world.store.read(.keys([stranger])) }?.code == .unknownKeyspace)
  }

  @Test func `outcomes are told in pages, and go when they are old`() throws {
    let world = try World()
    for count in 1...10 { try world.store.execute(.refuse(Self.id(UInt64(count))), at: Self.later(20)) }
    // A transaction that was in doubt for long: its outcome is young.
    try world.store.execute(.refuse(Self.id(3)), at: Self.later(500))
    var told: [TransactionID] = []
    var next: Timestamp? = .zero
    while let start = next {
      let page = try world.store.outcomes(since: start, limit: 4)
      #expect(page.outcomes.count <= 4)
      told += page.outcomes.map(\.transaction)
      next = page.next
    }
    #expect(told == (1...10).map { Self.id(UInt64($0)) })
    var dropped = 0
    while true {
      let (count, isDone) = try world.store.dropOutcomes(before: Self.later(100), limit: 4)
      #expect(count <= 4)
      dropped += count
      if isDone { break }
    }
    #expect(dropped == 9)
    #expect(try world.store.outcome(of: Self.id(3)) != nil)
    #expect(try world.store.dropOutcomes(before: Self.later(100), limit: 4) == (0, true))
  }

  @Test func `marks of effects are per transaction`() throws {
    let world = try World()
    var batch = WriteBatch()
    for index in [0, 1, 70_000] { world.store.mark(Self.id(1), index: index, at: Self.later(1), in: &batch) }
    world.store.mark(Self.id(2), index: 0, at: Self.later(1), in: &batch)
    try world.store.member.store.commit(batch, .applied)
    let done = try [0, 1, 2, 70_000].map { try world.store.hasDone(Self.id(1), index: $0) }
    #expect(done == [true, true, false, true])
    try world.store.forgetEffects(of: Self.id(1))
    #expect(try !world.store.hasDone(Self.id(1), index: 0))
    #expect(try world.store.hasDone(Self.id(2), index: 0))
  }

  @Test func `damage in the tree is told with its place`() throws {
    let world = try World()
    try world.store.execute(.prepare(Self.record(1, [])), at: Self.later(1))
    let key = TransactionKey.make(.prepared, Self.id(1))
    try world.store.tree.put(key, [1, 2, 3])
    let error = thrown { _ = try world.store.prepared() }
    #expect(error?.code == .corruption)
    #expect(error?.message.contains("/disk0/db") == true && error?.message.contains("transactions") == true)
    try world.store.tree.put(key + [0], [1])
    try world.store.tree.delete(key)
    #expect(thrown { _ = try world.store.prepared() }?.code == .corruption)
  }
}
