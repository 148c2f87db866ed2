import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Stores that come, go and are weighed anew beside keyspaces on fewer stores than the database's others.
// Budget: 20 s quick, 60 s full.
@Suite struct FewerReplicasMoveTests {
  private static func fill(_ keyspace: KeyspaceCore) throws {
    for number in 0..<200 { try keyspace.put(text: "k\(number)", "v\(number)") }
  }

  private static func lists(_ core: DatabaseCore) -> [[MemberID]] {
    let ring = core.ringSnapshot.ring
    return (0..<ring.partitionCount).map { ring.replicas(of: $0) }
  }

  @Test func `every key is where the ring says, and nobody changes places without a move`() throws {
    let world = TransferWorld(seed: 1)
    var core = try world.open([0, 1, 2, 3], replicas: 3)
    let names = ["one", "two", "three"]
    for (index, name) in names.enumerated() {
      try Self.fill(try core.keyspace(name, .eventual(replicas: index + 1)))
    }
    var before = Self.lists(core)
    func settle() throws {
      try core.waitUntilBalanced(.seconds(60))
      try core.checkPlacement()
      for name in names { try RebalanceTests.check(try core.keyspace(name, nil)) }
      let after = Self.lists(core)
      for (old, new) in zip(before, after) {
        for (place, member) in old.enumerated() {
          if let now = new.firstIndex(of: member) { #expect(now == place) }
        }
      }
      #expect(before != after)
      before = after
    }
    let added = try core.addStore(TransferWorld.path(4), weight: 100, zone: "")
    try settle()
    try core.changeStore(added, weight: 300, zone: nil)
    try settle()
    try core.removeStore(try core.memberID(at: TransferWorld.path(0)))
    // Half-way the database is opened again, and goes on.
    world.run(12)
    #expect(core.rebalance.movesLeft > 0)
    try core.close()
    core = try world.open([0, 1, 2, 3, 4], replicas: 3)
    try settle()
    try core.changeStore(added, weight: 50, zone: "attic")
    try settle()
    try core.close()
  }

  /// To a place that the keyspace does not have nothing of it is forwarded or copied; and a write of it needs
  /// no store that only such a move needs.
  @Test func `what is written while a partition moves is where it is to be`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 4, full: 60)) { seed, random in
      let world = TransferWorld(seed: seed)
      let core = try world.open([0, 1, 2, 3], replicas: 3, partitions: 8)
      let few = try core.keyspace("few", .eventual(replicas: 1 + random.below(2)))
      let all = try core.keyspace("all", .eventual)
      _ = try core.addStore(TransferWorld.path(4), weight: 100, zone: "")
      var written: [String: String] = [:]
      var late: KeyspaceCore?
      for step in 0..<400 {
        let key = "k\(random.below(60))"
        switch random.below(6) {
        case 0...1:
          written[key] = "s\(step)"
          try few.put(text: key, "s\(step)")
          try all.put(text: key, "s\(step)")
        case 2: if step > 200, late == nil { late = try core.keyspace("late", .eventual(replicas: 2)) }
        default: world.runOne(&random)
        }
        if let late { try late.put(text: key, "late") }
        for keyspace in [few, all] {
          let found = try keyspace.values(text: key)
          try require(found == (written[key].map { [$0] } ?? []), "\(key) reads \(found) at step \(step)")
        }
      }
      try core.waitUntilBalanced(.seconds(60))
      core.finishReadRepairs()
      try core.checkPlacement()
      for (key, value) in written { #expect(try few.values(text: key) == [value]) }
      try core.close()
    }
  }

  /// Until its first such keyspace a plan may put lists in another order; what of it is yet to be installed
  /// then must not.
  @Test func `a keyspace that is made while a plan waits keeps the lists in their order`() throws {
    let world = TransferWorld(seed: 3)
    var core = try world.open([0, 1, 2], replicas: 3)
    _ = try RebalanceTests.fill(core)
    _ = try core.addStore(TransferWorld.path(3), weight: 100, zone: "")
    world.run(12)
    try core.close()
    core = try world.open([0, 1, 2, 3], replicas: 3)
    #expect(core.rebalance.movesLeft > 0)
    let before = Self.lists(core)
    let few = try core.keyspace("few", .eventual(replicas: 1))
    try Self.fill(few)
    #expect(core.adoption.map { state in
      (0..<16).allSatisfy { state.ring.replicas(of: $0) == before[$0] }
    } != false)
    try core.waitUntilBalanced(.seconds(60))
    try core.checkPlacement()
    try RebalanceTests.check(few)
    try core.close()
  }

  @Test(arguments: [(2, 1), (3, 2), (3, 1)])
  func `the model`(_ replicas: Int, _ valueReplicas: Int) throws {
    let name = "DatabaseTests.FewerReplicasMoveTests/model\(replicas)\(valueReplicas)"
    try withSeeds(name, count: TestSize.of(quick: 3, full: 40)) { seed, random in
      let driver = try RebalanceDriver(
        TransferWorld(seed: seed), stores: [0, 1, 2, 3], replicas: replicas, valueReplicas: valueReplicas)
      for step in 0..<900 {
        do {
          try driver.step(&random)
          if random.below(300) == 0 { try driver.reopen() }
        } catch { throw Mismatch("step \(step), seed \(seed): \(error)") }
      }
      try driver.finish()
      try driver.core.close()
    }
  }

  /// One store joins and one leaves, with a crash before file operations that change the disk.
  @Test func `a crash before operations of a move`() throws {
    let name = "DatabaseTests.FewerReplicasMoveTests/crash"
    try withSeeds(name, count: TestSize.of(quick: 1, full: 3)) { seed, random in
      let world = TransferWorld(seed: seed)
      let driver = try RebalanceDriver(world, stores: [0, 1, 2, 3], replicas: 3, valueReplicas: 2)
      let steps = 50
      for _ in 0..<steps { try driver.step(&random) }
      let crasher = RebalanceCrasher(driver, seed: seed) { random in
        random.below(TestSize.of(quick: 30, full: 6)) == 0
      }
      try crasher.run {
        try driver.addStore(4)
        for _ in 0..<steps { try driver.step(&random) }
        try driver.removeStore(0)
        for _ in 0..<steps { try driver.step(&random) }
        try driver.finish()
      }
      #expect(crasher.crashes > 5)
      try driver.core.close()
    }
  }

  @Test func `an index of fewer stores finds what it did before the moves`() throws {
    let world = try IndexWorld(stores: 4, replicas: 3, .eventual(replicas: 2))
    for number in 0..<200 { try world.put("n\(number)", "w\(number % 7),x") }
    let expected = try world.query()
    #expect(expected.count == 400)
    _ = try world.core.addStore("/disk4/db", weight: 100, zone: "")
    for step in 0..<4_000 where !world.core.rebalance.isBalanced {
      world.work(1)
      if step % 8 == 0 { #expect(try world.query() == expected) }
    }
    #expect(world.core.rebalance.isBalanced)
    try world.core.removeStore(try world.core.memberID(at: "/disk0/db"))
    try world.core.waitUntilBalanced(.seconds(60))
    #expect(try world.query() == expected)
    try world.core.checkPlacement()
    try world.core.close()
  }
}
