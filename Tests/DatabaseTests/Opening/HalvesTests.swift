import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Halves of a database that were in use apart, and then together again.
// Budget: 2 s
@Suite struct HalvesTests {
  private let world = SimulatedEnvironment()
  private let keys = (0..<30).map { "k\($0)" }

  private static func first(_ value: [UInt8]) -> [[UInt8]] { value.isEmpty ? [] : [[value[0]]] }
  private let index = Index("first") { _, value in HalvesTests.first(value) }

  private func open(_ stores: [Int], indexes: [Index]) throws -> (DatabaseCore, KeyspaceCore) {
    let options = Databases.options { $0.allowsMissingStores = true }
    let core = try DatabaseOpening.open(
      stores.map { "/disk\($0)/db" }, options, world.environment)
    return (core, try core.keyspace("notes", .eventual, indexes: indexes))
  }

  private func put(_ notes: KeyspaceCore, _ value: String) throws {
    for key in keys where notes.member(of: key) != nil {
      _ = try key.withKeyBytes { bytes throws(DatabaseError) in
        try notes.put(bytes, Array(value.utf8), context: nil)
      }
    }
  }

  private func build(_ notes: KeyspaceCore) throws {
    while try !notes.indexProgress("first").isReady {
      for member in notes.shared.presentMembers { while member.workers.runOneHere() {} }
    }
  }

  /// One half begins the index anew while the other writes past it: both at the next revision.
  @Test(arguments: [false, true])
  func `an index of which the halves say different things is built again`(isStaleSecond: Bool) throws {
    var (core, notes) = try open([0, 1], indexes: [])
    try put(notes, "a")
    try core.close()
    (core, notes) = try open([0, 1], indexes: [index])
    try build(notes)
    try core.close()
    let declaring = isStaleSecond ? 0 : 1
    // Another version, so that this half's schema has a revision of its own too.
    (core, notes) = try open([declaring], indexes: [Index("first", version: 1) { HalvesTests.first($1) }])
    _ = try core.keyspace("notes", nil, indexes: [Index("other") { HalvesTests.first($1) }])
    try core.close()
    (core, notes) = try open([1 - declaring], indexes: [])
    try put(notes, "b")
    try core.close()

    (core, notes) = try open([0, 1], indexes: [index])
    let revisions = try core.presentMembers.map {
      try Schema(decoding: try #require(try $0.system.get(Member.SystemKey.schema)))
    }
    #expect(revisions[0] == revisions[1])
    try build(notes)
    var found: Set<String> = []
    for term in ["a", "b"] {
      let hits = try notes.query("first", .equals(Array(term.utf8)), limit: 100).hits
      for hit in hits { found.insert(term + "/" + String(decoding: hit.key, as: UTF8.self)) }
    }
    var expected: Set<String> = []
    for key in keys {
      let record = try key.withKeyBytes { bytes throws(DatabaseError) in try notes.record(bytes) }
      for sibling in record?.siblings.elements ?? [] {
        expected.insert(String(decoding: sibling.value.prefix(1), as: UTF8.self) + "/" + key)
      }
    }
    #expect(expected.count > keys.count)
    #expect(found == expected)
    try core.close()
  }

  @Test func `schemas of one revision that differ in an index leave none of them in force`() throws {
    func schema(_ revision: UInt64, _ indexes: [Schema.Index]) -> Schema {
      var schema = Schema()
      schema.revision = revision
      schema.keyspaces = [
        Schema.Keyspace(id: 1, name: "notes", kind: .keep, replicas: 1, indexes: indexes)
      ]
      return schema
    }
    let current = Schema.Index(name: "i", extractorVersion: 1, generation: 4, state: .current)
    let other = Schema.Index(name: "j", extractorVersion: 1, generation: 5, state: .current)
    #expect(Schema.merged([]) == nil)
    #expect(Schema.merged([schema(5, [current]), schema(5, [current])]) == schema(5, [current]))
    #expect(Schema.merged([schema(4, []), schema(5, [])]) == schema(5, []))
    let stale = Schema.Index(name: "i", extractorVersion: 1, generation: 6, state: .stale)
    for schemas in [[schema(5, [current]), schema(5, [])], [schema(5, [current]), schema(3, [])]] {
      #expect(Schema.merged(schemas) == schema(6, [stale]))
    }
    // What all say is kept; what only an older one says is not there.
    let merged = Schema.merged([schema(5, [current, other]), schema(4, [current])])
    #expect(merged?.keyspaces[0].indexes.map(\.state) == [.current, .stale])
    #expect(Schema.merged([schema(5, [current]), schema(4, [current, other])])?.revision == 6)
  }

  /// A copy that a power loss cut off is given up when all stores are there again: also where one was
  /// opened and closed alone in between.
  @Test func `copies under way are given up after a crash, also by way of half a database`() throws {
    let world = TransferWorld(seed: 11)
    var core = try world.open([0], partitions: 1)
    _ = try RebalanceTests.fill(core, 50)
    _ = try core.addStore(TransferWorld.path(1), weight: 1000, zone: "")
    try core.changeStore(try core.memberID(at: TransferWorld.path(0)), weight: 1, zone: nil)
    while core.rebalance.current?.keys ?? 0 < 50 { try require(world.run(1) == 1, "no job waits") }
    let crashed = TransferWorld(seed: 12, world.fileSystem.crashClone(.keepAll, seed: 3))
    for store in [0, 1] {
      core = try crashed.open([store], partitions: 1) { $0.allowsMissingStores = true }
      #expect(core.ringState.copies.count == 1)
      try core.close()
    }
    core = try crashed.open([0, 1], partitions: 1)
    // Before the mover's first job.
    let state = core.adoption ?? core.ringState
    #expect(state.copies.isEmpty && state.drops.count == 1, "\(state.copies), \(state.drops)")
    try core.close()
  }
}

extension KeyspaceCore {
  /// Who coordinates a key; `nil` where no open store holds it.
  fileprivate func member(of key: String) -> Member? { key.withKeyBytes { member(for: $0) } }
}
