import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Many trees walked as one, beside sorted lists of what was in them when the walk began.
// Budget: 3 s quick, 20 s full
@Suite struct CursorTournamentTests {
  struct Entry: Equatable {
    var key: [UInt8]
    var value: [UInt8]
  }

  /// Trees of a store, and what is in each, under keys of which the first two bytes do not count.
  struct Forest {
    let world: SimulatedStore
    let store: Store
    let trees: [Tree]
    let shared: [UInt8]
    var models: [[[UInt8]: [UInt8]]]

    init(_ world: SimulatedStore, _ random: inout SplitMix64) throws {
      // Without a cache nobody else holds a block that a cursor has left.
      self.world = world
      let cacheBytes = [0, 0, 1 << 20][random.below(3)]
      store = try world.open(.small { $0.blockCacheBytes = cacheBytes })
      let store = store
      trees = try (0..<(1 + random.below(9))).map { try store.tree("t\($0)") }
      shared = Array(["", "u:", "0123456789"][random.below(3)].utf8)
      models = trees.map { _ in [:] }
    }

    /// Many have the same eight bytes behind those that all share.
    func key(_ tree: Int, _ random: inout SplitMix64) -> [UInt8] {
      let parts = ["a", "b", "01234567", "\u{7F}"]
      var key = [0, UInt8(tree)] + shared
      for _ in 0...random.below(4) { key += Array(parts[random.below(parts.count)].utf8) }
      if random.below(3) == 0 { key.append(UInt8(random.below(2) * 0xFF)) }
      return key
    }

    /// Sizes on both sides of what a run takes.
    func value(_ random: inout SplitMix64) -> [UInt8] {
      switch random.below(20) {
      case 0: random.bytes(1_000 + random.below(50))
      case 1: random.bytes(3_000 + random.below(3_000))
      default: random.bytes(random.below(60))
      }
    }

    mutating func change(_ random: inout SplitMix64) throws {
      let tree = random.below(trees.count)
      let key = key(tree, &random)
      switch random.below(40) {
      case 0: try trees[tree].flush()
      case 1 where random.below(3) == 0: try trees[tree].compact()
      case 2:
        // Flushes and compactions that the store wants.
        for _ in 0..<random.below(4) { _ = world.workers.runOneHere() }
      case 3:
        let end = self.key(tree, &random)
        guard key.lexicographicallyPrecedes(end) else { return }
        try trees[tree].deleteRange(from: key, to: end)
        models[tree] = models[tree].filter {
          $0.key.lexicographicallyPrecedes(key) || !$0.key.lexicographicallyPrecedes(end)
        }
      case 4..<12:
        try trees[tree].delete(key)
        models[tree][key] = nil
      default:
        let value = value(&random)
        try trees[tree].put(key, value)
        models[tree][key] = value
      }
    }
  }

  @Test func `many trees show what their sorted lists do, whatever is written meanwhile`() throws {
    try withSeeds("CursorTournamentTests", count: TestSize.of(quick: 25, full: 300)) { seed, random in
      var forest = try Forest(SimulatedStore(seed: seed), &random)
      for _ in 0..<random.below(1_500) { try forest.change(&random) }
      for _ in 0..<3 { try Self.walk(&forest, &random) }
      try forest.store.close()
    }
  }

  private static func walk(_ forest: inout Forest, _ random: inout SplitMix64) throws {
    let isDescending = random.below(2) == 0
    var walk = CursorTournament(
      capacity: forest.trees.count + random.below(3), skippedBytes: 2,
      sharedBytes: random.below(forest.shared.count + 1), isDescending: isDescending)
    var expected: [Entry] = []
    for (index, tree) in forest.trees.enumerated() {
      let bounds = random.below(3) == 0 ? (forest.key(index, &random), forest.key(index, &random)) : nil
      let (lower, upper) = bounds ?? ([0, UInt8(index)] + forest.shared, [0, UInt8(index + 1)])
      try walk.add(tree, from: lower, to: upper)
      for (key, value) in forest.models[index]
      where !key.lexicographicallyPrecedes(lower) && key.lexicographicallyPrecedes(upper) {
        expected.append(Entry(key: Array(key[2...]), value: value + [UInt8(index)]))
      }
    }
    walk.start()
    // Equal keys in the order of their trees, whose number is the value's last byte for now.
    expected.sort { a, b in
      if a.key == b.key { return a.value.last! < b.value.last! }
      return a.key.lexicographicallyPrecedes(b.key) != isDescending
    }
    for index in expected.indices { expected[index].value.removeLast() }

    var place = 0
    while walk.isPositioned {
      try #require(place < expected.count)
      switch random.below(3) {
      case 0:
        let entry = Entry(key: array(walk.key), value: array(walk.value))
        try #require(entry == expected[place])
        let isMore = try walk.next()
        place += 1
        try #require(isMore == walk.isPositioned)
      default:
        let bytes = GatheredBytes(capacity: 16 + random.below(1_000))
        let offset = random.below(3)
        var entries: [GatheredEntry] = []
        if random.below(4) == 0 {
          entries.append(walk.copy(to: bytes, valueFrom: offset))
          _ = try walk.next()
        }
        let limit = 1 + random.below(random.below(2) == 0 ? 5 : 200)
        let byteLimit = bytes.count + 1 + random.below(20_000)
        let before = entries.count
        if walk.isPositioned {
          try walk.take(limit, to: bytes, until: byteLimit, valueFrom: offset, &entries)
          try #require(entries.count > before && entries.count - before <= limit)
          try #require(entries[entries.count - 1].key < byteLimit)
          let isFull = entries.count - before == limit || bytes.count >= byteLimit
          try #require(isFull || !walk.isPositioned)
        }
        for entry in entries {
          try #require(place < expected.count)
          let wanted = expected[place]
          try #require(bytes.array(entry.key, entry.value) == wanted.key)
          try #require(bytes.array(entry.value, entry.end) == Array(wanted.value.dropFirst(offset)))
          place += 1
        }
      }
      if random.below(4) == 0 { try forest.change(&random) }
    }
    try #require(place == expected.count)
  }

  private static func array(_ span: RawSpan) -> [UInt8] {
    (0..<span.byteCount).map { unsafe span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
  }

  /// Reads all runs of a tree; gives the values' sizes, and the most that was held of left blocks.
  private static func runs(_ tree: Tree) throws -> (sizes: [Int], held: Int, heldBeside: Int) {
    let cursor = try tree.core.makeCursor(tree.store, KeyRange(), at: nil)
    var (sizes, held, beside) = ([Int](), 0, 0)
    guard try cursor.seekToFirst() else { return (sizes, held, beside) }
    let reader = RunReader(cursor, skippedBytes: 0, sharedBytes: 0, isDescending: false, longestRun: 32)
    while sizes.count < 10_000 {
      let run = try unsafe reader.read()
      if run.isEmpty { break }
      for index in run.indices {
        let entry = unsafe run[index]
        sizes.append(entry.value.count)
        #expect(entry.value.array.allSatisfy { $0 == UInt8(ascii: "v") })
      }
      held = max(held, reader.left.byteCount)
      beside = max(beside, reader.left.byteCount / run.count)
    }
    return (sizes, held, beside)
  }

  private static func options() -> StoreOptions {
    .small {
      $0.blockCacheBytes = 0
      $0.memtableBytes = 4 << 20
    }
  }

  @Test func `a run holds no blocks of what it passes over`() throws {
    let store = try SimulatedStore().open(Self.options())
    let tree = try store.tree("t")
    let value = [UInt8](repeating: UInt8(ascii: "v"), count: 900)
    for number in 1_000..<1_600 { try tree.put("k\(number)", value) }
    try tree.compact()
    #expect(try Self.runs(tree).sizes == Array(repeating: 900, count: 600))
    for number in 1_000..<1_600 where number % 100 != 0 { try tree.delete("k\(number)") }
    for inMemory in [true, false] {
      if !inMemory { try tree.flush() }
      let (sizes, _, heldBeside) = try Self.runs(tree)
      #expect(sizes == Array(repeating: 900, count: 6))
      // At most two blocks with each entry, one of the deletions'. All that is passed over is 500 KiB.
      #expect(heldBeside < 12_000)
    }
    try store.close()
  }

  @Test func `a run ends where the blocks that it holds take too much`() throws {
    let store = try SimulatedStore().open(
      .small {
        $0.blockCacheBytes = 0
        $0.memtableBytes = 8 << 20
      })
    var options = TreeOptions()
    options.blockBytes = 64 << 10
    let tree = try store.tree("t", options)
    let value = [UInt8](repeating: UInt8(ascii: "v"), count: 900)
    for number in 1_000..<5_000 { try tree.put("k\(number)", value) }
    try tree.flush()
    // One of each block stays.
    for number in 1_000..<5_000 where number % 72 != 0 { try tree.delete("k\(number)") }
    let (sizes, held, _) = try Self.runs(tree)
    #expect(sizes == Array(repeating: 900, count: 56))
    // One of 32 entries would hold 2 MiB.
    #expect(held > 64 << 10 && held < 256 << 10, "\(held) bytes")
    try store.close()
  }

  @Test func `short copies take their bytes and nothing beside`() throws {
    try withSeeds("CursorTournamentTests/copies", count: 5) { _, random in
      for count in 0...80 {
        let source = random.bytes(count)
        var target = [UInt8](repeating: 0xAA, count: count + 2)
        source.withByteView { view in
          unsafe target.withUnsafeMutableBytes { bytes in
            unsafe view.copyShort(to: bytes.baseAddress! + 1)
          }
        }
        try #require(target == [0xAA] + source + [0xAA])
        var buffer = ByteBuffer(capacity: 16)
        buffer.append(UInt8(7))
        let view = buffer.appendAndView(source.withByteView { $0 })
        try #require(view.array == source && buffer.view.array == [7] + source)
      }
    }
  }
}
