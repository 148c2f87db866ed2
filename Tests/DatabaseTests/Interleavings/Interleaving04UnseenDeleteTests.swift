import Roost
import RoostSimulation
import TestSupport
import Testing

/// A value is deleted while one replica is away. Without a dot of its own the delete would leave
/// contexts that agree everywhere, and nobody who compares them would ever see the difference.
// Budget: 1 s
@Suite struct Interleaving04UnseenDeleteTests {
  private let directories = Databases.directories(3)

  /// Three replicas, of which the last missed that the first two deleted `k`.
  private func afterDelete() throws -> SynchronousDatabase {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 3, replicas: 3)
    try database.put("k", "v")
    try database.increment("likes")
    try database.core.close()
    database = try SynchronousDatabase(world, at: Array(directories.prefix(2))) {
      $0.allowsMissingStores = true
    }
    try database.delete("k")
    try database.delete("likes")
    try database.core.close()
    return try SynchronousDatabase(world, stores: 3, replicas: 3)
  }

  @Test func `the contexts tell a replica that missed a delete from those that saw it`() throws {
    let database = try afterDelete()
    for key in ["k", "likes"] {
      let seen = try #require(try database.record(key, inStore: directories[0]))
      let missed = try #require(try database.record(key, inStore: directories[2]))
      #expect(seen.isTombstone && !missed.isTombstone)
      #expect(seen.context.compare(to: missed.context) == .after)
      #expect(seen.compare(to: missed) == .after)
    }
  }

  @Test func `the delete holds, and reading brings it to who missed it`() throws {
    let database = try afterDelete()
    #expect(try database.values("k") == [])
    #expect(try database.count("likes") == 0)
    database.core.finishReadRepairs()
    for key in ["k", "likes"] {
      let records = try directories.map { try database.record(key, inStore: $0) }
      #expect(records[0]?.isTombstone == true)
      #expect(records[0] == records[1] && records[1] == records[2])
    }
  }

  @Test func `a set's removals and a flag's have dots too`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    try "s".withKeyBytes { key throws(DatabaseError) in
      try a.posts.change(key, ORSet.self) { set, stamp throws(CausalityError) in
        set.insert([1], dot: stamp.dot)
        return (true, ())
      }
    }
    try a.send(to: b)
    let before = try #require(try a.record("s"))
    try "s".withKeyBytes { key throws(DatabaseError) in
      try a.posts.change(key, ORSet.self) { set, _ throws(CausalityError) in
        (set.remove([1]), ())
      }
    }
    let after = try #require(try a.record("s"))
    #expect(after.context.compare(to: before.context) == .after)
    try b.exchange(with: a)
    #expect(try b.record("s") == after && after.isTombstone)
  }
}
