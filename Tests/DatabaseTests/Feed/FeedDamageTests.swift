import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A record that cannot be read does not hide the changes before it.
// Budget: 1 s
@Suite struct FeedDamageTests {
  @Test(arguments: [1, 16, 256])
  func `what was read before a damaged record is told`(limit: Int) throws {
    let database = try SynchronousDatabase()
    for number in 0..<40 { try database.put("k\(number)", "v") }
    let damaged = "k20"
    let tree = database.posts.parts[0]!.records
    let stored = StoredKey.make(database.partition(damaged), Array(damaged.utf8))
    let bytes = try #require(try tree.get(stored))
    try tree.put(stored, Array(bytes.prefix(9)) + [0xFF])
    var told: [String] = []
    var token: ChangeToken?
    var failure: DatabaseError?
    while failure == nil {
      do {
        let page = try database.posts.changes(since: token, limit: ChangePageLimit(changes: limit))
        #expect(!page.isAtEnd)
        told += page.changes.compactMap(\.key)
        token = page.token
      } catch { failure = error }
      try #require(told.count < 40)
    }
    #expect(failure?.code == .corruption || failure?.code == .newerFormat, "\(String(describing: failure))")
    #expect(failure?.message.contains(damaged) == true)
    // All of its partition that came before it.
    let before = (0..<20).map { "k\($0)" }.filter { database.partition($0) == database.partition(damaged) }
    #expect(Set(told).isSuperset(of: before) && !told.contains(damaged))
    #expect(Set(told).count == told.count)
    // When it is mended, the reader goes on where it stood.
    try tree.put(stored, bytes)
    let rest = try database.changes(since: token)
    #expect(Set(told + rest.changes.compactMap(\.key)).count == 40)
    #expect(told.count + rest.changes.count == 40)
  }
}
