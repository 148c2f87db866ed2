import Roost
import RoostSimulation
import TestSupport
import Testing

/// The records of the system tree: `identity`, `clock`, `ring`, `schema`. What is damaged or newer is
/// refused; nothing that stands there traps.
// Budget: 10 s
@Suite struct SystemRecordTests {
  private let world = SimulatedEnvironment()
  private static let keys = [
    Member.SystemKey.identity, Member.SystemKey.clock, Member.SystemKey.ring, Member.SystemKey.schema,
  ]

  private func open() async throws -> Database {
    try await Databases.open(world, stores: 2, partitions: 4)
  }

  private func store(_ directory: String = "/disk0/db") throws -> Store {
    try Store.open(at: directory, Databases.options().store, environment: world.environment)
  }

  private func make() async throws {
    let database = try await open()
    let posts = try await database.keyspace("posts", .eventual)
    _ = try await database.keyspace("songs", .eventual(.lastWriterWins))
    for number in 0..<8 { try await posts.put("k\(number)", "v") }
    try await database.close()
  }

  @Test(arguments: keys)
  func `a record of a later version is refused`(key: String) async throws {
    try await make()
    let store = try store()
    var bytes = try #require(try store.tree(Member.systemTree).get(key))
    #expect(bytes[0] == 1)
    // Schemas have a version 2, those with transactional keyspaces, a version 3, those with quorums, and a
    // version 4, those with keyspaces on fewer stores.
    let later: UInt8 = key == Member.SystemKey.schema ? 5 : 2
    bytes[0] = later
    try store.tree(Member.systemTree).put(key, bytes)
    try store.close()
    let error = await databaseError { _ = try await open() }
    #expect(error?.code == .newerFormat)
    #expect(error?.message.contains(key) == true)
    #expect(error?.message.contains("version \(later)") == true)
  }

  /// Each byte of each record is changed: opening throws, or what stands there is a record too, and
  /// the database works as far as it goes.
  @Test(arguments: keys)
  func `a damaged record never traps`(key: String) async throws {
    try await make()
    let pristine = world.fileSystem.processKillClone()
    func opened(_ bytes: [UInt8], both: Bool) async -> DatabaseError.Code? {
      let copy = SimulatedEnvironment(seed: 5, fileSystem: pristine.processKillClone())
      do {
        for directory in both ? ["/disk0/db", "/disk1/db"] : ["/disk0/db"] {
          let store = try Store.open(
            at: directory, Databases.options().store, environment: copy.environment)
          try store.tree(Member.systemTree).put(key, bytes)
          try store.close()
        }
        let database = try await Databases.open(copy, stores: 2, partitions: 4)
        for name in database.keyspaceNames {
          let keyspace = try await database.keyspace(name)
          for number in 0..<8 {
            _ = try await keyspace.get("k\(number)")
            try await keyspace.put("k\(number)", "w", .synced)
          }
        }
        _ = try await database.keyspace("more", .eventual)
        try await database.close()
        return nil
      } catch let error as DatabaseError {
        return error.code
      } catch {
        Issue.record("\(error)")
        return nil
      }
    }
    let store = try store()
    let good = try #require(try store.tree(Member.systemTree).get(key))
    try store.close()
    #expect(await opened(good, both: false) == nil)
    var refused = 0
    let step = TestSize.of(quick: 5, full: 1)
    for index in stride(from: 0, to: good.count, by: step) {
      for value in [good[index] ^ 1, good[index] ^ 0x80, 0, 0xFF] where value != good[index] {
        var damaged = good
        damaged[index] = value
        // The ring and the schema are the same in all stores: damaged in both, none helps out.
        if await opened(damaged, both: key == "ring" || key == "schema") != nil { refused += 1 }
      }
      #expect(await opened(Array(good.prefix(index)), both: false) == .corruption)
    }
    #expect(await opened(good + [0], both: false) == .corruption)
    #expect(refused > 0 || key == "clock")
  }

  /// Random bytes, and good ones with a random part changed, thousands of times.
  @Test func `decoders throw or succeed`() async throws {
    try await make()
    let store = try store()
    let system = try store.tree(Member.systemTree)
    let good = try Self.keys.map { try #require(try system.get($0)) }
    try store.close()
    let decoders: [([UInt8]) throws -> [UInt8]] = [
      { try IdentityRecord(decoding: $0).encoded() }, { ClockRecord.encode(try ClockRecord.decode($0)) },
      { try RingState(decoding: $0).encoded() }, { try Schema(decoding: $0).encoded() },
    ]
    for (bytes, decode) in zip(good, decoders) { #expect(try decode(bytes) == bytes) }
    try withSeeds("decoders throw or succeed", count: TestSize.of(quick: 2, full: 20)) { _, random in
      for _ in 0..<500 {
        for (index, decode) in decoders.enumerated() {
          var bytes = random.below(4) == 0 ? random.bytes(random.below(80)) : good[index]
          for _ in 0..<random.below(4) where !bytes.isEmpty {
            bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
          }
          do {
            // What decodes is what a writer gives: one encoding for each record.
            let again = try decode(bytes)
            try #require(again == bytes)
          } catch let error as DatabaseError {
            #expect(error.code == .corruption || error.code == .newerFormat)
          }
        }
      }
    }
  }
}
