import Roost
import RoostSimulation
import TestSupport
import Testing

/// A store loses what others have got from it, then writes again (the family of riak_kv#679): as
/// another incarnation, or its new writes would meet their dots, and one of the two would go.
// Budget: 2 s
@Suite struct LostStateTests {
  enum Loss: CaseIterable {
    /// The machine loses its power before anything was synced.
    case powerLoss
    /// The directory is wiped, and an older copy is put in its place.
    case olderCopy
  }

  /// A database that has lost `written`, which `other` holds.
  private func lost(
    _ loss: Loss, _ other: SynchronousDatabase, _ written: (SynchronousDatabase) throws -> Void
  ) throws -> SynchronousDatabase {
    let world = SimulatedEnvironment(seed: 1)
    var database = try SynchronousDatabase(world)
    try database.core.close()
    let path = Databases.directories(1)[0]
    if loss == .olderCopy { try copyDirectory(path, "/backup", world.fileSystem) }
    database = try SynchronousDatabase(world)
    try written(database)
    try database.send(to: other)
    switch loss {
    case .powerLoss: return try database.after(world.crashed(.dropAll, seed: 5))
    case .olderCopy:
      try database.core.close()
      try emptyDirectory(path, world.fileSystem)
      try copyDirectory("/backup", path, world.fileSystem)
      return try SynchronousDatabase(world)
    }
  }

  @Test(arguments: Loss.allCases) func `what others hold stays`(loss: Loss) throws {
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    let database = try lost(loss, other) { database in
      for number in 0..<5 { try database.put("k", "v\(number)") }
      for number in 0..<5 { try database.put("k\(number)", "v") }
    }
    #expect(try database.values("k") == [] && (try database.values("k3")) == [])
    // It writes before it hears of what it lost: as many writes as are lost, and more.
    for number in 0..<9 { try database.put("k\(number)", "new") }
    try database.put("k", "new")
    try database.exchange(with: other)
    for database in [database, other] {
      #expect(try database.values("k") == ["new", "v0", "v1", "v2", "v3", "v4"])
      for number in 0..<5 { #expect(try database.values("k\(number)") == ["new", "v"]) }
      for number in 5..<9 { #expect(try database.values("k\(number)") == ["new"]) }
    }
  }

  @Test(arguments: Loss.allCases)
  func `a lost tombstone does not take what is written after`(loss: Loss) throws {
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    let database = try lost(loss, other) { database in
      for _ in 0..<5 {
        try database.put("k", "v")
        try database.delete("k")
      }
    }
    try database.put("k", "new")
    try database.exchange(with: other)
    for database in [database, other] { #expect(try database.values("k") == ["new"]) }
  }

  @Test(arguments: Loss.allCases)
  func `a counter's lost increments and the new ones add up`(loss: Loss) throws {
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    let database = try lost(loss, other) { database in
      for _ in 0..<5 { try database.increment("likes") }
    }
    try database.increment("likes", by: 10)
    try database.exchange(with: other)
    for database in [database, other] { #expect(try database.count("likes") == 15) }
  }

  @Test(arguments: Loss.allCases)
  func `what was lost comes back with its context, and a write replaces it`(loss: Loss) throws {
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    let database = try lost(loss, other) { try $0.put("k", "v") }
    try other.send(to: database)
    #expect(try database.values("k") == ["v"])
    try database.put("k", "w", try database.context("k"))
    try database.send(to: other)
    for database in [database, other] { #expect(try database.values("k") == ["w"]) }
  }

  /// A partition's states may name stores that do not hold it, from before it moved.
  @Test func `a store learns of its lost dots from a key that another store holds`() throws {
    let database = try SynchronousDatabase(stores: 2)
    let key = try #require(
      (0..<50).map { "k\($0)" }.first { key in
        key.withKeyBytes { database.posts.member(for: $0)?.path } == Databases.directories(2)[1]
      })
    let members = database.core.presentMembers
    let before = members.map(\.replica)
    var state = Record()
    try state.put(
      [1], replacing: VersionVector(), dot: Dot(replica: before[0], counter: 1_000),
      timestamp: Timestamp(milliseconds: 1_735_689_600_000))
    _ = try key.withKeyBytes { bytes throws(DatabaseError) in try database.posts.join(bytes, state) }
    #expect(members[0].replica != before[0] && members[1].replica == before[1])
  }
}
