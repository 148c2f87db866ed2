import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Replicas that compare their trees: what they send, what they mend, and what they bear.
// Budget: 20 s
@Suite struct TreeRepairTests {
  /// Records that no node of the world has written, the same at all that take them.
  private static func record(_ world: NodeWorld, _ counter: UInt64, _ value: String = "v") throws -> Record {
    var record = Record()
    try record.put(
      Array(value.utf8), replacing: VersionVector(),
      dot: Dot(replica: ReplicaID(rawValue: 77), counter: counter),
      timestamp: try world[0].core.shared.clock.now())
    return record
  }

  private static func join(_ key: String, _ record: Record, _ world: NodeWorld, at index: Int) throws {
    _ = try unsafe world[index].keyspace("k").join(Array(key.utf8).span.bytes, record)
  }

  /// Fills all nodes with the same.
  private static func fill(_ world: NodeWorld, _ count: Int) throws {
    for number in 0..<count {
      let record = try record(world, UInt64(number) + 1)
      for index in world.running { try join("k\(number)", record, world, at: index) }
    }
  }

  /// Puts a key at one node alone.
  private static func putAlone(_ key: String, _ world: NodeWorld, at index: Int) throws {
    let request = KeyRequest(
      .put(Array("alone".utf8), timeToLiveMilliseconds: nil), Array(key.utf8), in: "k")
    _ = try world[index].keyspace("k").write(request)
  }

  private static func tree(_ world: NodeWorld, _ key: String, at index: Int) throws -> HashTree {
    let keyspace = try world[index].keyspace("k")
    let partition = try keyspace.partition(of: Array(key.utf8))
    return try keyspace.hashTree(of: partition, on: world[index].local, seed: 1) { false }
  }

  private static func agree(_ world: NodeWorld, _ count: Int) throws -> Bool {
    try (0..<count).allSatisfy { try world.agree(on: "k\($0)") }
  }

  /// What it costs that a partition is found equal: a question and its answer.
  private static func equalBytes(_ world: NodeWorld) throws -> UInt64 {
    let request = TreeRequest(
      MessageHead(try world[0].keyspace("k"), world[0].view.print(of: 1)), partition: 1, seed: 1, .root)
    return UInt64(request.encoded().count + TreeAnswer.hashes([0]).encoded(.root).count)
  }

  // MARK: - What is sent

  @Test func `where all is equal nothing is sent but roots`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 500)
    let report = try world.repair(at: 0)
    #expect(report.keys == 500 && report.differing == 0 && report.mended == 0)
    #expect(report.compared == 32 && report.notCompared == 0 && report.problem == "")
    #expect(try report.bytes == 32 * Self.equalBytes(world))
  }

  @Test func `ten keys of three thousand are mended, and little else is sent`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 3_000)
    for number in 0..<4 { try Self.putAlone("k\(number * 300)", world, at: 2) }
    for number in 4..<7 { try Self.putAlone("new\(number)", world, at: 1) }
    for number in 7..<10 { try Self.putAlone("new\(number)", world, at: 0) }
    let report = try world.repair(at: 0)
    #expect(report.notCompared == 0 && report.problem == "")
    #expect(report.keys >= 3_000 && report.keys <= 3_010)
    // Each at most once with either of the others.
    #expect(report.differing >= 10 && report.differing <= 20 && report.mended == report.differing)
    for number in 0..<10 { #expect(try world.agree(on: "k\(number * 300)")) }
    for number in 4..<10 { #expect(try world.agree(on: "new\(number)")) }
    #expect(try Self.agree(world, 3_000))
    // Each differing key makes at most one partition differ with one other node: three more questions, 32
    // groups, one group's leaves, and the keys of one leaf (a fifth of one on the average, so 20 are
    // plenty) of at most 20 bytes each. Then a state of less than 150 bytes goes each way, with a header
    // of at most 60.
    let descent = 3 * 60 + 32 * 8 + 32 * 8 + LeafSet.wordCount * 8 + 20 * 20
    // Partitions in which node 0 learned something are compared once more.
    let bound = try 48 * Self.equalBytes(world) + report.differing * UInt64(descent + 2 * 150 + 2 * 60)
    #expect(report.bytes <= bound, "\(report.bytes) bytes; a pass over all keys takes a hundred each")
    #expect(bound < 3_000 * 20)
    // And then there is nothing left to do.
    #expect(try world.repair(at: 1).differing == 0)
  }

  @Test func `a node that was away for many keys gets them all`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 600)
    for number in 0..<300 {
      try Self.putAlone("late\(number)", world, at: 0)
      try Self.putAlone("late\(number)", world, at: 1)
    }
    let report = try world.repair(at: 2)
    #expect(report.notCompared == 0)
    for number in 0..<300 { #expect(try world.agree(on: "late\(number)")) }
    // Two writes that knew nothing of each other.
    #expect(try world.values("late7", at: 2, quorum: 1) == ["alone", "alone"])
  }

  @Test func `pages of keys together are all keys`() throws {
    let world = try NodeWorld(1, replicas: 1)
    try world.make()
    try Self.fill(world, 200)
    let keyspace = try world[0].keyspace("k")
    var all = LeafSet()
    for leaf in 0..<HashTree.leafCount { all.insert(leaf) }
    for partition in 0..<16 {
      func page(_ after: [UInt8], _ byteLimit: Int) throws -> KeyPage {
        try keyspace.hashedKeys(
          of: partition, on: world[0].local, in: all, seed: 1, after: after, byteLimit: byteLimit
        ) { false }
      }
      let whole = try page([], 1 << 20)
      #expect(whole.through == nil)
      var keys: [HashedKey] = []
      var after: [UInt8]? = []
      while let from = after {
        let part = try page(from, 40)
        keys += part.keys
        after = part.through
      }
      #expect(keys == whole.keys)
      let tree = try keyspace.hashTree(of: partition, on: world[0].local, seed: 1) { false }
      #expect(tree.keyCount == keys.count)
    }
    let late = code { _ = try keyspace.hashTree(of: 0, on: world[0].local, seed: 1) { true } }
    #expect(late == .deadlineExceeded)
  }

  // MARK: - Interleavings

  /// Interleaving 4: v is deleted at two replicas while the third is away. Were there no dot for the delete,
  /// or none in the hash, the trees would be equal for ever, and v stay at the third.
  @Test func `a delete that one replica missed shows in the trees`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k1", "v", at: 0)
    #expect(try world.agree(on: "k1"))
    #expect(try Self.tree(world, "k1", at: 0).root == Self.tree(world, "k1", at: 2).root)
    world.cut(0, 2)
    world.cut(1, 2)
    _ = try world.perform(KeyRequest(.delete, Array("k1".utf8), in: "k"), at: 0)
    for index in 0..<2 { _ = try world[index].hints.forget(world[2].local.id) }
    world.heal()
    #expect(try world.values("k1", at: 2, quorum: 1) == ["v"])
    #expect(try Self.tree(world, "k1", at: 0).root == Self.tree(world, "k1", at: 1).root)
    #expect(try Self.tree(world, "k1", at: 0).root != Self.tree(world, "k1", at: 2).root)
    let report = try world.repair(at: 2)
    // With one of the two: the other is like it, and then like both.
    #expect(report.differing == 1 && report.mended == 1)
    for index in 0..<3 { #expect(try world.values("k1", at: index, quorum: 1) == []) }
    #expect(try world.agree(on: "k1"))
  }

  /// Two keys of one leaf, changed by two writers: neither change is lost, since trees are made of what is
  /// there.
  @Test func `two changes in one leaf both show`() throws {
    let world = try NodeWorld(2, replicas: 2)
    try world.make()
    try Self.fill(world, 2_000)
    let hasher = RecordHasher(seed: 1)
    let keyspace = try world[0].keyspace("k")
    var places: [[Int]: [String]] = [:]
    for number in 0..<2_000 {
      let key = Array("k\(number)".utf8)
      places[[try keyspace.partition(of: key), unsafe hasher.leaf(of: key.span.bytes)], default: []].append(
        "k\(number)")
    }
    let pair = try #require(places.values.first { $0.count == 2 })
    let before = try Self.tree(world, pair[0], at: 0)
    try Self.putAlone(pair[0], world, at: 0)
    let between = try Self.tree(world, pair[0], at: 0)
    try Self.putAlone(pair[1], world, at: 0)
    let after = try Self.tree(world, pair[0], at: 0)
    #expect(Set([before.root, between.root, after.root]).count == 3)
    #expect(try world.repair(at: 1).mended == 2)
    #expect(try world.agree(on: pair[0]) && world.agree(on: pair[1]))
  }

  @Test func `what has expired does not come back`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 2)
    world.cut(1, 2)
    let key = Array("t".utf8)
    _ = try world.perform(KeyRequest(.put([1], timeToLiveMilliseconds: 1_000), key, in: "k"), at: 0)
    for index in 0..<2 { _ = try world[index].hints.forget(world[2].local.id) }
    world.heal()
    world.time.advance(byNanoseconds: 2_000_000_000)
    try world.repair(at: 0)
    #expect(try world.agree(on: "t"))
    for index in 0..<3 { #expect(try world.values("t", at: index, quorum: 1) == []) }
    // A write puts the expiry down, at one.
    try Self.putAlone("t", world, at: 1)
    try world.repair(at: 2)
    #expect(try world.agree(on: "t"))
    for index in 0..<3 { #expect(try world.values("t", at: index, quorum: 1) == ["alone"]) }
  }

  // MARK: - Failures

  @Test func `a node out of reach is not compared, and the report says so`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 50)
    try Self.putAlone("k1", world, at: 1)
    world.cut(0, 2)
    let report = try world.repair(at: 0)
    #expect(report.compared == 16 && report.notCompared == 16)
    #expect(report.differing == 1 && report.mended == 1)
    #expect(report.problem.contains("out of reach"))
    world.heal()
    let whole = try world.repair(at: 0)
    #expect(whole.compared == 32 && whole.notCompared == 0 && whole.mended == 1)
    #expect(try Self.agree(world, 50))
    world.crash(1, .keepAll)
    try world.beat(12)
    #expect(try world.repair(at: 0).notCompared == 16)
    #expect(world[0].status.lastPass?.report.notCompared == 16)
  }

  @Test func `the time is over`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 20)
    let answer = Guarded<RepairReport?>(nil)
    world[0].repair(until: world.time.monotonicNanoseconds) { result in
      answer.withLock { $0 = try? result.get() }
    }
    let report = try #require(answer.withLock { $0 })
    #expect(report.compared == 0 && report.notCompared == 32 && report.problem.contains("time"))
  }

  @Test func `a node that is closed ends its pass`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try Self.fill(world, 20)
    let outcome = Guarded<[DatabaseError.Code?]>([])
    let start = world.time.monotonicNanoseconds
    let pace = BytePace(try PacedBytes(bytesPerSecond: 1_000_000_000, burst: 100, at: start))
    let repair = TreeRepair(world[0], [try world[0].keyspace("k")], pace: pace) { result in
      outcome.withLock { $0.append(code { _ = try result.get() }) }
    }
    repair.begin()
    repair.allow(partitions: 16)
    #expect(pace.noted > 0 && !pace.mayGo(at: start), "it waits for more")
    repair.end()
    repair.end()
    world.time.advance(byNanoseconds: 1_000_000)
    repair.allow(partitions: 16)
    #expect(outcome.withLock { $0 } == [.closed])
    try world.close(0)
    let closed = Guarded<DatabaseError.Code?>(nil)
    let other = world[1]
    try world.close(1)
    other.repair(until: .max) { result in closed.withLock { $0 = code { _ = try result.get() } } }
    #expect(closed.withLock { $0 } == .closed)
  }

  /// A pass goes on by a few bytes at a time; meanwhile links are cut, nodes killed and keys written.
  @Test func `cuts, kills and writes in the middle cost work and nothing else`() throws {
    try withSeeds("repairInterrupted", count: TestSize.of(quick: 15, full: 150)) { seed, random in
      let world = try NodeWorld(3, seed: seed)
      try world.make()
      try Self.fill(world, 60)
      for _ in 0..<20 { try Self.putAlone("k\(random.below(80))", world, at: random.below(3)) }
      let outcome = Guarded<RepairReport?>(nil)
      // A byte takes 10 ns: no deadline comes nearer by this.
      let pace = BytePace(
        try PacedBytes(bytesPerSecond: 100_000_000, burst: 300, at: world.time.monotonicNanoseconds))
      let repair = TreeRepair(world[0], [try world[0].keyspace("k")], pace: pace) { result in
        outcome.withLock { $0 = try? result.get() }
      }
      repair.begin()
      var count: Int64 = 0
      var steps = 0
      while outcome.withLock({ $0 == nil }) {
        steps += 1
        try #require(steps < 20_000, "seed \(seed): it never ends")
        switch random.below(30) {
        case 0: world.cut(0, 1 + random.below(2))
        case 1: world.heal()
        case 2:
          // Only what a quorum acknowledged is promised.
          if (try? world.increment("n", at: random.below(3))) != nil { count += 1 }
        case 3: try? Self.putAlone("k\(random.below(80))", world, at: random.below(3))
        case 4:
          let index = 1 + random.below(2)
          world.crash(index, .keepAll, seed: random.next())
          try world.restart(index)
        default:
          world.time.advance(byNanoseconds: 10 * UInt64(1 + random.below(300)))
          repair.allow(partitions: 16)
        }
      }
      let report = try #require(outcome.withLock { $0 })
      try #require(report.compared + report.notCompared == 32, "seed \(seed)")
      try #require(report.mended <= report.differing, "seed \(seed)")
      world.heal()
      try world.beat(2)
      for index in [0, 1] { try #require(try world.repair(at: index).notCompared == 0, "seed \(seed)") }
      for index in 0..<3 {
        try #require(try world.repair(at: index).differing == 0, "seed \(seed)")
        try #require(try world.count("n", at: index, quorum: 1) >= count, "seed \(seed)")
      }
      try #require(try Self.agree(world, 80), "seed \(seed)")
    }
  }

  // MARK: - In the background

  @Test func `nodes compare by themselves, and status tells`() throws {
    let world = try NodeWorld(3) { $0.repairInterval = .seconds(60) }
    try world.make()
    try Self.fill(world, 100)
    for number in 0..<5 { try Self.putAlone("k\(number)", world, at: number % 3) }
    try world.beat(30)
    #expect(world[0].status.lastPass == nil)
    // Half of its interval is left, and then what the nodes began later.
    try world.beat(40)
    for index in 0..<3 {
      let pass = try #require(world[index].status.lastPass)
      #expect(pass.report.compared == 32 && pass.report.notCompared == 0)
    }
    #expect((0..<3).reduce(0) { $0 + (world[$1].status.lastPass?.report.mended ?? 0) } >= 5)
    #expect(try Self.agree(world, 100))
    // The next pass finds what came later.
    try Self.putAlone("k99", world, at: 1)
    let first = world[1].status.lastPass?.ended
    try world.beat(61)
    #expect(try world.agree(on: "k99"))
    #expect(world[1].status.lastPass?.ended != first)
  }

  @Test func `the background keeps to its bytes`() throws {
    let world = try NodeWorld(3) {
      $0.repairInterval = .seconds(60)
      $0.repairBytesPerSecond = 1_024
    }
    try world.make()
    try Self.fill(world, 10)
    // Some 300 kB, at node 0 alone.
    for number in 0..<300 {
      let key = "big\(number)"
      let value = String(repeating: "x", count: 1_000)
      try Self.join(key, Self.record(world, UInt64(number) + 1_000, value), world, at: 0)
    }
    try world.beat(70)
    let held = try (0..<300).count { try world.held("big\($0)", at: 2) != nil }
    // In 70 s three nodes send at most 3 × (70 + 4) × 1 kB, and each a batch beyond it.
    #expect(held > 10 && held < 250, "\(held) keys")
    #expect(world[0].status.lastPass == nil)
    try world.beat(1_200)
    #expect(try (0..<300).allSatisfy { try world.agree(on: "big\($0)") })
    #expect(world[0].status.lastPass != nil)
  }

  @Test func `never is never`() throws {
    let world = try NodeWorld(3) { $0.repairInterval = nil }
    try world.make()
    try Self.putAlone("k1", world, at: 0)
    try world.beat(200)
    #expect(try world.held("k1", at: 1) == nil)
    #expect(world[0].status.lastPass == nil)
  }
}
