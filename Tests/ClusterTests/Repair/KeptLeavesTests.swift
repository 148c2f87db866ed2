import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// The leaves that writes keep are those that the records make: after whatever is done to records, to the
/// disk and to the leaves themselves.
// Budget: 10 s
@Suite struct KeptLeavesTests {
  // MARK: - One store

  @Test func `leaves are made by the first comparison, and kept from then on`() throws {
    let store = try LeafStore(SimulatedEnvironment().environment)
    for number in 0..<50 { try store.put("k\(number)", "v") }
    #expect(try store.check("new") == 0)
    for partition in 0..<LeafStore.partitions {
      let first = try store.compared(partition)
      #expect(first.isScanned && first.wrongLeaves == 0)
      let second = try store.compared(partition)
      #expect(!second.isScanned && second.tree == first.tree && second.tree.keyCount > 0)
    }
    try store.put("k1", "w")
    try store.put("new", "v")
    try store.change("n", .increment(1))
    #expect(try store.check("written") == LeafStore.partitions)
    let keys = try (0..<LeafStore.partitions).reduce(0) { try $0 + store.compared($1).tree.keyCount }
    #expect(keys == 52)
  }

  /// Leaves are what is missing from them and what was written since: so they may begin at any time.
  @Test func `whatever is done to records is done to their leaves`() throws {
    try withSeeds("keptLeaves", count: TestSize.of(quick: 12, full: 200)) { seed, random in
      let world = SimulatedEnvironment(seed: seed)
      let store = try LeafStore(world.environment)
      var others = RandomRecords(replicas: 3)
      for step in 0..<120 {
        let key = "k\(random.below(30))"
        let bytes = Array(key.utf8)
        let span = unsafe bytes.span.bytes
        switch random.below(11) {
        case 0, 1: try store.put(key, "v\(step)")
        case 2:
          let context = store.keyspace.context(span, try store.keyspace.record(span))
          try store.put(key, "w\(step)", context: context)
        case 3:
          let timeToLive = Duration.milliseconds(100)
          _ = try store.keyspace.put(span, [1], context: nil, timeToLive: timeToLive)
        case 4: _ = try store.keyspace.delete(span, context: nil, isConditional: false)
        case 5:
          // A state of its own for each kind of key: one kind a key.
          try store.change("c\(random.below(5))", .increment(3))
          try store.change("s\(random.below(5))", .insert([[UInt8(random.below(4))]]))
          try store.change("s\(random.below(5))", .remove([[UInt8(random.below(4))]]))
        case 6, 7:
          for _ in 0..<4 { try others.step(&random) }
          _ = try unsafe store.keyspace.join(Array("j\(random.below(8))".utf8).span.bytes, others.records[0])
        case 8: try erase(key, store)
        case 9: world.time.advance(byNanoseconds: 60_000_000)
        default:
          try store.compared(random.below(LeafStore.partitions), seed: random.below(2) == 0 ? 7 : nil)
        }
        if step % 8 == 0 { try store.check("seed \(seed), step \(step)") }
      }
      try store.makeAll()
      let whole = try store.check("seed \(seed), the end")
      try #require(whole == LeafStore.partitions)
      for partition in 0..<LeafStore.partitions {
        let made = try store.compared(partition, seed: 9)
        try #require(made.isScanned && made.wrongLeaves == 0, "seed \(seed)")
      }
    }
  }

  /// As a reaping does.
  private func erase(_ key: String, _ store: LeafStore) throws {
    let bytes = Array(key.utf8)
    let partition = try store.keyspace.partition(of: bytes)
    let storedKey = StoredKey.make(partition, bytes)
    guard let old = try store.part.load(storedKey) else { return }
    let stripe = store.keyspace.shared.locks[unsafe Placement.hash(bytes.span.bytes)]
    try stripe.lock.withLock { try store.part.erase(stripe, partition, storedKey, old, store.keyspace) }
  }

  @Test func `a loss of power anywhere leaves records and leaves of one moment`() throws {
    try withSeeds("leavesAndPower", count: TestSize.of(quick: 3, full: 30)) { seed, random in
      var world = SimulatedEnvironment(seed: seed)
      var most = 0
      for round in 0..<12 {
        let store = try LeafStore(world.environment)
        most = max(most, try store.check("seed \(seed), round \(round)"))
        if round == 1 {
          try store.makeAll()
          try store.member.store.sync()
        }
        for step in 0..<random.below(40) {
          try store.put("k\(random.below(40))", String(repeating: "v", count: random.below(2_000)))
          if step % 10 == 3 { try store.member.store.sync() }
          if step % 17 == 5 { try store.member.store.flush() }
          if step % 13 == 7 { try store.compared(random.below(LeafStore.partitions)) }
        }
        world = world.crashed(.random, seed: random.next())
      }
      try #require(most == LeafStore.partitions, "seed \(seed): no leaves came through")
    }
  }

  /// What a crash leaves before each of the disk's operations.
  @Test func `no operation of the disk parts a record from its leaf`() throws {
    let world = SimulatedEnvironment(seed: 5)
    let clones = Guarded<[SimulatedFileSystem]>([])
    let store = try LeafStore(world.environment)
    let (fileSystem, stride) = (world.fileSystem, TestSize.of(quick: 5, full: 1))
    let count = Guarded(0)
    fileSystem.onOperation { operation in
      guard operation.changesDisk else { return }
      let number = count.withLock { count in
        count += 1
        return count
      }
      guard number % stride == 0 else { return }
      clones.withLock { $0.append(fileSystem.crashClone(.random, seed: UInt64(number))) }
    }
    for step in 0..<60 {
      try store.put("k\(step % 25)", String(repeating: "v", count: 500))
      if step == 10 { try store.makeAll() }
      if step % 6 == 2 { try store.member.store.sync() }
      if step % 20 == 15 { try store.member.store.flush() }
      if step == 40 { try store.core.deletePartition(0, in: store.member.store, [store.keyspace]) }
    }
    try store.core.close()
    fileSystem.onOperation(nil)
    let all = clones.withLock { $0 }
    #expect(all.count > 5)
    for (number, clone) in all.enumerated() {
      let crashed = SimulatedEnvironment(seed: 6, fileSystem: clone)
      try LeafStore(crashed.environment).check("crash \(number)")
    }
  }

  @Test func `a partition that is deleted takes its leaves along, and a check under way with it`() throws {
    let store = try LeafStore(SimulatedEnvironment().environment)
    for number in 0..<40 { try store.put("k\(number)", "v") }
    try store.makeAll()
    // A check that found something missing before the partition was deleted, and comes to write it after.
    let claim = try #require(store.leaves.claim(1))
    #expect(store.leaves.claim(1) == nil && store.leaves.claim(2) != nil)
    try store.core.deletePartition(1, in: store.member.store, [store.keyspace])
    #expect(try !store.leaves.mend(1, [(leaf: 3, by: TreeLeaf(hash: 1, keys: 1))], claim))
    let kept = try store.leaves.read(1)
    #expect(!kept.isWhole && kept.tree == HashTree())
    store.leaves.release(1, claim)
    let again = try #require(store.leaves.claim(1))
    store.leaves.block(1)
    #expect(store.leaves.claim(1) == nil)
    store.leaves.unblock(1)
    store.leaves.release(1, again)
    #expect(try store.compared(1).isScanned && !store.compared(1).isScanned)
    #expect(try store.check("deleted") == LeafStore.partitions)
  }

  @Test func `without its cluster a store keeps no leaves, and has them made anew after`() throws {
    let world = SimulatedEnvironment(seed: 3)
    var store: LeafStore? = try LeafStore(world.environment)
    for number in 0..<20 { try store?.put("k\(number)", "v") }
    try store?.makeAll()
    try store?.core.close()
    store = nil
    var options = NodeWorld.options
    options.allowsMissingStores = true
    let alone = try DatabaseOpening.open(["/disk/db"], options, world.environment)
    let member = alone.presentMembers[0]
    #expect(!member.store.treeNames.contains { $0.hasPrefix(KeyspaceCore.leafTrees) })
    let keyspace = try alone.keyspace("k", nil)
    #expect(keyspace.parts[member.slot]?.leaves == nil)
    _ = try unsafe keyspace.put(Array("k3".utf8).span.bytes, [1], context: nil)
    try alone.close()
    let back = try LeafStore(world.environment)
    #expect(try back.check("back") == 0)
    try back.makeAll()
    #expect(try back.check("made") == LeafStore.partitions)
  }

  // MARK: - Leaves that are wrong

  @Test func `wrong leaves are found by the records, told of and mended`() throws {
    let warnings = Guarded<[String]>([])
    let store = try LeafStore(SimulatedEnvironment().environment) { text in
      warnings.withLock { $0.append(text) }
    }
    for number in 0..<40 { try store.put("k\(number)", "v") }
    try store.makeAll()
    try store.spoil("k7")
    let partition = try store.keyspace.partition(of: Array("k7".utf8))
    let before = try store.compared(partition)
    #expect(!before.isScanned)
    // Somebody else is at it: the tree is made, and no leaf touched.
    let claim = try #require(store.leaves.claim(partition))
    #expect(try store.compared(partition, seed: 5).wrongLeaves == 0)
    store.leaves.release(partition, claim)
    let full = try store.compared(partition, seed: 5)
    #expect(full.isScanned && full.wrongLeaves == 1)
    #expect(warnings.withLock { $0.count } == 1)
    #expect(try store.compared(partition).tree != before.tree)
    #expect(try store.compared(partition, seed: 5).wrongLeaves == 0)
    #expect(try store.check("mended") == LeafStore.partitions)
  }

  @Test func `a damaged leaf fails no write and no comparison`() throws {
    let store = try LeafStore(SimulatedEnvironment().environment)
    for number in 0..<40 { try store.put("k\(number)", "v") }
    try store.makeAll()
    let key = Array("k7".utf8)
    let partition = try store.keyspace.partition(of: key)
    let leaf = unsafe RecordHasher(seed: store.leaves.seed).leaf(of: key.span.bytes)
    func damage() throws {
      try store.leaves.tree.put(LeafKey.leaf(leaf, partition: partition).bytes, [1, 2, 3])
    }
    try damage()
    try store.put("k7", "w")
    #expect(try !store.leaves.read(partition).isWhole)
    #expect(try store.compared(partition).isScanned && !store.compared(partition).isScanned)
    try damage()
    #expect(try store.compared(partition).isScanned)
    #expect(try store.check("made anew") == LeafStore.partitions)
    // Another seed: of a database that this one was not, or of a later release.
    try store.leaves.tree.put(LeafKey.mark(partition: partition).bytes, LeafMark(seed: 1).encoded())
    #expect(try store.compared(partition).isScanned && !store.compared(partition).isScanned)
  }

  @Test func `a leaf that is damaged while it is checked is not marked as whole`() throws {
    let store = try LeafStore(SimulatedEnvironment().environment)
    for number in 0..<40 { try store.put("k\(number)", "v") }
    try store.makeAll()
    let key = Array("k7".utf8)
    let partition = try store.keyspace.partition(of: key)
    let leaf = unsafe RecordHasher(seed: store.leaves.seed).leaf(of: key.span.bytes)
    // A check that has found all as it should be, and comes to mark it after a write has met the damage.
    let claim = try #require(store.leaves.claim(partition))
    try store.leaves.tree.put(LeafKey.leaf(leaf, partition: partition).bytes, [1, 2, 3])
    try store.put("k7", "w")
    #expect(try !store.leaves.mend(partition, [], claim))
    store.leaves.release(partition, claim)
    #expect(try !store.leaves.read(partition).isWhole)
    #expect(try store.compared(partition).isScanned && !store.compared(partition).isScanned)
    #expect(try store.check("made anew") == LeafStore.partitions)
  }

  // MARK: - Format

  @Test func `the document's mark and leaf are those that are written`() throws {
    let mark = try FormatDocument.example("leaf-mark")
    let markKey = LeafKey.mark(partition: 5)
    #expect(markKey.bytes + LeafMark(seed: 6).encoded() == mark)
    #expect(LeafKey(Array(mark[..<3])) == markKey)
    #expect(try LeafMark(decoding: Array(mark[3...])) == LeafMark(seed: 6))
    let leaf = try FormatDocument.example("leaf")
    let (key, value) = (LeafKey.leaf(300, partition: 5), TreeLeaf(hash: 0x0102_0304_0506_0708, keys: 2))
    #expect(key.bytes + value.encoded() == leaf)
    #expect(LeafKey(Array(leaf[..<5])) == key)
    #expect(unsafe TreeLeaf(decoding: Array(leaf[5...]).span.bytes) == value)
    let none: [[UInt8]] = [
      [], [0, 5], [0, 5, 0, 0], [0, 5, 1], [0, 5, 1, 4, 0], [0, 5, 2], [0, 5, 1, 0, 0, 0],
    ]
    for bytes in none { #expect(LeafKey(bytes) == nil) }
    #expect(code { _ = try LeafMark(decoding: [2]) } == .newerFormat)
    #expect(code { _ = try LeafMark(decoding: Array(mark[3..<11])) } == .corruption)
    let store = try LeafStore(SimulatedEnvironment().environment)
    var identity = FieldWriter()
    for number in [store.core.id.high, store.core.id.low, 1] { identity.write(fixed: number) }
    #expect(store.leaves.seed == Checksum.xxh64(identity.bytes, seed: 1))
    #expect(store.leaves.tree.name == "leaves/k")
  }
}
