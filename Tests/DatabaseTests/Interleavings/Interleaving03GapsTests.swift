import Roost
import RoostSimulation
import TestSupport
import Testing

/// A replica misses one write of a key and gets the next. Were the next sent as a bare dot with a
/// raised context, the replica would claim the one it missed, and delete it elsewhere.
// Budget: 1 s
@Suite struct Interleaving03GapsTests {
  @Test func `a replica that missed a write gets it with the next`() throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(2)
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    // Keys that the first store coordinates: so all three dots are its.
    let keys = (0..<60).map { "k\($0)" }.filter { key in
      key.withKeyBytes { database.posts.member(for: $0)?.path } == directories[0]
    }
    #expect(keys.count > 5)
    for key in keys { try database.put(key, "7") }
    try database.core.close()
    database = try SynchronousDatabase(world, at: [directories[0]]) { $0.allowsMissingStores = true }
    for key in keys { try database.put(key, "15") }
    try database.core.close()
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    for key in keys { try database.put(key, "20") }
    for key in keys {
      let dots = try #require(try database.record(key)).siblings.elements.map(\.dot.replica)
      #expect(Set(dots).count == 1)
      for directory in directories {
        let siblings = try #require(try database.record(key, inStore: directory)).siblings
        #expect(siblings.count == 3, "\(key) in \(directory)")
      }
      #expect(try database.values(key) == ["15", "20", "7"])
    }
  }

  @Test func `an export that comes before an earlier one claims nothing of it`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    try a.put("k", "7")
    try a.send(to: b)
    try a.put("k", "15")
    let missed = try a.posts.export(since: nil, byteLimit: 1 << 20)
    try a.put("k", "20")
    try a.send(to: b, since: missed.token)
    #expect(try b.values("k") == ["15", "20", "7"])
    try b.send(to: a)
    #expect(try a.values("k") == ["15", "20", "7"])
    #expect(try b.core.join(missed).changed == 0)
  }
}
