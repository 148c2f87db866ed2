import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Queries of indexes at the nodes of a cluster: the keys of all partitions.
// Budget: 10 s
@Suite struct NodeQueryTests {
  /// Under the words of its values.
  private static let words = Index("words", version: 2) { _, value in
    value.split(separator: UInt8(ascii: " ")).map(Array.init)
  }

  private static func world(_ count: Int, replicas: Int, seed: UInt64 = 1) throws -> NodeWorld {
    let world = try NodeWorld(count, replicas: replicas, seed: seed)
    try world.make()
    for index in 0..<count { try declare(at: index, of: world) }
    return world
  }

  private static func declare(at index: Int, of world: NodeWorld) throws {
    _ = try world[index].keyspace("k")
    _ = try world[index].core.keyspace("k", nil, indexes: [words])
  }

  /// All hits, page by page, each asked of one of `nodes` in turn; as `term/key`.
  private static func query(
    _ range: TermRange, limit: Int = 3, at nodes: [Int], of world: NodeWorld
  ) throws -> [String] {
    var token: IndexToken?
    var hits: [String] = []
    for turn in 0..<1_000 {
      let index = nodes[turn % nodes.count]
      let keyspace = try world[index].keyspace("k")
      let page: KeyspaceCore.IndexHits = try world.answer(at: index) { deadline, reply in
        world[index].query(keyspace, "words", range, limit: limit, after: token, deadline: deadline, reply)
      }
      #expect(page.hits.count <= limit)
      hits += page.hits.map {
        String(decoding: $0.term, as: UTF8.self) + "/" + String(decoding: $0.key, as: UTF8.self)
      }
      guard let next = page.token else { return hits }
      token = try IndexToken(bytes: next.bytes)
    }
    Issue.record("a query without an end")
    return hits
  }

  private static func term(_ text: String) -> TermRange { .equals(Array(text.utf8)) }

  @Test func `any node finds what all nodes have`() throws {
    let world = try Self.world(5, replicas: 2)
    for index in 0..<20 {
      try world.put("k\(index / 10)\(index % 10)", index % 2 == 0 ? "even all" : "odd all", at: index % 5)
    }
    let even = (0..<10).map { "even/k\($0 * 2 / 10)\($0 * 2 % 10)" }
    for index in 0..<5 {
      #expect(try Self.query(Self.term("even"), at: [index], of: world) == even)
      #expect(try Self.query(.prefix(Array("a".utf8)), at: [index], of: world).count == 20)
      #expect(try Self.query(Self.term("none"), at: [index], of: world) == [])
    }
    #expect(try Self.query(.all, limit: 7, at: [0, 3, 1], of: world).count == 40)
    #expect(try Self.query(.all, limit: 1, at: [4, 2], of: world).prefix(1) == ["all/k00"])
  }

  @Test func `what one replica missed is found, and what it has still is not`() throws {
    let world = try Self.world(3, replicas: 3)
    try world.put("k1", "old", at: 0)
    try world.put("k2", "old", at: 0)
    world.cut(0, 2)
    world.cut(1, 2)
    try world.replace("k1", "new", at: 0)
    try world.replace("k2", nil, at: 1)
    #expect(code { _ = try Self.query(Self.term("old"), at: [2], of: world) } == .unreachable)
    world.heal()
    #expect(try Self.query(Self.term("old"), at: [2], of: world) == [])
    #expect(try Self.query(Self.term("new"), at: [2], of: world) == ["new/k1"])
  }

  @Test func `who has not declared the index cannot say, and others do`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for index in [0, 1] { try Self.declare(at: index, of: world) }
    for index in 0..<6 { try world.put("k\(index)", "word", at: 0) }
    #expect(try Self.query(Self.term("word"), at: [0, 1], of: world).count == 6)
    #expect(code { _ = try Self.query(Self.term("word"), at: [2], of: world) } == .unknownIndex)
    try world.close(1)
    // A quorum of two would need node 2.
    #expect(code { _ = try Self.query(Self.term("word"), at: [0], of: world) } != nil)
  }

  @Test func `tokens of other queries are refused`() throws {
    let world = try Self.world(3, replicas: 3)
    for index in 0..<6 { try world.put("k\(index)", "word", at: 0) }
    let keyspace = try world[0].keyspace("k")
    func ask(_ range: TermRange, _ token: IndexToken?, limit: Int = 2) throws -> KeyspaceCore.IndexHits {
      try world.answer(at: 0) { deadline, reply in
        world[0].query(keyspace, "words", range, limit: limit, after: token, deadline: deadline, reply)
      }
    }
    let token = try #require(try ask(Self.term("word"), nil).token)
    #expect(code { _ = try ask(.all, token) } == .foreignContext)
    #expect(code { _ = try ask(.all, nil, limit: 0) } == .invalidArgument)
    #expect(try ask(Self.term("word"), token).hits.count == 2)
  }

  @Test func `queries find what the model has, whoever is away`() throws {
    try withSeeds("nodeQueryModel", count: TestSize.of(quick: 3, full: 30)) { seed, random in
      let world = try Self.world(4, replicas: 3, seed: seed)
      var model: [String: String] = [:]
      var isCut = false
      for step in 0..<80 {
        let index = random.below(3)
        switch random.below(12) {
        case 0:
          // Node 3 is out of reach of all others.
          if isCut { world.heal() } else { for other in 0..<3 { world.cut(other, 3) } }
          isCut.toggle()
        case 1:
          let word = "w\(random.below(5))"
          let wanted = model.filter { $0.value == word }.keys.sorted().map { "\(word)/\($0)" }
          let found = try Self.query(
            Self.term(word), limit: 1 + random.below(6), at: isCut ? [index] : [index, 3], of: world)
          try #require(found == wanted, "seed \(seed), step \(step)")
        default:
          let key = "k\(random.below(20))"
          let value = random.below(4) == 0 ? nil : "w\(random.below(5))"
          try world.replace(key, value, at: index)
          model[key] = value
        }
      }
    }
  }
}
