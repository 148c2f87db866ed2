import Testing

@testable import RoostStorage

#if canImport(Glibc)
  import Glibc
#endif

/// `Testing` has a `Tag` too.
typealias EntryTag = RoostStorage.Tag

/// A small seeded generator. The seed comes from ROOST_SEED, or is new each run; tests print it
/// when they fail.
struct SeededRandom: RandomNumberGenerator {
  let seed: UInt64
  private var state: UInt64

  init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  init() {
    var seed = UInt64.random(in: 0 ... .max)
    if let text = unsafe getenv("ROOST_SEED"), let given = UInt64(unsafe String(cString: text)) {
      seed = given
    }
    self.init(seed: seed)
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }

  /// What to add to an expectation's comment.
  var replay: Comment { "replay with ROOST_SEED=\(seed)" }
}

/// The memtable's contract done the slow way: a sorted array.
struct MemtableModel {
  struct Entry: Equatable {
    var key: [UInt8]
    var tag: UInt64
    var value: [UInt8]
  }

  var entries: [Entry] = []

  static func isBefore(_ a: [UInt8], _ aTag: UInt64, _ b: [UInt8], _ bTag: UInt64) -> Bool {
    if a == b { return aTag > bTag }
    return a.lexicographicallyPrecedes(b)
  }

  func lowerBound(_ key: [UInt8], _ tag: UInt64) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if MemtableModel.isBefore(entries[middle].key, entries[middle].tag, key, tag) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }

  mutating func insert(_ entry: Entry) {
    entries.insert(entry, at: lowerBound(entry.key, entry.tag))
  }

  func find(_ key: [UInt8], at sequence: UInt64) -> Entry? {
    let i = lowerBound(key, EntryTag.seek(sequence).word)
    return i < entries.count && entries[i].key == key ? entries[i] : nil
  }
}

extension Memtable {
  func insert(_ key: [UInt8], _ tag: EntryTag, _ value: [UInt8]) {
    key.withByteView { k in value.withByteView { insert(k, tag, $0) } }
  }
}

extension SourceCursor {
  var entry: MemtableModel.Entry? {
    isValid
      ? MemtableModel.Entry(key: key.array, tag: tag.word, value: value.array) : nil
  }
}
