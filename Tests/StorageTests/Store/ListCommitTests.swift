import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// The commit of a few listed operations, held against a batch that says the same. Crashes, full disks and
/// failed syncs meet it in `CrashTests` and `StoreFaultTests`.
// Budget: 5 s
@Suite struct ListCommitTests {
  /// One write of a record and what is kept of it elsewhere.
  private struct Write {
    var key: [UInt8]
    var value: [UInt8]
    var tree = 0
    var otherKey: [UInt8]
    var otherValue: [UInt8]
    var replaced: [UInt8]?
    var other = 1

    init(
      _ key: String, _ value: String, _ otherKey: String, _ otherValue: String, replaced: String? = nil
    ) {
      self.key = Array(key.utf8)
      self.value = Array(value.utf8)
      self.otherKey = Array(otherKey.utf8)
      self.otherValue = Array(otherValue.utf8)
      self.replaced = replaced.map { Array($0.utf8) }
    }

    init(_ random: inout SplitMix64) {
      key = Self.key(&random)
      value = random.bytes(random.below(random.below(20) == 0 ? 5_000 : 100))
      tree = random.below(3)
      otherKey = Self.key(&random)
      otherValue = random.bytes(random.below(100))
      replaced = random.below(3) > 0 ? Self.key(&random) : nil
      other = random.below(3)
    }

    private static func key(_ random: inout SplitMix64) -> [UInt8] {
      [UInt8](repeating: 7, count: 1 + random.below(4)) + [UInt8(random.below(20))]
    }

    func list(_ store: Store, _ trees: [Tree]) throws {
      try store.commit(
        putting: key, value, in: trees[tree], andPutting: otherKey, otherValue, replacing: replaced,
        in: trees[other])
    }

    func batch(_ store: Store, _ trees: [Tree]) throws {
      var batch = WriteBatch()
      batch.put(key, value, in: trees[tree])
      if let replaced { batch.deleteLate(replaced, in: trees[other]) }
      batch.put(otherKey, otherValue, in: trees[other])
      try store.commit(batch, .applied)
    }
  }

  private func trees(_ store: Store) throws -> [Tree] { try ["a", "b", "c"].map { try store.tree($0) } }

  /// What `body` makes of a store that gets these writes, as lists or as batches.
  private func store<R>(
    seed: UInt64, _ options: StoreOptions, _ writes: [Write], asLists: Bool,
    _ body: (SimulatedStore, Store) throws -> R
  ) throws -> R {
    let world = SimulatedStore(seed: seed)
    let store = try world.open(options)
    let trees = try trees(store)
    for (number, write) in writes.enumerated() {
      if asLists { try write.list(store, trees) } else { try write.batch(store, trees) }
      if number % 50 == 0 { try store.sync() }
      if number % 7 == 0 { _ = world.workers.runOneHere() }
    }
    let count = writes.reduce(0) { $0 + ($1.replaced == nil ? 2 : 3) }
    #expect(store.statistics.lastSequence == UInt64(count))
    return try body(world, store)
  }

  /// All files are the same, the log's records among them.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func `what is on disk is what a batch leaves, byte for byte`(_ access: StoreOptions.LogAccess) throws {
    let name = "StorageTests.ListCommitTests/bytes"
    try withSeeds(name, count: TestSize.of(quick: 10, full: 200)) { seed, random in
      let writes = (0..<60).map { _ in Write(&random) }
      let files = try [true, false].map { asLists in
        try store(seed: seed, .small { $0.logAccess = access }, writes, asLists: asLists) { world, _ in
          try world.fileSystem.tree(FilePath(SimulatedStore.path))
        }
      }
      try #require(Set(files[0].keys) == Set(files[1].keys))
      for (path, bytes) in files[0] { try #require(bytes == files[1][path], "\(path), seed \(seed)") }
    }
  }

  /// With memtables that fill, are flushed and compacted; and after a kill.
  @Test func `what is read is what a batch leaves`() throws {
    let name = "StorageTests.ListCommitTests/contents"
    try withSeeds(name, count: TestSize.of(quick: 4, full: 60)) { seed, random in
      let writes = (0..<500).map { _ in Write(&random) }
      func contents(_ store: Store) throws -> [[[UInt8]]] {
        // Late deletes are seen from then on.
        try store.flush()
        return try trees(store).map { tree in
          var entries: [[UInt8]] = []
          var cursor = try tree.cursor()
          while try cursor.next() { entries += [cursor.keyBytes, cursor.valueBytes] }
          return entries
        }
      }
      let found = try [true, false].map { asLists in
        try store(seed: seed, .small { $0.memtableBytes = 16 << 10 }, writes, asLists: asLists) {
          [try contents($1), try contents(try $0.killed().open())]
        }
      }
      try #require(found[0] == found[1] && found[0][0] == found[0][1], "seed \(seed)")
    }
  }

  @Test func `a later operation of a list decides`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let trees = try trees(store)
    var write = Write("k", "1", "k", "2", replaced: "k")
    write.other = 0
    try write.list(store, trees)
    #expect(try trees[0].text("k") == "2")
    for store in [store, try world.killed().open()] {
      #expect(try store.tree("a").text("k") == "2" && store.tree("a").keys() == ["k"])
    }
  }

  /// What is wrong with any of its operations is found before a byte of it is logged.
  @Test func `bad arguments are refused as a batch refuses them, and leave no trace`() throws {
    let long = String(repeating: "k", count: 65_536)
    var bad: [(String, Write)] = []
    for key in ["", long] {
      bad.append(("key of \(key.count)", Write(key, "v", "o", "v", replaced: "r")))
      bad.append(("other key of \(key.count)", Write("k", "v", key, "v", replaced: "r")))
      bad.append(("replaced key of \(key.count)", Write("k", "v", "o", "v", replaced: key)))
    }
    // Above an eighth of the memory budget, and two that are above a quarter together.
    let value = String(repeating: "v", count: 3 << 20)
    bad.append(("value", Write("k", value, "o", "v", replaced: "r")))
    bad.append(("other value", Write("k", "v", "o", value, replaced: "r")))
    let half = String(repeating: "v", count: 2 << 20)
    bad.append(("batch", Write("k", half, "o", half, replaced: "r")))
    for (what, write) in bad {
      let world = SimulatedStore()
      let store = try world.open()
      let trees = try trees(store)
      try trees[1].put("r", "before")
      let sequence = store.statistics.lastSequence
      world.fileSystem.recordsTrace = true
      let list = storeError { try write.list(store, trees) }
      #expect(world.fileSystem.trace == [], "\(what)")
      let batch = storeError { try write.batch(store, trees) }
      #expect(list != nil && list?.code == batch?.code, "\(what): \(String(describing: list))")
      #expect(list?.message == batch?.message, "\(what)")
      #expect(store.statistics.lastSequence == sequence)
      #expect(try trees[0].keys() == [] && trees[1].keys() == ["r"])
      try trees[0].put("k", "v")
    }
  }

  /// By length alone: the bytes are never looked at.
  @Test func `a value above its limit is too large, in both places`() throws {
    let store = try SimulatedStore().open()
    let trees = try trees(store)
    let start = unsafe UnsafeRawPointer(bitPattern: 8)!
    let large = unsafe RawSpan(_unsafeStart: start, byteCount: 1 << 30 + 1)
    let small: [UInt8] = [1]
    for isFirst in [true, false] {
      let error = storeError {
        try unsafe store.commit(
          putting: small.span.bytes, isFirst ? large : small.span.bytes, in: trees[0],
          andPutting: small.span.bytes, isFirst ? small.span.bytes : large, replacing: nil, in: trees[1])
      }
      #expect(error?.code == .tooLarge)
    }
    #expect(store.statistics.lastSequence == 0)
  }

  /// Rule 17: all of it is refused where a tree is gone, whichever it is.
  @Test(arguments: [0, 1]) func `a dropped tree takes nothing, and neither does the other`(gone: Int) throws {
    let world = SimulatedStore()
    let store = try world.open()
    let trees = try trees(store)
    try store.dropTree(["a", "b"][gone])
    let sequence = store.statistics.lastSequence
    let error = storeError { try Write("k", "v", "o", "v", replaced: "r").list(store, trees) }
    #expect(error?.code == .treeDropped)
    #expect(store.statistics.lastSequence == sequence)
    let left = ["b", "a"][gone]
    for store in [store, try world.killed().open()] { #expect(try store.tree(left).keys() == []) }
  }

  @Test func `after a failed sync it is refused, and what came before is whole or not there`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let trees = try trees(store)
    try Write("k", "v", "o1", "v").list(store, trees)
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    #expect(storeError { try store.sync() }?.code == .outcomeUnknown)
    let error = storeError { try Write("k", "w", "o2", "w", replaced: "o1").list(store, trees) }
    #expect(error?.code == .readOnly)
    #expect(try trees[0].text("k") == "v" && trees[1].keys() == ["o1"])
    for world in [world.crashed(.dropAll), world.crashed(.keepAll), world.killed()] {
      let again = try world.open()
      let (key, other) = (try again.tree("a").text("k"), try again.tree("b").keys())
      #expect((key == nil && other == []) || (key == "v" && other == ["o1"]), "\(key ?? "-"), \(other)")
    }
  }
}

extension Store {
  /// The same with keys and values as bytes.
  func commit(
    putting key: [UInt8], _ value: [UInt8], in tree: Tree, andPutting otherKey: [UInt8],
    _ otherValue: [UInt8], replacing replaced: [UInt8]?, in other: Tree
  ) throws(StoreError) {
    if let replaced {
      return try unsafe commit(
        putting: key.span.bytes, value.span.bytes, in: tree, andPutting: otherKey.span.bytes,
        otherValue.span.bytes, replacing: replaced.span.bytes, in: other)
    }
    try unsafe commit(
      putting: key.span.bytes, value.span.bytes, in: tree, andPutting: otherKey.span.bytes,
      otherValue.span.bytes, replacing: nil, in: other)
  }
}
