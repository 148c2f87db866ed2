import Roost
import RoostSimulation
import TestSupport
import Testing

/// Two databases resolve the same siblings. Were each to store what it resolved, the two would be
/// concurrent again, and again: resolvers run on reads, and store nothing.
// Budget: 1 s
@Suite struct Interleaving15ResolutionTests {
  private let longest = KeyspacePolicy.eventual(
    .resolve { values in values.max { ($0.count, "\($0)") < ($1.count, "\($1)") } })

  @Test func `resolved siblings come to rest`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1), longest)
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2), longest)
    try a.put("k", "short")
    try b.put("k", "much longer")
    try a.exchange(with: b)
    let record = try a.record("k")
    let tokens = [try a.changes().token, try b.changes().token]
    for _ in 0..<5 {
      for database in [a, b] { #expect(try database.values("k") == ["much longer"]) }
      #expect(try a.changes(since: tokens[0]).changes.isEmpty)
      #expect(try b.changes(since: tokens[1]).changes.isEmpty)
      try a.exchange(with: b)
    }
    #expect(try a.record("k") == record && record?.siblings.count == 2)
    #expect(try b.record("k") == record)
    // Whoever writes with the context of the read replaces both.
    try a.put("k", "merged", try a.context("k"))
    try a.exchange(with: b)
    for database in [a, b] { #expect(try database.record("k")?.siblings.count == 1) }
  }
}
