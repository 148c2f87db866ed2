import Synchronization
import Testing

@testable import RoostStorage

// Budget: 5 s. Run with `-c release --sanitize=thread` too: without optimisation the sanitizer does
// not see the loads and stores through raw pointers.
@Suite(.serialized) struct MemtableConcurrencyTests {
  /// Key of the i-th insert: scattered, and of three kinds so that heads tie and prefixes are used.
  static func key(_ i: Int) -> [UInt8] {
    let scattered = UInt64(i) &* 0x9E37_79B9_7F4A_7C15
    let number = (0..<8).map { UInt8(truncatingIfNeeded: scattered >> UInt64(56 - 8 * $0)) }
    switch i % 4 {
    case 0: return Array("one long prefix/".utf8) + number
    case 1: return number
    case 2:
      return Array("rising/".utf8) + (0..<4).map { UInt8(truncatingIfNeeded: i >> (24 - 8 * $0)) }
    // One key again and again.
    default: return [0x6F]
    }
  }

  /// A value from which its insert can be told.
  static func value(_ i: Int) -> [UInt8] {
    (0..<8 + i % 40).map { UInt8(truncatingIfNeeded: i >> (8 * ($0 % 4))) ^ UInt8($0) }
  }

  /// With prefixes, the numbers among the keys begin trees all the time, and the keys of one byte
  /// stand among those of two prefixes.
  @Test(arguments: [0, 1, 2])
  func `readers beside a writer see all that was published, whole and in order`(
    _ prefixLength: Int
  ) {
    let total = prefixLength == 0 ? 60_000 : 30_000
    let memtable = Memtable(prefixLength: prefixLength)
    let visible = Visible()
    let reads = Visible()
    let faults = Faults()
    runThreads(4) { thread in
      if thread == 0 {
        for i in 1...total {
          memtable.insert(
            MemtableConcurrencyTests.key(i), EntryTag(sequence: UInt64(i), .put),
            MemtableConcurrencyTests.value(i))
          visible.sequence.store(i, ordering: .releasing)
        }
        return
      }
      var random = SeededRandom(seed: UInt64(thread))
      let cursor = memtable.makeCursor()
      while true {
        let sequence = visible.sequence.load(ordering: .acquiring)
        if sequence == 0 { continue }
        reads.sequence.wrappingAdd(1, ordering: .relaxed)
        // A point that must be there.
        let i = 1 + random.below(sequence)
        let key = MemtableConcurrencyTests.key(i)
        key.withByteView { key in
          switch memtable.get(key, at: UInt64(i)) {
          case .value(let value, let tag):
            faults.check(tag.sequence == UInt64(i))
            faults.check(value.array == MemtableConcurrencyTests.value(i))
          default: faults.check(false)
          }
          switch memtable.get(key, at: UInt64(sequence)) {
          case .value(let value, let tag):
            faults.check(tag.sequence >= UInt64(i) && tag.sequence <= UInt64(sequence))
            faults.check(value.array == MemtableConcurrencyTests.value(Int(tag.sequence)))
          default: faults.check(false)
          }
          cursor.seek(key, EntryTag(sequence: UInt64(i), .put))
          faults.check(cursor.isValid && cursor.tag.sequence == UInt64(i))
        }
        // What the writer is at this moment inserting is there whole, or not yet.
        for ahead in 1...20 {
          let i = min(visible.sequence.load(ordering: .relaxed) + ahead % 3, total)
          MemtableConcurrencyTests.key(i).withByteView { key in
            if case .value(let value, let tag) = memtable.get(key, at: EntryTag.maxSequence) {
              faults.check(value.array == MemtableConcurrencyTests.value(Int(tag.sequence)))
            } else {
              faults.check(i > sequence)
            }
          }
        }
        // A walk: strictly ordered, each entry whole.
        let goesForward = random.below(2) == 0
        for _ in 0..<30 {
          guard cursor.isValid else { break }
          let lastKey = cursor.key
          let lastTag = cursor.tag.word
          faults.check(
            cursor.value.array == MemtableConcurrencyTests.value(Int(cursor.tag.sequence)))
          if goesForward { cursor.next() } else { cursor.previous() }
          guard cursor.isValid else { break }
          let order = lastKey.compare(cursor.key)
          let rises = order < 0 || order == 0 && lastTag > cursor.tag.word
          let falls = order > 0 || order == 0 && lastTag < cursor.tag.word
          faults.check(goesForward ? rises : falls)
        }
        // Now and then the whole: none that was published before is missing.
        if random.below(400) == 0 {
          var count = 0
          cursor.seekToFirst()
          while cursor.isValid {
            if cursor.tag.sequence <= UInt64(sequence) { count += 1 }
            cursor.next()
          }
          faults.check(count == sequence)
          count = 0
          cursor.seekToLast()
          while cursor.isValid {
            if cursor.tag.sequence <= UInt64(sequence) { count += 1 }
            cursor.previous()
          }
          faults.check(count == sequence)
        }
        if sequence == total { break }
      }
    }
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
    #expect(reads.sequence.load(ordering: .relaxed) >= 3)
    #expect(memtable.entryCount == total)
  }

  /// Shared by reference, because an atomic cannot be captured.
  final class Visible: Sendable {
    let sequence = Atomic<Int>(0)
  }

  @Test func `range tombstones are seen once published`() {
    let memtable = Memtable()
    let visible = Visible()
    let faults = Faults()
    let total = 300
    @Sendable func bytes(_ i: Int) -> [UInt8] { [UInt8(i >> 8), UInt8(i & 255)] }
    runThreads(3) { thread in
      if thread == 0 {
        for i in 1...total {
          bytes(i).withByteView { from in
            bytes(i + 3).withByteView {
              memtable.insertRangeTombstone(from: from, to: $0, sequence: UInt64(i))
            }
          }
          visible.sequence.store(i, ordering: .releasing)
        }
        return
      }
      while true {
        let sequence = visible.sequence.load(ordering: .acquiring)
        guard sequence > 0 else { continue }
        if let list = memtable.rangeTombstones() {
          bytes(sequence + 1).withByteView {
            faults.check(
              list.newestSequence(covering: $0, at: UInt64(sequence)) == UInt64(sequence))
          }
        } else {
          faults.check(false)
        }
        if sequence == total { break }
      }
    }
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
  }
}
