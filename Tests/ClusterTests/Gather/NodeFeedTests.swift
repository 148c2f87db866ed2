import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Change feeds at the nodes of a cluster: all partitions, each from one of its replicas.
// Budget: 20 s
@Suite struct NodeFeedTests {
  /// Whoever follows the feed: what it was told of each key last, and how to go on.
  private struct Reader {
    var told: [String: Record] = [:]
    var token: ChangeToken?
    var resyncs = 0

    /// Takes in some of a page's changes, as if the program had ended behind them.
    mutating func take(_ page: ChangePage, _ count: Int, in keyspace: KeyspaceCore) throws {
      for change in page.changes.prefix(count) {
        switch change.event {
        case .changed(let key, let record): told[String(decoding: key, as: UTF8.self)] = record
        case .resync(let partition):
          resyncs += 1
          // What is not told again is not there.
          for key in told.keys where try keyspace.partition(of: Array(key.utf8)) == partition {
            told[key] = nil
          }
        }
      }
      let token = count < page.changes.count ? page.changes[count - 1].token : page.token
      self.token = try ChangeToken(bytes: token.bytes)
    }

    /// Reads to the end at one node after the other.
    mutating func drain(_ world: NodeWorld, at nodes: [Int], limit: Int = 9) throws {
      for turn in 0..<5_000 {
        let index = nodes[turn % nodes.count]
        let page = try world.changes(since: token, limit: limit, at: index).page
        #expect(page.changes.count <= limit)
        try take(page, page.changes.count, in: try world[index].keyspace("k"))
        if page.isAtEnd { return }
      }
      Issue.record("a feed without an end")
    }

    var shown: [String: [String]] {
      var shown: [String: [String]] = [:]
      for (key, record) in told where !record.isTombstone { shown[key] = ShownKey([], record).values }
      return shown
    }
  }

  @Test func `any node tells the changes of all partitions, each key with what it holds`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    var model: [String: [String]] = [:]
    for index in 0..<60 {
      try world.replace("k\(index % 40)", "v\(index)", at: index % 5)
      model["k\(index % 40)"] = ["v\(index)"]
    }
    for index in 0..<5 {
      var reader = Reader()
      try reader.drain(world, at: [index])
      #expect(reader.shown == model && reader.resyncs == 0)
      // Nothing new, and nothing twice.
      let page = try world.changes(since: reader.token, at: index).page
      #expect(page.changes.isEmpty && page.isAtEnd)
      try world.replace("k\(index)", nil, at: 4 - index)
      model["k\(index)"] = nil
      let next = try world.changes(since: reader.token, at: (index + 1) % 5).page
      #expect(next.changes.count == 1)
      try reader.take(next, 1, in: try world[0].keyspace("k"))
      #expect(reader.shown == model)
    }
  }

  @Test func `where a replica is gone another tells its partitions from the beginning`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for index in 0..<30 { try world.put("k\(index)", "v", at: index % 3) }
    var reader = Reader()
    try reader.drain(world, at: [2])
    // Node 2 is a replica of all, and so the source of all.
    let token = try #require(reader.token)
    #expect(Set(token.position.places.map { $0.tenure?.member }) == [world[2].local.id])
    try world.close(2)
    try reader.drain(world, at: [0])
    #expect(reader.resyncs == 16)
    #expect(reader.shown.count == 30)
    // It is there again: nobody goes back for that.
    try world.restart(2)
    try world.beat(2)
    try world.put("more", "v", at: 2)
    try reader.drain(world, at: [2, 1])
    #expect(reader.resyncs == 16)
    #expect(reader.shown.count == 31)
    // The first token still names node 2, which has what it had.
    var old = Reader()
    old.token = token
    try old.drain(world, at: [1])
    #expect(old.resyncs == 0)
    #expect(old.shown.keys.contains("more"))
    // No replica of some partition at all.
    try world.close(1)
    try world.close(2)
    #expect(try world.changes(since: reader.token, at: 0).page.isAtEnd, "node 0 has them all")
  }

  @Test func `no replica within reach is said, with the partition`() throws {
    let world = try NodeWorld(4, replicas: 1)
    try world.make()
    for index in 0..<30 { try world.put("k\(index)", "v", at: 0) }
    try world.close(3)
    do {
      _ = try world.changes(since: nil, at: 0)
      Issue.record("it was told")
    } catch let error as DatabaseError {
      #expect(error.code == .unreachable)
      #expect(error.message.contains("partition"))
    }
  }

  @Test func `a reading with an end ends beside writers, and tells what was there before`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    for index in 0..<20 { try world.put("k\(index)", "v", at: index % 3) }
    var token: ChangeToken?
    var bounds: FeedBounds? = FeedBounds()
    var told: Set<String> = []
    var pages = 0
    while true {
      let found = try world.changes(since: token, limit: 2, bounds, at: pages % 3)
      (token, bounds) = (found.page.token, found.bounds)
      for change in found.page.changes {
        if case .changed(let key, _) = change.event { told.insert(String(decoding: key, as: UTF8.self)) }
      }
      if found.page.isAtEnd { break }
      pages += 1
      for write in 0..<4 { try world.put("later\(pages)-\(write)", "v", at: write % 3) }
      try #require(pages < 200, "it never ends")
    }
    for index in 0..<20 { #expect(told.contains("k\(index)")) }
    #expect(!told.contains("later\(pages)-0"))
  }

  @Test func `tokens of others and damaged ones are refused`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.make("other")
    for index in 0..<9 { try world.put("k\(index)", "v", at: 0) }
    let token = try world.changes(since: nil, at: 0).page.token
    let request = ChangesRequest(in: "other", limit: 3, since: token)
    #expect(
      code {
        _ = try world.answer(at: 1) { deadline, reply in
          world[1].changes(request, deadline: deadline, reply)
        }
      } == .foreignContext)
    #expect(code { _ = try world.changes(since: token, limit: 0, at: 1) } == .invalidArgument)
    let bytes = token.bytes
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x11
      #expect(code { _ = try ChangeToken(bytes: damaged) } != nil, "byte \(index)")
    }
  }

  @Test func `records that fill a message are told one by one`() throws {
    let world = try NodeWorld(3, replicas: 2, largestBody: 96 << 10)
    try world.make()
    let large = String(repeating: "x", count: 30_000)
    for index in 0..<9 { try world.put("k\(index)", large, at: index % 3) }
    var request = ChangesRequest(in: "k", limit: 1_000)
    var keys: Set<[UInt8]> = []
    for turn in 0..<100 {
      let asked = try ChangesRequest(decoding: request.encoded())
      let page: ChangesAnswer = try world.answer(at: turn % 3) { deadline, reply in
        world[turn % 3].changes(asked, deadline: deadline, reply)
      }
      #expect(page.encoded().count <= 96 << 10)
      for case .changed(let key, _) in page.events { keys.insert(key) }
      request.token = page.token
      if page.isAtEnd { break }
    }
    #expect(keys == Set((0..<9).map { Array("k\($0)".utf8) }))
  }

  @Test func `a source that has much to tell keeps no other out`() throws {
    let world = try NodeWorld(3, replicas: 1)
    try world.make()
    for index in 0..<40 { try world.put("k\(index)", "v", at: 0) }
    var token: ChangeToken?
    var told: Set<[UInt8]> = []
    for turn in 0..<400 where told.count < 40 {
      let page = try world.changes(since: token, limit: 1, at: turn % 3).page
      token = page.token
      // One key of the first source is written again and again.
      try world.replace("k\(turn % 2)", "\(turn)", at: 0)
      for change in page.changes {
        if case .changed(let key, _) = change.event { told.insert(key) }
      }
    }
    #expect(told.count == 40)
  }

  @Test func `whoever stops and goes on is told every key's latest state`() throws {
    try withSeeds("nodeFeedModel", count: TestSize.of(quick: 6, full: 60)) { seed, random in
      let world = try NodeWorld(3 + random.below(3), replicas: 3, seed: seed)
      try world.make()
      var reader = Reader()
      var model: [String: [String]] = [:]
      var away: Int?
      for step in 0..<150 {
        let running = world.running
        let index = running[random.below(running.count)]
        switch random.below(16) {
        case 0:
          if let gone = away {
            try world.restart(gone)
            away = nil
          } else {
            try world.close(index)
            away = index
          }
        case 1: try world.beat()
        case 2...5:
          let page = try world.changes(since: reader.token, limit: 1 + random.below(12), at: index).page
          // It ends in the middle of a page, and goes on elsewhere.
          let count = page.changes.isEmpty ? 0 : 1 + random.below(page.changes.count)
          try reader.take(page, count, in: try world[index].keyspace("k"))
        case 6, 7:
          let key = "k\(random.below(40))"
          try world.replace(key, nil, at: index)
          model[key] = nil
        default:
          let key = "k\(random.below(40))"
          try world.replace(key, "\(step)", at: index)
          model[key] = ["\(step)"]
        }
      }
      if let away { try world.restart(away) }
      // Until each replica has everything: what a source holds itself is what it tells.
      try world.beat(3)
      for index in world.running { try world.repair(at: index) }
      try reader.drain(world, at: world.running, limit: 1 + random.below(30))
      try #require(reader.shown == model, "seed \(seed)")
    }
  }
}
