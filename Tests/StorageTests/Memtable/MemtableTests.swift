import Testing

@testable import RoostStorage

// Budget: 10 s
@Suite struct MemtableTests {
  /// Kinds of keys that stress different parts of the order and of the tree.
  enum Keys: CaseIterable {
    case anyLength, sameHead, prefixes, zeros, long, ascending, descending, oneKey, streams,
      ascendingSameHead

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
      }
    }
  }

  @Test(arguments: Keys.allCases)
  func `answers as a sorted array does`(_ keys: Keys) throws {
    var random = SeededRandom()
    let memtable = Memtable()
    var model = MemtableModel()
    let steps = keys == .long ? 150 : 4000
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
    for _ in 0..<(keys == .long ? 100 : 2000) {
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

  @Test func `an empty memtable holds nothing`() {
    let memtable = Memtable()
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
  @Test(arguments: [Keys.anyLength, .sameHead, .zeros, .streams, .descending])
  func `a cursor shows all older entries while newer ones come in`(_ keys: Keys) throws {
    var random = SeededRandom()
    let memtable = Memtable()
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
    for _ in 0..<60 {
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
