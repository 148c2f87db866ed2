import Testing

@testable import RoostStorage

// Budget: 5 s
@Suite struct RangeTombstoneTests {
  struct Raw {
    var start: [UInt8]
    var end: [UInt8]
    var sequence: UInt64
  }

  static func list(_ raws: [Raw]) -> RangeTombstoneList {
    var builder = RangeTombstoneBuilder()
    for raw in raws {
      raw.start.withByteView { start in
        raw.end.withByteView { builder.add(from: start, to: $0, sequence: raw.sequence) }
      }
    }
    return builder.build()
  }

  static func newest(_ raws: [Raw], _ key: [UInt8], _ snapshot: UInt64) -> UInt64 {
    raws.filter {
      $0.sequence <= snapshot && !key.lexicographicallyPrecedes($0.start)
        && key.lexicographicallyPrecedes($0.end)
    }.map(\.sequence).max() ?? 0
  }

  static func key(_ random: inout SeededRandom) -> [UInt8] {
    (0..<1 + random.below(3)).map { _ in UInt8(random.below(7)) }
  }

  static func raws(_ random: inout SeededRandom, _ n: Int) -> [Raw] {
    (0..<n).compactMap { i in
      let a = key(&random)
      let b = key(&random)
      if a == b { return nil }
      let isOrdered = a.lexicographicallyPrecedes(b)
      return Raw(start: isOrdered ? a : b, end: isOrdered ? b : a, sequence: UInt64(i + 1))
    }
  }

  /// All keys of up to three bytes that occur, in order.
  static let keys: [[UInt8]] = {
    var keys: [[UInt8]] = []
    for a in 0..<8 as Range<UInt8> {
      keys.append([a])
      for b in 0..<8 as Range<UInt8> {
        keys.append([a, b])
        for c in 0..<8 as Range<UInt8> { keys.append([a, b, c]) }
      }
    }
    return keys
  }()

  private func checkInvariants(_ list: RangeTombstoneList, _ replay: Comment) {
    var last: RangeTombstoneList.Fragment?
    for fragment in list.fragments {
      #expect(fragment.start < fragment.end, replay)
      let sequences = Array(list.sequences(of: fragment))
      #expect(!sequences.isEmpty && sequences == Array(Set(sequences)).sorted(by: >), replay)
      if let last {
        #expect(last.end <= fragment.start, replay)
        #expect(
          !(last.end == fragment.start) || Array(list.sequences(of: last)) != sequences, replay)
      }
      last = fragment
    }
  }

  @Test func `answers as a plain search does`() {
    var random = SeededRandom()
    for round in 0..<60 {
      let raws = RangeTombstoneTests.raws(&random, random.below(round + 2))
      let list = RangeTombstoneTests.list(raws)
      checkInvariants(list, random.replay)
      #expect(list.isEmpty == raws.isEmpty)
      var forward = RangeTombstoneList.Position()
      var backward = RangeTombstoneList.Position()
      var jumping = RangeTombstoneList.Position()
      let snapshot = UInt64(random.below(raws.count + 2))
      for key in RangeTombstoneTests.keys {
        let expected = RangeTombstoneTests.newest(raws, key, snapshot)
        key.withByteView {
          #expect(list.newestSequence(covering: $0, at: snapshot) == expected, random.replay)
          #expect(
            forward.newestSequence(covering: $0, at: snapshot, in: list) == expected,
            random.replay)
        }
        let jump = RangeTombstoneTests.keys[random.below(RangeTombstoneTests.keys.count)]
        let there = RangeTombstoneTests.newest(raws, jump, .max)
        jump.withByteView {
          let fragment = jumping.fragment(covering: $0, in: list)
          #expect(
            (fragment.map { list.newestSequence(of: $0, at: .max) } ?? 0) == there, random.replay)
        }
      }
      for key in RangeTombstoneTests.keys.reversed() {
        let expected = RangeTombstoneTests.newest(raws, key, snapshot)
        key.withByteView {
          #expect(
            backward.newestSequence(covering: $0, at: snapshot, in: list) == expected,
            random.replay)
        }
      }
    }
  }

  @Test func `clips, filters and merges`() {
    var random = SeededRandom()
    for _ in 0..<60 {
      let raws = RangeTombstoneTests.raws(&random, 1 + random.below(30))
      let list = RangeTombstoneTests.list(raws)
      let from = RangeTombstoneTests.key(&random)
      let to = RangeTombstoneTests.key(&random)
      let clipped = from.withByteView { from in to.withByteView { list.clipped(from: from, to: $0) }
      }
      let open = from.withByteView { list.clipped(from: $0, to: nil) }
      let odd = list.mapSequences { $0.filter { $0 % 2 == 1 } }
      let half = raws.count / 2
      let merged = RangeTombstoneList.merging([
        RangeTombstoneTests.list(Array(raws[half...])), .empty, clipped,
        RangeTombstoneTests.list(Array(raws[..<half])),
      ])
      for each in [clipped, open, odd, merged] { checkInvariants(each, random.replay) }
      for key in RangeTombstoneTests.keys {
        let whole = RangeTombstoneTests.newest(raws, key, .max)
        let isAfter = !key.lexicographicallyPrecedes(from)
        let isBefore = key.lexicographicallyPrecedes(to)
        key.withByteView {
          #expect(
            clipped.newestSequence(covering: $0, at: .max) == (isAfter && isBefore ? whole : 0),
            random.replay)
          #expect(
            open.newestSequence(covering: $0, at: .max) == (isAfter ? whole : 0), random.replay)
          #expect(
            odd.newestSequence(covering: $0, at: .max)
              == RangeTombstoneTests.newest(raws.filter { $0.sequence % 2 == 1 }, key, .max),
            random.replay)
          #expect(merged.newestSequence(covering: $0, at: .max) == whole, random.replay)
        }
      }
    }
  }

  @Test func `joins what touches and has the same sequence numbers`() {
    let list = RangeTombstoneTests.list([
      Raw(start: [1], end: [3], sequence: 4), Raw(start: [3], end: [5], sequence: 4),
      Raw(start: [1], end: [5], sequence: 2), Raw(start: [9], end: [9], sequence: 7),
      Raw(start: [9], end: [8], sequence: 8),
    ])
    #expect(list.count == 1)
    #expect(list.fragments[0].start.array == [1] && list.fragments[0].end.array == [5])
    #expect(Array(list.sequences(of: list.fragments[0])) == [4, 2])
    #expect(list.largestSequence == 4)
  }
}
