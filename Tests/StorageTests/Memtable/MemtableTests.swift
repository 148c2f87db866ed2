import Testing

@testable import RoostStorage

// Budget: 10 s
@Suite struct MemtableTests {
  /// Kinds of keys that stress different parts of the order and of the tree.
  enum Keys: CaseIterable {
    case anyLength, sameHead, prefixes, zeros, long, ascending, descending, oneKey, streams,
      ascendingSameHead, partitions, feeds, manyPrefixes

    func make(_ random: inout SeededRandom, _ i: Int) -> [UInt8] {
      func number(_ n: Int) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: n >> (56 - 8 * $0)) }
      }
      switch self {
      case .anyLength: return (0..<1 + random.below(40)).map { _ in UInt8(random.below(256)) }
      case .sameHead:
        return Array("same head: ".utf8)
          + (0..<random.below(14)).map { _ in UInt8(random.below(3)) }
      case .prefixes: return [UInt8](repeating: 7, count: 1 + random.below(300))
      case .zeros: return (0..<1 + random.below(12)).map { _ in random.below(4) == 0 ? 1 : 0 }
      case .long:
        var key = [UInt8](repeating: 9, count: 65_000 + random.below(536))
        key[random.below(key.count)] = UInt8(random.below(256))
        return key
      case .ascending: return number(i / 2)
      case .descending: return number(1_000_000 - i / 2)
      case .oneKey: return [42]
      case .streams: return [UInt8(i % 3)] + number(i)
      case .ascendingSameHead: return Array("customer/".utf8) + number(i)
      case .partitions:
        return [UInt8(random.below(2)), UInt8(random.below(3))]
          + (0..<random.below(12)).map { _ in UInt8(random.below(4)) }
      case .feeds: return [0, UInt8(random.below(8))] + (random.below(5) > 0 ? number(i) : number(i / 2))
      case .manyPrefixes:
        // Keys that are a prefix, or end before one does; the least and the greatest prefixes too.
        let first = [0, 0, 1, 0x7F, 0xFE, 0xFF, 0xFF][random.below(7)]
        let second = random.below(3) == 0 ? [0, 0x3E, 0x3F, 0x40, 0xFF][random.below(5)] : random.below(256)
        return Array(
          ([UInt8(first), UInt8(second)] + (0..<random.below(3)).map { _ in UInt8(random.below(3)) })
            .prefix(1 + random.below(5)))
      }
    }
  }

  @Test(arguments: Keys.allCases, [0, 1, 2])
  func `answers as a sorted array does`(_ keys: Keys, prefixLength: Int) throws {
    var random = SeededRandom()
    let memtable = Memtable(prefixLength: prefixLength)
    var model = MemtableModel()
    let steps = keys == .long ? 100 : prefixLength == 0 ? 4000 : 1500
    for i in 0..<steps {
      let key = keys.make(&random, i)
      let kind: EntryKind = random.below(4) == 0 ? .delete : .put
      let tag = EntryTag(sequence: UInt64(i + 1), kind)
      let value = kind == .put ? [UInt8](repeating: UInt8(i & 255), count: random.below(50)) : []
      memtable.insert(key, tag, value)
      model.insert(.init(key: key, tag: tag.word, value: value))

      // A key of the same kind, at any moment.
      let probe = random.below(2) == 0 ? key : keys.make(&random, random.below(i + 1))
      let sequence = UInt64(random.below(i + 3))
      let expected = model.find(probe, at: sequence)
      switch probe.withByteView({ memtable.get($0, at: sequence) }) {
      case .absent: #expect(expected == nil, random.replay)
      case .deleted(let tag):
        #expect(tag.isDelete && expected?.tag == tag.word, random.replay)
      case .value(let value, let tag):
        #expect(!tag.isDelete && expected?.tag == tag.word, random.replay)
        #expect(expected?.value == value.array, random.replay)
      }
    }
    #expect(memtable.entryCount == steps)
    try compare(memtable, model, random.replay)

    let cursor = memtable.makeCursor()
    for _ in 0..<(keys == .long ? 100 : steps / 2) {
      let probe = keys.make(&random, random.below(steps))
      let tag = EntryTag(word: UInt64(random.below(steps)) << 8 | UInt64(random.below(256)))
      let at = model.lowerBound(probe, tag.word)
      probe.withByteView { cursor.seek($0, tag) }
      #expect(cursor.entry == (at < model.entries.count ? model.entries[at] : nil), random.replay)
      if cursor.isValid, random.below(2) == 0 {
        cursor.previous()
        #expect(cursor.entry == (at > 0 ? model.entries[at - 1] : nil), random.replay)
      }
      let before = model.lowerBound(probe, .max)
      probe.withByteView { cursor.seekBefore($0) }
      #expect(cursor.entry == (before > 0 ? model.entries[before - 1] : nil), random.replay)
      if cursor.isValid, random.below(2) == 0 {
        cursor.next()
        #expect(
          cursor.entry == (before < model.entries.count ? model.entries[before] : nil),
          random.replay)
      }
    }
  }

  private func compare(_ memtable: Memtable, _ model: MemtableModel, _ replay: Comment) throws {
    let cursor = memtable.makeCursor()
    cursor.seekToFirst()
    for entry in model.entries {
      try #require(cursor.entry == entry, replay)
      cursor.next()
    }
    #expect(!cursor.isValid, replay)
    cursor.seekToLast()
    for entry in model.entries.reversed() {
      try #require(cursor.entry == entry, replay)
      cursor.previous()
    }
    #expect(!cursor.isValid, replay)
  }

  @Test(arguments: [0, 1, 2])
  func `an empty memtable holds nothing`(_ prefixLength: Int) {
    let memtable = Memtable(prefixLength: prefixLength)
    #expect(memtable.isEmpty && memtable.entryCount == 0 && memtable.rangeTombstones() == nil)
    #expect(memtable.smallestSequence == .max && memtable.largestSequence == 0)
    let cursor = memtable.makeCursor()
    cursor.seekToFirst()
    #expect(!cursor.isValid)
    cursor.seekToLast()
    #expect(!cursor.isValid)
    [1].withByteView { cursor.seek($0, EntryTag.seek(9)) }
    #expect(!cursor.isValid)
    [1].withByteView { cursor.seekBefore($0) }
    #expect(!cursor.isValid)
    if case .absent = ([1] as [UInt8]).withByteView({ memtable.get($0, at: 9) }) {
    } else {
      Issue.record()
    }
  }

  /// A cursor that walks while entries come in must show, in order, all that were there when it
  /// sought, whatever was split since.
  @Test(
    arguments: [Keys.anyLength, .sameHead, .zeros, .streams, .descending, .feeds, .manyPrefixes],
    [0, 1, 2])
  func `a cursor shows all older entries while newer ones come in`(
    _ keys: Keys, prefixLength: Int
  ) throws {
    var random = SeededRandom()
    let memtable = Memtable(prefixLength: prefixLength)
    var model = MemtableModel()
    var sequence: UInt64 = 0
    func add(_ n: Int) {
      for _ in 0..<n {
        sequence += 1
        let key = keys.make(&random, Int(sequence))
        let tag = EntryTag(sequence: sequence, .put)
        memtable.insert(key, tag, key)
        model.insert(.init(key: key, tag: tag.word, value: key))
      }
    }
    add(300)
    let cursor = memtable.makeCursor()
    for _ in 0..<(prefixLength == 0 ? 60 : 30) {
      // Load the sequence number, then seek: as a read does.
      let visible = sequence
      let seen = model.entries.filter { $0.tag >> 8 <= visible }
      func skipNewer(_ move: () -> Void) {
        while cursor.isValid, cursor.tag.sequence > visible { move() }
      }
      add(random.below(4))
      let from = random.below(seen.count)
      seen[from].key.withByteView { cursor.seek($0, EntryTag(word: seen[from].tag)) }
      skipNewer { cursor.next() }
      var at = from
      for _ in 0..<150 {
        try #require(cursor.entry == seen[at], random.replay)
        add(random.below(3))
        if random.below(3) > 0 {
          cursor.next()
          skipNewer { cursor.next() }
          at += 1
          if at == seen.count { try #require(!cursor.isValid, random.replay) }
        } else {
          cursor.previous()
          skipNewer { cursor.previous() }
          at -= 1
          if at < 0 { try #require(!cursor.isValid, random.replay) }
        }
        if at < 0 || at == seen.count { break }
      }
    }
    try compare(memtable, model, random.replay)
  }

  @Test func `charges what it takes`() {
    let memtable = Memtable()
    let first = memtable.chargedBytes
    #expect(first > 0 && first < 64 << 10)
    var random = SeededRandom()
    var stored = 0
    var last = first
    for i in 0..<20_000 {
      let key = (0..<16).map { _ in UInt8(random.below(256)) }
      let value = [UInt8](repeating: 1, count: 100)
      memtable.insert(key, EntryTag(sequence: UInt64(i), .put), value)
      stored += 116
      let charged = memtable.chargedBytes
      #expect(charged >= last && charged >= stored)
      last = charged
    }
    // Header and rounding 20 bytes, nodes at most 64, and a chunk of each arena not full.
    #expect(last < stored + 20_000 * 84 + (2 << 20))
    // A large value is charged as it is, not as a multiple.
    let key: [UInt8] = [1]
    memtable.insert(key, EntryTag(sequence: 1 << 30, .put), [UInt8](repeating: 3, count: 10 << 20))
    #expect(memtable.chargedBytes - last >= 10 << 20)
    #expect(memtable.chargedBytes - last < (10 << 20) + (2 << 20))
    #expect(memtable.largestSequence == 1 << 30 && memtable.smallestSequence == 0)
  }

  @Test func `ascending keys fill nodes`() {
    let memtable = Memtable()
    for i in 0..<30_000 {
      let key = (0..<8).map { UInt8(truncatingIfNeeded: i >> (56 - 8 * $0)) }
      memtable.insert(key, EntryTag(sequence: UInt64(i), .put), [])
    }
    // 24 bytes an entry, 256 a leaf of 15, and a chunk of each arena not full.
    #expect(memtable.chargedBytes < 30_000 * (24 + 19) + (1 << 20))
  }

  @Test(arguments: [1, 2])
  func `keys that ascend within each partition fill nodes`(_ prefixLength: Int) {
    let memtable = Memtable(prefixLength: prefixLength)
    var random = SeededRandom()
    for i in 0..<30_000 {
      let key = (0..<8).map { UInt8(truncatingIfNeeded: i >> (56 - 8 * $0)) }
      let partition = [UInt8](repeating: UInt8(random.below(64)), count: prefixLength)
      memtable.insert(partition + key, EntryTag(sequence: UInt64(i), .put), [])
    }
    // 32 bytes an entry, 256 a leaf of 15, 64 leaves begun, directories, and a chunk not full.
    #expect(memtable.chargedBytes < 30_000 * (32 + 19) + 64 * 256 + (1 << 20) + (512 << 10))
  }

  @Test func `an entry in each of many partitions takes a node and a place`() {
    let memtable = Memtable(prefixLength: 2)
    #expect(memtable.chargedBytes < 16 << 10)
    for partition in 0..<65_536 {
      let key = [UInt8(partition >> 8), UInt8(partition & 255), 1]
      memtable.insert(key, EntryTag(sequence: UInt64(partition), .put), [])
    }
    #expect(memtable.chargedBytes < 65_536 * (24 + 256 + 16) + (4 << 20))
    let cursor = memtable.makeCursor()
    var count = 0
    cursor.seekToFirst()
    while cursor.isValid {
      #expect(cursor.tag.sequence == UInt64(count))
      count += 1
      cursor.next()
    }
    #expect(count == 65_536)
  }

  /// What a store's cursor may be asked: no key is empty, but a bound may be.
  @Test(arguments: [0, 1, 2])
  func `an empty bound lies before all keys`(_ prefixLength: Int) {
    let memtable = Memtable(prefixLength: prefixLength)
    memtable.insert([0], EntryTag(sequence: 1, .put), [])
    memtable.insert([0, 0], EntryTag(sequence: 2, .put), [])
    let cursor = memtable.makeCursor()
    ByteView.empty.array.withByteView { cursor.seek($0, EntryTag.seek(9)) }
    #expect(cursor.entry?.key == [0])
    ByteView.empty.array.withByteView { cursor.seekBefore($0) }
    #expect(!cursor.isValid)
    if case .absent = memtable.get(.empty, at: 9) {} else { Issue.record() }
  }

  /// Two memtables one after the other, each of more than the pool keeps.
  @Test func `takes large pages from the pool and gives them back`() throws {
    let pool = LargePagePool(limit: 3)
    let value = [UInt8](repeating: 7, count: 200_000)
    func fill() -> Int {
      let memtable = Memtable(expectedBytes: Memtable.leastBytesInPages, pages: pool)
      for number in 0..<60 {
        memtable.insert([UInt8(number)], EntryTag(sequence: UInt64(number), .put), value)
      }
      #expect(pool.count == 0)
      for number in 0..<60 {
        guard case .value(let found, _) = memtable.get([UInt8(number)].withByteView { $0 }, at: 99)
        else {
          Issue.record("\(number) is absent")
          continue
        }
        #expect(found.array == value)
      }
      return memtable.chargedBytes
    }
    let first = fill()
    #expect(first > 8 << 20, "pages of more than the pool's limit")
    #expect(pool.count == 3, "the others went to the system")
    let second = fill()
    #expect(second == first && pool.count == 3)
    pool.drain()
    #expect(pool.count == 0)
  }

  @Test func `lists its range tombstones`() throws {
    let memtable = Memtable()
    func view<R>(_ text: String, _ body: (ByteView) -> R) -> R {
      Array(text.utf8).withByteView(body)
    }
    func add(_ a: String, _ b: String, _ sequence: UInt64) {
      view(a) { a in view(b) { memtable.insertRangeTombstone(from: a, to: $0, sequence: sequence) }
      }
    }
    let before = memtable.chargedBytes
    add("b", "f", 5)
    #expect(memtable.chargedBytes > before)
    #expect(memtable.rangeTombstoneCount == 1 && !memtable.isEmpty && memtable.entryCount == 0)
    let first = try #require(memtable.rangeTombstones())
    #expect(memtable.rangeTombstones() === first)
    add("d", "h", 9)
    let second = try #require(memtable.rangeTombstones())
    #expect(second !== first && second.count == 3 && first.count == 1)
    #expect(view("e") { second.newestSequence(covering: $0, at: 100) } == 9)
    #expect(view("e") { second.newestSequence(covering: $0, at: 8) } == 5)
    #expect(view("h") { second.newestSequence(covering: $0, at: 100) } == 0)
    #expect(memtable.smallestSequence == 5 && memtable.largestSequence == 9)
  }
}
