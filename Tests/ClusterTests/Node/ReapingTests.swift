import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Tombstones that go for good: when, and what never comes back.
// Budget: 15 s
@Suite struct ReapingTests {
  /// Hints are kept for 5 s, messages live one, clocks differ by 5.5: what was read 11.5 s ago is late.
  static func world(
    _ count: Int = 3, breaking broken: Set<ReapingCondition> = [], keyspaceReplicas: Int? = nil,
    _ configure: @escaping (inout ClusterOptions) -> Void = { _ in }
  ) throws -> NodeWorld {
    let world = try NodeWorld(count) {
      $0.replicaTimeout = .milliseconds(500)
      $0.requestTimeout = .seconds(1)
      $0.repairTimeout = .seconds(1)
      $0.repairInterval = nil
      $0.hintAge = .seconds(5)
      $0.tombstoneHorizon = .seconds(40)
      $0.brokenReaping = broken
      configure(&$0)
    }
    try world.make(replicas: keyspaceReplicas)
    return world
  }

  static func delete(_ key: String, _ world: NodeWorld, at index: Int) throws {
    _ = try world.perform(KeyRequest(.delete, Array(key.utf8), in: "k"), at: index)
  }

  static func holders(_ key: String, _ world: NodeWorld) throws -> Int {
    try world.running.count { try world.held(key, at: $0) != nil }
  }

  /// A message with what a node holds of a key now, as it is sent.
  private static func message(_ key: String, _ world: NodeWorld, from index: Int) throws -> ReplicaMessage {
    let keyspace = try world[index].keyspace("k")
    var message = try world[index].place(keyspace, Array(key.utf8), quorum: nil, isSynced: false).message
    message.record = try keyspace.held(Array(key.utf8))
    return message
  }

  private static func deliver(_ message: ReplicaMessage, _ world: NodeWorld, to index: Int) throws {
    try world[index].apply(message.encoded()) { _ in }
  }

  // MARK: - When they go

  @Test func `all replicas drop a tombstone once it is older than the horizon`() throws {
    let world = try Self.world()
    try world.put("a", "v", at: 0)
    try world.put("b", "stays", at: 1)
    try Self.delete("a", world, at: 1)
    try world.beat(38)
    #expect(try Self.holders("a", world) == 3)
    try world.beat(8)
    #expect(try Self.holders("a", world) == 0 && Self.holders("b", world) == 3)
    #expect((0..<3).allSatisfy { world[$0].figures.reaped == 1 })
    // The feed's entry went along: only the other key's is left.
    for index in 0..<3 {
      let part = try #require(try world[index].keyspace("k").parts[world[index].local.slot])
      try part.changes.flush()
      var cursor = try part.changes.cursor()
      var numbers: [UInt64] = []
      while try cursor.next() {
        let number = FeedKey.number(cursor.key)
        numbers.append(try #require(number))
      }
      // Beside it the mark of what was reaped.
      #expect(numbers.count == 2 && numbers.count { $0 == 0 } == 1)
    }
    #expect(try world.values("a", at: 0) == [])
    try world.put("a", "again", at: 2)
    #expect(try world.values("a", at: 0, quorum: 3) == ["again"])
  }

  @Test func `nothing is reaped where no horizon is set`() throws {
    let world = try Self.world { $0.tombstoneHorizon = nil }
    try world.put("a", "v", at: 0)
    try Self.delete("a", world, at: 0)
    try world.beat(60)
    #expect(try Self.holders("a", world) == 3)
    #expect(try world[0].place(world[0].keyspace("k"), [1], quorum: nil, isSynced: false).message.asOf == nil)
  }

  @Test func `what has expired goes, a counter of zero stays`() throws {
    let world = try Self.world()
    let put = KeyRequest.Operation.put([1], timeToLiveMilliseconds: 2_000)
    _ = try world.perform(KeyRequest(put, Array("brief".utf8), in: "k"), at: 0)
    try world.increment("n", by: 1, at: 0)
    try world.increment("n", by: -1, at: 1)
    try world.beat(60)
    #expect(try Self.holders("brief", world) == 0)
    #expect(try Self.holders("n", world) == 3)
  }

  @Test func `a replica that is away holds reaping up`() throws {
    let world = try Self.world()
    try world.put("a", "v", at: 0)
    try Self.delete("a", world, at: 0)
    try world.close(2)
    try world.beat(80)
    #expect(try Self.holders("a", world) == 2)
    // However long it was away, it comes back as it was.
    try world.restart(2)
    #expect(try Self.holders("a", world) == 3)
    try world.beat(10)
    #expect(try Self.holders("a", world) == 0)
  }

  @Test func `what a replica answers: nothing, the same, or something else`() throws {
    let world = try Self.world()
    let (keyspace, key) = (try world[1].keyspace("k"), Array("a".utf8))
    let partition = try keyspace.partition(of: key)
    try world.put("a", "v", at: 0)
    let value = try #require(try world.held("a", at: 1))
    try Self.delete("a", world, at: 0)
    let tombstone = try #require(try world.held("a", at: 1))
    func verdict(_ record: Record, horizon: UInt64 = 0) throws -> [UInt8] {
      let message = ReapMessage(
        MessageHead(keyspace, world[1].view.print(of: partition)), partition: partition,
        asked: try world[0].core.shared.clock.now(), horizon: horizon, seed: 9,
        keys: [HashedKey(key: key, hash: KeyspaceCore.reapingHash(record, 9)), HashedKey(key: [0], hash: 1)])
      let found = Guarded<[UInt8]?>(nil)
      try world[1].answerReaping(message.encoded()) { result in
        found.withLock { $0 = try? result.get() }
      }
      return try #require(found.withLock { $0 })
    }
    // Too young; old enough, if the other's horizon is no longer; another record.
    #expect(try verdict(tombstone) == [2, 0])
    world.time.advance(byNanoseconds: 50_000_000_000)
    #expect(try verdict(tombstone) == [1, 0])
    #expect(try verdict(tombstone, horizon: 60_000) == [2, 0])
    #expect(try verdict(value) == [2, 0])
    // Where a hint of the key is kept, it may yet be handed over.
    try world[1].hints.keep(
      for: world.id(2), keyspace: keyspace.schemaID, partition: partition, key, value,
      at: try world[1].core.shared.clock.now())
    #expect(try verdict(tombstone) == [2, 0])
  }

  @Test func `so many keys at a time, and no more`() throws {
    let world = try Self.world { $0.reapKeysAtOnce = 4 }
    let keys = (0..<12).map { "{t}\($0)" }
    for key in keys { try world.put(key, "v", at: 0) }
    for key in keys { try Self.delete(key, world, at: 0) }
    try world.beat(38)
    var left = 12
    for _ in 0..<5 {
      try world.beat()
      let now = try keys.count { try world.held($0, at: 0) != nil }
      #expect(left - now <= 4)
      left = now
    }
    try world.beat(40)
    #expect(try keys.allSatisfy { try Self.holders($0, world) == 0 })
  }

  @Test func `horizons that are too near are refused`() {
    func code(_ horizon: Duration) -> DatabaseError.Code? {
      ClusterTests.code { _ = try NodeWorld(1, replicas: 1) { $0.tombstoneHorizon = horizon } }
    }
    // Three hours of hints, two messages of 60 s, and 22 s of clocks.
    #expect(code(.seconds(3 * 3_600 + 120 + 21)) == .invalidOption)
    #expect(code(.seconds(3 * 3_600 + 120 + 22)) == nil)
    #expect(code(.seconds(-1)) == .invalidOption && code(.seconds(4_000 * 86_400)) == .invalidOption)
  }

  // MARK: - What never comes back

  @Test(arguments: [false, true])
  func `interleaving 7: a late hint, after all have reaped`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.lateStates] : [])
    try world.put("a", "v", at: 0)
    let late = try Self.message("a", world, from: 1)
    try Self.delete("a", world, at: 0)
    try world.beat(50)
    #expect(try Self.holders("a", world) == 0)
    let refused = code { try Self.deliver(late, world, to: 0) }
    #expect(refused == (isBroken ? nil : .invalidArgument))
    #expect(try world.values("a", at: 0, quorum: 3) == (isBroken ? ["v"] : []))
    if isBroken { return }
    #expect(world[0].figures.lateStates == 1)
    // Nor is it taken as a hint, nor handed over by who has kept one all the while.
    #expect(code { try world[0].takeHint(late.encoded()) { _ in } } == .invalidArgument)
    let keyspace = try world[1].keyspace("k")
    try world[1].hints.keep(
      for: world.id(0), keyspace: keyspace.schemaID, partition: try keyspace.partition(of: late.key),
      late.key, try #require(late.record), at: try world[1].core.shared.clock.now(), asOf: late.asOf)
    try world.beat(3)
    #expect(try Self.holders("a", world) == 0)
  }

  @Test(arguments: [false, true])
  func `what is younger than hints may be stays`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.age] : [])
    try world.put("a", "v", at: 0)
    let late = try Self.message("a", world, from: 1)
    try Self.delete("a", world, at: 0)
    try world.beat(4)
    try Self.deliver(late, world, to: 0)
    #expect(try world.values("a", at: 0, quorum: 3) == (isBroken ? ["v"] : []))
  }

  @Test(arguments: [false, true])
  func `a replica that has missed the delete, and is out of reach`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.allReplicas] : [])
    try world.put("a", "v", at: 0)
    world.cut(0, 2)
    world.cut(1, 2)
    try Self.delete("a", world, at: 0)
    try world.beat(70)
    #expect(try (world.held("a", at: 0) == nil) == isBroken)
    world.heal()
    for index in 0..<3 { try world.repair(at: index) }
    #expect(try world.values("a", at: 0, quorum: 3) == (isBroken ? ["v"] : []))
  }

  @Test(arguments: [false, true])
  func `a replica that has missed the delete, and is there`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.sameRecord] : [])
    try world.put("a", "v", at: 0)
    world.cut(0, 2)
    world.cut(1, 2)
    try Self.delete("a", world, at: 0)
    // Until the hint for it is too old.
    try world.beat(10)
    world.heal()
    try world.beat(60)
    #expect(try (world.held("a", at: 0) == nil) == isBroken)
    for index in 0..<3 { try world.repair(at: index) }
    #expect(try world.values("a", at: 0, quorum: 3) == (isBroken ? ["v"] : []))
    if isBroken { return }
    #expect((0..<3).contains { world[$0].figures.reapsPutOff > 0 })
    try world.beat(60)
    #expect(try Self.holders("a", world) == 0)
  }

  @Test(arguments: [false, true])
  func `a disk that goes back to before the delete`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.rolledBackDisk] : [])
    try world.put("a", "v", at: 0, quorum: 3)
    let old = world.snapshot(2)
    try world.beat(2)
    try Self.delete("a", world, at: 0)
    try world.beat(60)
    #expect(try Self.holders("a", world) == 0)
    world.rollBack(2, to: old)
    #expect(code { try world.restart(2) } == (isBroken ? nil : .notAMember))
    guard isBroken else { return }
    try world.repair(at: 2)
    #expect(try world.values("a", at: 0) == ["v"])
  }

  @Test func `stores that were merely down or killed are let in`() throws {
    let world = try Self.world()
    for round in 0..<4 {
      try world.put("a", "v\(round)", at: 0, isSynced: true)
      try Self.delete("a", world, at: 1)
      // A crash may have brought an old tombstone back to one of them, so that contexts differ.
      for index in 0..<3 { try world.repair(at: index) }
      try world.beat(48)
      #expect(try Self.holders("a", world) == 0)
      world.crash(round % 3, seed: UInt64(round))
      try world.restart(round % 3)
      try world.beat(2)
      try world.close((round + 1) % 3)
      try world.beat(100)
      try world.restart((round + 1) % 3)
      try world.beat(2)
    }
  }

  @Test(arguments: [false, true])
  func `an order that was lost: the tombstone is pushed to nobody, and goes later`(isBroken: Bool) throws {
    let world = try Self.world(breaking: isBroken ? [.noPushes] : [])
    try world.put("a", "v", at: 0)
    try Self.delete("a", world, at: 0)
    world.time.advance(byNanoseconds: 55_000_000_000)
    let key = Array("a".utf8)
    for index in 1..<3 {
      let keyspace = try world[index].keyspace("k")
      let record = try #require(try keyspace.held(key))
      #expect(
        try keyspace.reap(
          HashedKey(key: key, hash: KeyspaceCore.reapingHash(record, 5)), of: try keyspace.partition(of: key),
          on: world[index].local, seed: 5, before: try world[index].core.shared.clock.now()))
    }
    for index in 0..<3 { #expect(try world.get("a", at: index, quorum: 3).record?.siblings.isEmpty != false) }
    for index in 0..<3 { try world.repair(at: index) }
    #expect(try (world.held("a", at: 1) != nil) == isBroken)
    if isBroken { return }
    #expect(try Self.holders("a", world) == 1)
    try world.beat(15)
    #expect(try Self.holders("a", world) == 0)
  }

  @Test func `a young tombstone is brought to those that have nothing`() throws {
    let world = try Self.world()
    world.cut(0, 2)
    world.cut(1, 2)
    try world.put("a", "v", at: 0)
    try Self.delete("a", world, at: 0)
    try world.beat(10)
    world.heal()
    #expect(try world.held("a", at: 2) == nil)
    try world.repair(at: 0)
    #expect(try world.held("a", at: 2)?.isTombstone == true)
  }

  // MARK: - At random

  /// Deletes that were acknowledged stay, whatever becomes of their tombstones.
  @Test func `deleted values never come back`() throws {
    var reaped: UInt64 = 0
    try withSeeds("deleted values never come back", count: 3) { _, random in
      reaped += try Self.run(&random)
    }
    #expect(reaped > 0)
  }

  /// - Returns: how many records have gone.
  private static func run(_ random: inout SplitMix64) throws -> UInt64 {
    let world = try world { $0.repairInterval = .seconds(60) }
    let keys = ["a", "b", "{t}c", "{t}d"]
    var live: [String: Set<String>] = [:]
    var gone: [String: Set<String>] = [:]
    func check(_ key: String, at index: Int) throws {
      guard let values = try? world.values(key, at: index) else { return }
      try #require(gone[key, default: []].isDisjoint(with: values), "\(key): \(values)")
    }
    for step in 0..<150 {
      let key = keys[random.below(keys.count)]
      let index = world.running[random.below(world.running.count)]
      switch random.below(20) {
      case 0..<6:
        let value = "\(step)"
        if (try? world.put(key, value, at: index)) != nil { live[key, default: []].insert(value) }
      case 6..<12:
        let known = live[key, default: []]
        if (try? delete(key, world, at: index)) != nil {
          gone[key, default: []].formUnion(known)
          live[key] = []
        }
      case 12..<16: try check(key, at: index)
      case 16: world.cut(index, (index + 1) % 3)
      case 17: world.heal()
      default:
        if world.running.count == 3 {
          try world.close(index)
        } else {
          for other in 0..<3 where !world.running.contains(other) { try world.restart(other) }
        }
      }
      try world.beat(random.below(8))
    }
    world.heal()
    for index in 0..<3 where !world.running.contains(index) { try world.restart(index) }
    for _ in 0..<2 {
      try world.beat(70)
      for key in keys { for index in 0..<3 { try check(key, at: index) } }
    }
    return (0..<3).reduce(0) { $0 + world[$1].figures.reaped }
  }
}
