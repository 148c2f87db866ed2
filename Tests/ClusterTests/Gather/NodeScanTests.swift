import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Scans at the nodes of a cluster: all keys, in order, as a quorum of their replicas holds them.
// Budget: 20 s
@Suite struct NodeScanTests {
  private static func text(_ index: Int) -> String { "u:\(index / 10)\(index % 10)" }

  @Test func `any node shows what all nodes have, in order`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    let keys = (0..<60).map(Self.text)
    for (index, key) in keys.enumerated() { try world.put(key, "v\(index)", at: index % 5) }
    let all = keys.enumerated().map { ShownKey($1, ["v\($0)"]) }
    for index in 0..<5 {
      #expect(try world.scan(at: [index]) == all)
      #expect(try world.scan(.all, .descending, at: [index]) == all.reversed())
      #expect(try world.scan(.prefix("u:2"), limit: 3, at: [index]) == Array(all[20..<30]))
      #expect(try world.scan(.range(from: "u:05", to: "u:41"), limit: 512, at: [index]) == Array(all[5..<41]))
      #expect(
        try world.scan(.range(from: "u:05", to: "u:41"), .descending, at: [index]) == all[5..<41].reversed())
      #expect(try world.scan(.prefix("none"), at: [index]) == [])
      #expect(try world.scan(.range(from: "z", to: "a"), at: [index]) == [])
    }
    // Each page at another node.
    #expect(try world.scan(limit: 1, at: [3, 0, 4, 1, 2]) == all)
    #expect(try world.scan(.all, .descending, limit: 2, at: [2, 1]) == all.reversed())
  }

  @Test func `a tag is one partition`() throws {
    let world = try NodeWorld(4, replicas: 2)
    try world.make()
    var tagged: [ShownKey] = []
    for index in 0..<30 {
      let key = index % 3 == 0 ? "a\(Self.text(index)){t}" : "a\(Self.text(index)){other\(index)}"
      try world.put(key, "v", at: index % 4)
      if index % 3 == 0 { tagged.append(ShownKey(key, ["v"])) }
    }
    for index in 0..<4 { #expect(try world.scan(.tag("t"), limit: 4, at: [index]) == tagged) }
    #expect(code { _ = try world.scan(.tag("}"), at: [0]) } == .invalidArgument)
  }

  @Test func `what one replica missed is shown as a read shows it`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let old = try world.put("k", "old", at: 0)
    try world.put("gone", "old", at: 0)
    world.cut(0, 2)
    world.cut(1, 2)
    try world.put("k", "new", at: 0, context: old)
    try world.replace("gone", nil, at: 1)
    try world.increment("n", by: 3, at: 0)
    #expect(code { try world.put("k", "beside", at: 2, context: old) } == .indeterminate)
    // Node 2 is alone: nobody can say what a quorum has.
    #expect(code { _ = try world.scan(at: [2]) } == .unreachable)
    #expect(try world.scan(at: [0]) == [ShownKey("k", ["new"]), ShownKey("n", ["count 3"])])
    world.heal()
    // It has `gone` still, and lacks `n`.
    #expect(try world.held("n", at: 2) == nil)
    #expect(
      try world.scan(at: [2]) == [ShownKey("k", ["beside", "new"]), ShownKey("n", ["count 3"])])
    #expect(try world.held("n", at: 2) == nil, "scans repair nothing")
    for index in 0..<3 {
      #expect(
        try world.scan(quorum: 3, at: [index]) == [
          ShownKey("k", ["beside", "new"]), ShownKey("n", ["count 3"]),
        ])
    }
  }

  @Test func `the last writer wins, and what has expired is not shown`() throws {
    let world = try NodeWorld(3)
    try world.make("k", .lastWriterWins)
    let operation = KeyRequest.Operation.put(Array("short".utf8), timeToLiveMilliseconds: 1_000)
    _ = try world.perform(KeyRequest(operation, Array("ttl".utf8), in: "k"), at: 0)
    try world.put("k", "one", at: 1)
    #expect(try world.scan(at: [2]).map(\.key) == ["k", "ttl"])
    world.time.advance(byNanoseconds: 2_000_000_000)
    let page = try world.page(ScanRequest(in: "k", limit: 10), at: 2)
    #expect(page.entries.map { ShownKey($0.key, $0.record) } == [ShownKey("k", ["one"])])
    #expect(page.policy == .lastWriterWins && page.token == nil)
  }

  @Test func `where too few replicas are there the partition is named`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for index in 0..<20 { try world.put(Self.text(index), "v", at: 0) }
    var request = ScanRequest(in: "k", limit: 5)
    request.token = try world.page(request, at: 0).token
    try world.close(1)
    // One node away is as if it had never been there.
    #expect(try world.page(request, at: 0).entries.count == 5)
    try world.close(2)
    do {
      _ = try world.page(request, at: 0)
      Issue.record("it was shown")
    } catch let error as DatabaseError {
      #expect(error.code == .unreachable)
      #expect(error.message.contains("partition"))
    }
    var one = request
    one.quorum = 1
    #expect(try world.page(one, at: 0).entries.count == 5)
    try world.restart(1)
    #expect(
      try world.page(request, at: 1).entries.map { ShownKey($0.key, $0.record).key }
        == (5..<10).map(Self.text), "the token goes on")
    one.quorum = 4
    #expect(code { _ = try world.page(one, at: 0) } == .invalidArgument)
    one.quorum = nil
    one.limit = 0
    #expect(code { _ = try world.page(one, at: 0) } == .invalidArgument)
  }

  @Test func `pages are bounded, whatever the records are`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    // 13 of them are a page of one replica.
    let large = String(repeating: "x", count: 20_000)
    for index in 0..<48 { try world.put(Self.text(index), large, at: index % 3) }
    for index in 60..<90 { try world.put(Self.text(index), "v", at: 1) }
    for index in 60..<85 { try world.replace(Self.text(index), nil, at: 2) }
    var request = ScanRequest(in: "k", limit: 4_096)
    var keys: [String] = []
    var pages = 0
    repeat {
      let page = try world.page(request, at: pages % 3)
      pages += 1
      keys += page.entries.map { ShownKey($0.key, $0.record).key }
      let bytes = page.encoded().count
      try #require(bytes < (1 << 20) + 4_096, "a page of \(bytes) bytes")
      request.token = page.token
      try #require(pages < 50)
    } while request.token != nil
    #expect(keys == (Array(0..<48) + Array(85..<90)).map(Self.text))
    #expect(pages >= 3)
    // One stream of one replica.
    let keyspace = try world[0].keyspace("k")
    let own = (0..<16).filter { world[0].core.ring.replicas(of: $0).contains(world[0].local.id) }
    let plan = try ScanPlan(.all, .ascending, after: nil, partitionCount: 16)
    let part = try keyspace.page(
      PageRequest(
        MessageHead(keyspace, world[0].view.print(of: own)), plan, .ascending, entryLimit: 3,
        byteLimit: 1 << 30, partitions: own), on: world[0].local)
    #expect(part.entries.count <= 3 && part.through == part.entries.last?.key)
    #expect(
      code {
        let all = PageRequest(
          MessageHead(keyspace, world[0].view.print(of: Array(0..<16))), plan, .ascending, entryLimit: 3,
          byteLimit: 9, partitions: Array(0..<16))
        _ = try world[0].page(all.encoded()) { false }
      } == .unreachable, "not a replica of all")
  }

  @Test func `records that fill a message are shown one by one`() throws {
    let world = try NodeWorld(3, replicas: 2, largestBody: 96 << 10)
    try world.make()
    for index in 0..<9 {
      try world.put(Self.text(index), String(repeating: "x", count: 30_000), at: index % 3)
    }
    #expect(try world.scan(limit: 100, at: [0, 1, 2]).map(\.key) == (0..<9).map(Self.text))
  }

  @Test func `tokens of other scans are refused`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.make("other")
    for index in 0..<9 { try world.put(Self.text(index), "v", at: 0) }
    let token = try #require(try world.page(ScanRequest(in: "k", limit: 2), at: 0).token)
    for request in [
      ScanRequest(.prefix("u"), in: "k", limit: 2, after: token),
      ScanRequest(.all, .descending, in: "k", limit: 2, after: token),
      ScanRequest(in: "other", limit: 2, after: token),
    ] { #expect(code { _ = try world.page(request, at: 1) } == .foreignToken) }
    #expect(code { _ = try world.page(ScanRequest(in: "none", limit: 2), at: 1) } == .unknownKeyspace)
    let bytes = token.bytes
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x20
      #expect(code { _ = try ScanToken(bytes: damaged) } != nil, "byte \(index)")
    }
  }

  @Test func `scans show what the model has, whoever is away`() throws {
    try withSeeds("nodeScanModel", count: TestSize.of(quick: 6, full: 60)) { seed, random in
      let nodeCount = 3 + random.below(3)
      let world = try NodeWorld(nodeCount, replicas: 3, seed: seed)
      try world.make()
      var model: [String: [String]] = [:]
      var away: Int?
      for step in 0..<120 {
        let running = world.running
        let index = running[random.below(running.count)]
        switch random.below(20) {
        case 0:
          // What it missed, it learns from hints at the next beat, or not at all yet.
          if let gone = away {
            try world.restart(gone)
            away = nil
          } else {
            try world.close(index)
            away = index
          }
        case 1: try world.beat()
        case 2, 3:
          let (range, order) = Self.randomRange(&random)
          let shown = try world.scan(range, order, limit: 1 + random.below(20), at: running)
          let wanted = Self.shown(model, range, order)
          try #require(shown == wanted, "seed \(seed), step \(step)")
        case 4...6:
          let key = Self.text(random.below(50))
          try world.replace(key, nil, at: index)
          model[key] = nil
        default:
          let key = Self.text(random.below(50))
          try world.replace(key, "\(step)", at: index)
          model[key] = ["\(step)"]
        }
      }
      try #require(
        try world.scan(limit: 11, at: world.running) == Self.shown(model, .all, .ascending), "seed \(seed)")
    }
  }

  private static func randomRange(_ random: inout SplitMix64) -> (ScanRange, ScanOrder) {
    let order: ScanOrder = random.below(2) == 0 ? .ascending : .descending
    switch random.below(3) {
    case 0: return (.all, order)
    case 1: return (.prefix("u:\(random.below(6))"), order)
    default: return (.range(from: text(random.below(50)), to: text(random.below(50))), order)
    }
  }

  private static func shown(
    _ model: [String: [String]], _ range: ScanRange, _ order: ScanOrder
  ) -> [ShownKey] {
    let keys = model.keys.filter { key in
      let bytes = Array(key.utf8)
      if let lower = range.lower, bytes.lexicographicallyPrecedes(lower) { return false }
      if let upper = range.upper, !bytes.lexicographicallyPrecedes(upper) { return false }
      return bytes.starts(with: range.prefix)
    }
    let sorted = keys.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
    return (order == .ascending ? sorted : sorted.reversed()).map { ShownKey($0, model[$0]!) }
  }
}
