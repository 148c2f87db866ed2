import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Random scans of random keyspaces against a sorted list that is filtered by the rules as they are
/// worded: bounds, prefixes, tags, orders, limits, restarts, tokens, replicas, stores and moves.
// Budget: 5 s quick, 20 s full
@Suite struct ScanModelTests {
  /// Keys that share prefixes, tags, and heads longer than eight bytes.
  static func key(_ random: inout SplitMix64) -> [UInt8] {
    let parts = ["a", "b", "{t}", "{u}", "{", "}", "{}", "0123456789", "\u{7F}"]
    var key: [UInt8] = []
    for _ in 0...random.below(4) {
      if random.below(8) == 0 {
        key.append(UInt8(random.below(2) * 0xFF))
      } else {
        key += Array(parts[random.below(parts.count)].utf8)
      }
    }
    return key
  }

  static func range(_ random: inout SplitMix64) -> ScanRange {
    var range = ScanRange()
    if random.below(3) == 0 { range.lower = key(&random) }
    if random.below(3) == 0 { range.upper = key(&random) }
    if random.below(3) == 0 { range.prefix = Array(key(&random).prefix(1 + random.below(6))) }
    if random.below(3) == 0 { range.tag = Array(["t", "u", "{"][random.below(3)].utf8) }
    return range
  }

  /// As the documentation words it.
  static func tag(_ key: [UInt8]) -> [UInt8]? {
    guard let open = key.firstIndex(of: UInt8(ascii: "{")),
      let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
    else { return nil }
    return Array(key[(open + 1)..<close])
  }

  static func meets(_ key: [UInt8], _ range: ScanRange) -> Bool {
    if let lower = range.lower, key < lower { return false }
    if let upper = range.upper, !(key < upper) { return false }
    if !key.starts(with: range.prefix) { return false }
    if let tag = range.tag, tag != self.tag(key) { return false }
    return true
  }

  static let policies: [KeyspacePolicy] = [
    .eventual, .eventual(.lastWriterWins), .eventual(.resolve { $0.max { $0 < $1 } }),
  ]

  @Test func `scans show what a sorted list of the keys does`() throws {
    try withSeeds("ScanModelTests", count: TestSize.of(quick: 20, full: 150)) { seed, random in
      let stores = 1 + random.below(3)
      let replicas = 1 + random.below(stores)
      let partitions = [1, 3, 16][random.below(3)]
      let policy = Self.policies[random.below(3)]
      var database = try SynchronousDatabase(
        SimulatedEnvironment(seed: seed), stores: stores, partitions: partitions, replicas: replicas,
        policy)
      var model: [[UInt8]: Shown] = [:]
      for _ in 0..<random.below(400) { try Self.write(database, &model, &random) }
      database.world.time.advance(byNanoseconds: 10_000_000_000)
      for (key, shown) in model where shown.values == [Array("expired".utf8)] { model[key] = nil }

      for _ in 0..<20 {
        let range = Self.range(&random)
        let order: ScanOrder = random.below(2) == 0 ? .ascending : .descending
        var limits = KeyspaceScan.Limits()
        limits.passedOver = 1 + random.below(20)
        limits.pageBytes = 1 + random.below(1_000)
        limits.heldEntries = 1 + random.below(100)
        if random.below(4) == 0 { limits = KeyspaceScan.Limits() }
        let longestPage = random.below(3) == 0 ? 400 : 20
        var scan = try database.scan(range, order, after: nil, limits)
        var shown: [Shown] = []
        // Pages take the memory of the ones before, but of those that someone keeps.
        var last: ScanEntries?
        var kept: [(page: ScanEntries, shown: [Shown])] = []
        while !scan.isAtEnd {
          let page = try scan.page(limit: 1 + random.below(longestPage), inPlaceOf: &last)
          shown += page.shown
          if random.below(4) == 0 { kept.append((page, page.shown)) }
          if random.below(4) != 0 { last = page }
          guard let token = scan.token else { continue }
          switch random.below(12) {
          case 0:
            let again = try ScanToken(bytes: token.bytes)
            scan = try database.scan(range, order, after: again, limits)
          case 1 where replicas == 1:
            try database.move(random.below(partitions), to: random.below(stores))
          case 2 where replicas == 1 && random.below(10) == 0:
            // Moves by hand are not in the ring: back to where an open looks.
            for partition in 0..<partitions { try Self.moveHome(database, partition) }
            database = try database.reopened()
            scan = try database.scan(range, order, after: token, limits)
          default: break
          }
        }
        var expected = model.values.filter { Self.meets($0.key, range) }.sorted { $0.key < $1.key }
        if order == .descending { expected.reverse() }
        try #require(shown == expected, "\(range) \(order)")
        for (page, shown) in kept { try #require(page.shown == shown, "a page that was kept changed") }
      }
      try database.core.close()
    }
  }

  private static func moveHome(_ database: SynchronousDatabase, _ partition: Int) throws {
    let core = database.core
    let owner = core.ringState.ring.replicas(of: partition)[0]
    try database.move(partition, to: try #require(core.slotOf[owner]))
  }

  private static func write(
    _ database: SynchronousDatabase, _ model: inout [[UInt8]: Shown], _ random: inout SplitMix64
  ) throws {
    let key = key(&random)
    let posts = database.posts
    if random.below(40) == 0 {
      for member in database.core.presentMembers { try member.store.flush() }
    }
    func context() throws -> CausalContext {
      let record = try key.withKeyBytes { bytes throws(DatabaseError) in try posts.record(bytes) }
      return key.withKeyBytes { posts.context($0, record) }
    }
    switch random.below(10) {
    case 0, 1:
      _ = try key.withKeyBytes { bytes throws(DatabaseError) in try posts.delete(bytes, context: nil) }
      model[key] = nil
    case 2:
      guard model[key].map({ !$0.kinds.isEmpty }) ?? true else { return }
      try key.withKeyBytes { bytes throws(DatabaseError) in
        try posts.change(bytes, PNCounter.self) { counter, stamp throws(CausalityError) in
          try counter.increment(by: 1, dot: stamp.dot)
          return (true, ())
        }
      }
      model[key] = Shown(key: key, values: [], kinds: [.counter])
    case 3:
      let seen = try context()
      _ = try key.withKeyBytes { bytes throws(DatabaseError) in
        try posts.put(bytes, Array("expired".utf8), context: seen, timeToLive: .seconds(5))
      }
      model[key] = Shown(key: key, values: [Array("expired".utf8)], kinds: [])
    case 4 where model[key].map { $0.kinds.isEmpty && $0.values != [Array("expired".utf8)] } ?? false:
      // Blind: a sibling, which the policy may hide.
      let value = random.bytes(1 + random.below(30))
      _ = try key.withKeyBytes { bytes throws(DatabaseError) in
        try posts.put(bytes, value, context: nil)
      }
      switch posts.policy.siblings {
      case .keep: model[key]!.values = (model[key]!.values + [value]).sorted(by: <)
      case .lastWriterWins: model[key]!.values = [value]
      case .resolve: model[key]!.values = [(model[key]!.values + [value]).max { $0 < $1 }!]
      }
    default:
      let seen = try context()
      // Large ones are shown where they are, and not read ahead.
      let value = random.bytes(random.below(10) == 0 ? 1_000 + random.below(100) : random.below(60))
      _ = try key.withKeyBytes { bytes throws(DatabaseError) in
        try posts.put(bytes, value, context: seen)
      }
      model[key] = Shown(key: key, values: [value], kinds: [])
    }
  }
}
