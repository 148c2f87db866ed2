import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// The comparison of two replicas as a value: exactly the keys come out in which they differ.
// Budget: 5 s
@Suite struct TreeComparisonTests {
  /// One replica of a partition.
  private struct Replica {
    var keys: [[UInt8]: UInt64] = [:]
    let hasher = RecordHasher(seed: 1)

    func leaf(_ key: [UInt8]) -> Int { unsafe hasher.leaf(of: key.span.bytes) }

    var tree: HashTree {
      var tree = HashTree()
      for (key, hash) in keys { tree.add(hash, toLeaf: leaf(key)) }
      return tree
    }

    /// - Parameters:
    ///   - most: keys of the page.
    ///   - looked: keys that are looked at for it.
    func page(_ leaves: LeafSet, after: [UInt8], most: Int, looked: Int) -> KeyPage {
      var page = KeyPage()
      var count = 0
      for key in keys.keys.sorted(by: { $0.lexicographicallyPrecedes($1) })
      where after.lexicographicallyPrecedes(key) {
        count += 1
        if leaves.contains(leaf(key)) { page.keys.append(HashedKey(key: key, hash: keys[key] ?? 0)) }
        if page.keys.count == most || count == looked {
          page.through = key
          return page
        }
      }
      return page
    }

    func hashes(_ question: TreeComparison.Question) -> [UInt64] {
      switch question {
      case .root: [tree.root]
      case .groups: tree.groups
      case .leaves(let groups): groups.groups.flatMap { tree.leaves(ofGroup: $0) }
      case .keys: []
      }
    }
  }

  private struct Outcome {
    var differences: [TreeComparison.Difference] = []
    var questions: [TreeComparison.Question] = []
    var keysRead = 0
  }

  private static func run(
    _ here: Replica, _ there: Replica, most: Int, looked: Int, changing: (Int) -> Replica? = { _ in nil }
  ) throws -> Outcome {
    var there = there
    var outcome = Outcome()
    var comparison = TreeComparison(own: here.tree)
    for step in 0..<100_000 {
      if let changed = changing(step) { there = changed }
      switch comparison.next() {
      case .done: return outcome
      case .mend(let differences):
        #expect(!differences.isEmpty && differences.count <= TreeComparison.mostAtOnce)
        outcome.differences += differences
      case .read(let leaves, let after):
        let page = here.page(leaves, after: after, most: most, looked: looked)
        outcome.keysRead += page.keys.count
        try comparison.receive(own: page)
      case .ask(let question):
        outcome.questions.append(question)
        guard case .keys(let leaves, let after) = question else {
          try comparison.receive(hashes: there.hashes(question))
          continue
        }
        try comparison.receive(theirs: there.page(leaves, after: after, most: most, looked: looked))
      }
    }
    Issue.record("it never ends")
    return outcome
  }

  private static func expected(_ here: Replica, _ there: Replica) -> [TreeComparison.Difference] {
    Set(here.keys.keys).union(there.keys.keys).filter { here.keys[$0] != there.keys[$0] }
      .sorted { $0.lexicographicallyPrecedes($1) }
      .map {
        TreeComparison.Difference(key: $0, isHere: here.keys[$0] != nil, isThere: there.keys[$0] != nil)
      }
  }

  private static func random(_ random: inout SplitMix64) -> (Replica, Replica) {
    var here = Replica()
    for _ in 0..<random.below(400) { here.keys[random.bytes(1 + random.below(3))] = random.next() }
    var there = here
    for _ in 0..<random.below(4) * random.below(100) {
      let known = here.keys.keys.sorted { $0.lexicographicallyPrecedes($1) }
      switch random.below(4) {
      case 0: here.keys[random.bytes(1 + random.below(3))] = random.next()
      case 1: there.keys[random.bytes(1 + random.below(3))] = random.next()
      case 2: if let key = known.randomElement(using: &random) { there.keys[key] = random.next() }
      default: if let key = known.randomElement(using: &random) { there.keys[key] = nil }
      }
    }
    return (here, there)
  }

  @Test func `exactly the keys that differ come out, in order`() throws {
    try withSeeds("differingKeys", count: TestSize.of(quick: 100, full: 2_000)) { seed, random in
      let (here, there) = Self.random(&random)
      let outcome = try Self.run(here, there, most: 1 + random.below(40), looked: 1 + random.below(200))
      try #require(outcome.differences == Self.expected(here, there), "seed \(seed)")
      if here.keys == there.keys { try #require(outcome.questions == [.root]) }
    }
  }

  @Test func `of many keys only those in the leaves that differ are asked for`() throws {
    var here = Replica()
    for number in 0..<8_192 { here.keys[Array("key\(number)".utf8)] = UInt64(number) &* 0x9E37_79B9 }
    var there = here
    there.keys[Array("key77".utf8)] = 1
    there.keys[Array("key5000".utf8)] = nil
    let outcome = try Self.run(here, there, most: 1_000, looked: 100_000)
    #expect(outcome.differences.map(\.key) == [Array("key5000".utf8), Array("key77".utf8)])
    #expect(outcome.questions.count == 4)
    // Two leaves of eight keys on the average.
    #expect(outcome.keysRead < 60)
  }

  @Test func `one empty side`() throws {
    var full = Replica()
    for number in 0..<500 { full.keys[Array("key\(number)".utf8)] = UInt64(number) + 1 }
    for (here, there) in [(full, Replica()), (Replica(), full)] {
      let outcome = try Self.run(here, there, most: 30, looked: 1_000)
      #expect(outcome.differences == Self.expected(here, there))
    }
    #expect(try Self.run(Replica(), Replica(), most: 1, looked: 1).questions == [.root])
  }

  /// Keys that are written meanwhile may come out or not; those that are not written do if they differ.
  @Test func `writes at the other side meanwhile cost no key`() throws {
    try withSeeds("writtenMeanwhile", count: TestSize.of(quick: 60, full: 1_000)) { seed, random in
      let (here, there) = Self.random(&random)
      var changed = there
      var written: Set<[UInt8]> = []
      var generator = SplitMix64(seed: seed &+ 1)
      let outcome = try Self.run(
        here, there, most: 1 + random.below(20), looked: 1 + random.below(100)
      ) { _ in
        let key = generator.bytes(1 + generator.below(2))
        changed.keys[key] = generator.next()
        written.insert(key)
        return changed
      }
      let found = outcome.differences.map(\.key)
      try #require(Set(found).count == found.count, "seed \(seed): a key came out twice")
      // A tree that chance made equal to the other's would say so, but for chances of 2^-64.
      for difference in Self.expected(here, there) where !written.contains(difference.key) {
        try #require(outcome.differences.contains(difference), "seed \(seed): \(difference)")
      }
      for difference in outcome.differences where !written.contains(difference.key) {
        try #require(here.keys[difference.key] != there.keys[difference.key], "seed \(seed)")
      }
    }
  }

  @Test func `answers that are not what was asked for are refused`() throws {
    var here = Replica()
    for number in 0..<50 { here.keys[Array("key\(number)".utf8)] = UInt64(number) + 1 }
    func atKeys() throws -> TreeComparison {
      var comparison = TreeComparison(own: here.tree)
      while case .ask(let question) = comparison.next() {
        if case .keys = question { break }
        try comparison.receive(hashes: Replica().hashes(question))
      }
      return comparison
    }
    for count in [0, 2, 32] {
      var comparison = TreeComparison(own: here.tree)
      #expect(code { try comparison.receive(hashes: Array(repeating: 1, count: count)) } == .corruption)
      #expect(code { try comparison.receive(theirs: KeyPage()) } == .corruption)
    }
    let (a, b) = (HashedKey(key: [1], hash: 1), HashedKey(key: [2], hash: 1))
    for page in [
      KeyPage(keys: [b, a], through: nil), KeyPage(keys: [a, a], through: nil),
      KeyPage(keys: [a, b], through: [1]), KeyPage(keys: [], through: []),
    ] {
      var comparison = try atKeys()
      #expect(code { try comparison.receive(theirs: page) } == .corruption)
      #expect(code { try comparison.receive(hashes: [1]) } == .corruption)
    }
    // Nor is one that goes back.
    var comparison = try atKeys()
    try comparison.receive(theirs: KeyPage(keys: [a, b], through: [2]))
    #expect(code { try comparison.receive(theirs: KeyPage(keys: [], through: [2])) } == .corruption)
    #expect(code { try comparison.receive(theirs: KeyPage(keys: [a], through: nil)) } == .corruption)
  }

  // MARK: - When

  @Test func `a pass is spread over its interval`() {
    var schedule = RepairSchedule(interval: 1_000, at: 500)
    #expect(schedule.due(of: 10, at: 0) == 0)
    #expect(schedule.due(of: 10, at: 500) == 0)
    #expect(schedule.due(of: 10, at: 599) == 0)
    #expect(schedule.due(of: 10, at: 600) == 1)
    #expect(schedule.due(of: 10, at: 1_499) == 9)
    #expect(schedule.due(of: 10, at: 1_500) == 10)
    #expect(schedule.due(of: 10, at: .max) == 10)
    schedule.passEnded(at: 1_490)
    #expect(schedule.start == 1_500)
    #expect(schedule.due(of: 10, at: 1_490) == 0)
    // One that took long is followed at once.
    schedule.passEnded(at: 9_000)
    #expect(schedule.start == 9_000)
    #expect(RepairSchedule(interval: .max, at: 0).due(of: .max, at: .max - 1) == .max - 1)
  }
}
