import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// The rules by which a transaction's effects on eventual keys are done once and are not forgotten, each by
/// the case that breaks without it.
// Budget: 3 s
@Suite struct EffectRuleTests {
  /// A database without a transactional keyspace: its transactions have effects and nothing else.
  private final class World {
    let world: TransferWorld
    let stores: [Int]
    let replicas: Int
    var core: DatabaseCore
    var statistics: KeyspaceCore
    var manager: TransactionManager
    let transport = HeldTransport()

    init(
      _ world: TransferWorld = TransferWorld(seed: 21), stores: [Int] = [0, 1], replicas: Int = 1,
      missing: Bool = false
    ) throws {
      self.world = world
      self.stores = stores
      self.replicas = replicas
      core = try world.open(stores, replicas: replicas, partitions: 8) { options in
        MovingBank.options(&options)
        options.allowsMissingStores = missing
      }
      statistics = try core.keyspace("statistics", .eventual)
      manager = try TransactionManager(core, transport: transport)
    }

    func close() throws {
      try manager.close()
      try core.close()
    }

    func reopened() throws -> World {
      try close()
      return try World(world, stores: stores, replicas: replicas)
    }

    /// Commits an increment of `key`.
    @discardableResult
    func increment(_ key: String) throws -> TransactionID {
      let transaction = try TransactionCore(manager)
      let partition = Placement.partition(ofHash: key.withKeyBytes { Placement.hash($0) }, count: 8)
      try transaction.add(
        keyspace: statistics.schemaID, Array(key.utf8), partition: partition, .increment(1))
      let answer = Answer<TransactionOutcome>()
      try transaction.commit(isSynced: true) { answer.set($0) }
      guard case .committed? = answer.value else { throw Mismatch("\(String(describing: answer.value))") }
      return transaction.id
    }

    func settle() { world.run(10_000) }
  }

  /// It has no participant that would record its outcome, and the log forgets what has ended.
  @Test func `what became of a transaction with effects alone is known after openings`() throws {
    var world = try World()
    let id = try world.increment("done")
    for _ in 0..<3 {
      guard case .committed = try world.manager.outcome(of: id) else {
        Issue.record("\(try world.manager.outcome(of: id))")
        return
      }
      world = try world.reopened()
    }
    #expect(try world.statistics.total(text: "done") == 1)
    try world.close()
  }

  /// Killed between the decision and the effect. No keyspace tells that there were transactions.
  @Test func `a store does not leave before the effects that it has decided are done`() throws {
    let world = try World()
    world.transport.drops = { if case .effect = $0.message.body { true } else { false } }
    try world.increment("done")
    #expect(try world.statistics.total(text: "done") == 0)
    for store in 0..<2 {
      let left = TransferWorld(seed: 22, world.world.fileSystem.processKillClone())
      let core = try left.open([0, 1], partitions: 8, MovingBank.options)
      #expect(core.mayHaveTransactions)
      let leaver = try core.memberID(at: TransferWorld.path(store))
      // Refused at once, or held up where its last partition is about to go.
      let error = databaseError { try core.removeStore(leaver) }
      #expect(error == nil || error?.code == .busy)
      left.run(2_000)
      #expect(core.presentMembers.contains { $0.id == leaver })
      let manager = try TransactionManager(core)
      left.run(20_000)
      #expect(try core.keyspace("statistics", .eventual).total(text: "done") == 1)
      #expect(error != nil || core.presentMembers.count == 1, "it may leave now")
      try manager.close()
      try core.close()
    }
    try world.close()
  }

  /// Decided, and done at a store with its mark; the coordinator does not know. That store is missing then.
  @Test func `an effect that a missing store may have done waits until it is back`() throws {
    let world = try World(stores: [0, 1, 2], replicas: 2)
    world.transport.drops = { if case .effectDone = $0.message.body { true } else { false } }
    let keys = (0..<12).map { "done\($0)" }
    for key in keys { try world.increment(key) }
    world.core.shared.repairs.finish()
    for key in keys { #expect(try world.statistics.total(text: key) == 1) }
    let image = world.world.fileSystem
    for missing in 0..<3 {
      let left = TransferWorld(seed: 23, image.processKillClone())
      let partial = try World(left, stores: [0, 1, 2].filter { $0 != missing }, replicas: 2, missing: true)
      partial.settle()
      for key in keys {
        let total = try? partial.statistics.total(text: key)
        #expect(total == nil || total == 1, "\(key) without \(missing)")
      }
      try partial.close()
      let whole = try World(left, stores: [0, 1, 2], replicas: 2)
      whole.settle()
      for key in keys { #expect(try whole.statistics.total(text: key) == 1, "\(key) after \(missing)") }
      try whole.close()
    }
  }

  /// Whoever saw it may have carried it on, to another store or another database, and there it stays.
  @Test func `nobody sees an effect whose mark is not durable`() throws {
    let world = try World(stores: [0])
    let shown = Guarded<[(total: Int64, disk: SimulatedFileSystem)]>([])
    let (statistics, fileSystem) = (world.statistics, world.world.fileSystem)
    fileSystem.onOperation { operation in
      guard operation.changesDisk, let total = try? statistics.total(text: "done") else { return }
      shown.withLock { $0.append((total, fileSystem.crashClone(.dropAll))) }
    }
    try world.increment("done")
    fileSystem.onOperation(nil)
    let all = shown.withLock { $0 }
    #expect(all.count > 1)
    for (total, disk) in all {
      let after = try TransferWorld(seed: 25, disk).open([0], partitions: 8)
      #expect(try total <= after.keyspace("statistics", .eventual).total(text: "done"))
      try after.close()
    }
    #expect(try statistics.total(text: "done") == 1)
    try world.close()
  }

  @Test func `effects at other stores do not keep a store from leaving`() throws {
    let stores = OpenStores()
    let world = try World()
    let members = world.core.presentMembers
    for member in members { stores[member.id] = try ParticipantStore(member, of: world.core) }
    let (a, b) = (members[0].id, members[1].id)
    #expect(stores.beginEffect(at: [a]))
    #expect(stores.quiet(b))
    #expect(!stores.beginEffect(at: [a, b]) && stores.beginEffect(at: [a]))
    #expect(!stores.quiet(a))
    stores.endEffect(at: [a])
    stores.endEffect(at: [a])
    #expect(stores.quiet(a))
    stores.resume(a)
    #expect(stores.beginEffect(at: [a]))
    // A store that is not open here would get no mark.
    #expect(!stores.beginEffect(at: [MemberID(rawValue: 99)]))
    try world.close()
  }
}
