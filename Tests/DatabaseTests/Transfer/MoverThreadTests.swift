import Foundation
import Roost
import TestSupport
import Testing

/// The mover on threads of its own, beside tasks that write and read: stores are added and removed
/// meanwhile, and nothing is lost, doubled or read as if it had never been.
// Budget: 10 s quick, 60 s full; 60 s quick under the thread sanitizer.
@Suite(.serialized) struct MoverThreadTests {
  @Test(arguments: [1, 2])
  func `stores come and go beside writers and readers`(replicas: Int) async throws {
    let folder = try TemporaryDirectory()
    let paths = (0..<4).map { folder.path.string + "/s\($0)" }
    let options = Databases.options(partitions: 16, replicas: replicas) {
      $0.transferBytesPerSecond = nil
    }
    let database = try await Database.open(at: Array(paths.prefix(2)), options)
    let posts = try await database.keyspace("posts", .eventual)
    for number in 0..<200 { try await posts.put("old\(number)", "v") }
    let isDone = SharedFlag()
    let counts = try await withThrowingTaskGroup(of: [String: Int].self) { group in
      for writer in 0..<3 {
        group.addTask { try await Self.write(posts, writer, isDone) }
      }
      for reader in 0..<2 {
        group.addTask {
          try await Self.read(posts, reader, isDone)
          return [:]
        }
      }
      do {
        for _ in 0..<TestSize.of(quick: 1, full: 4) {
          try await database.addStore(at: paths[2])
          try await database.addStore(at: paths[3])
          try await database.waitUntilBalanced(timeout: .seconds(240))
          try await database.removeStore(at: paths[0])
          try await database.waitUntilBalanced(timeout: .seconds(240))
          try await database.addStore(at: paths[0])
          try await database.removeStore(at: paths[2])
          try await database.removeStore(at: paths[3])
          try await database.waitUntilBalanced(timeout: .seconds(240))
        }
      } catch { Issue.record("\(error)") }
      isDone.set()
      return try await group.reduce(into: [:]) { all, one in all.merge(one) { $1 } }
    }
    #expect(counts.count > 3)
    try await Self.check(posts, counts)
    try database.core.checkPlacement()
    try await database.close()
    let after = try await Database.open(at: Array(paths.prefix(2)), options)
    try await Self.check(try await after.keyspace("posts"), counts)
    try await after.close()
  }

  /// Each key is one writer's own. Returns how often it wrote each.
  private static func write(
    _ posts: Keyspace, _ writer: Int, _ isDone: SharedFlag
  ) async throws -> [String: Int] {
    var counts: [String: Int] = [:]
    var round = 0
    while !isDone.isSet || round < 50 {
      let key = "w\(writer)-\(round % 60)"
      let number = counts[key, default: 0] + 1
      // Every tenth survives a power loss: that waits for all who own the key at that moment.
      let durability: Durability = round % 10 == 0 ? .synced : .applied
      let context = try await posts.get(key).context
      try await posts.put(key, "\(number)", context: context, durability)
      counts[key] = number
      let found = try await posts.get(key).values.map { String(decoding: $0, as: UTF8.self) }
      #expect(found == ["\(number)"], "\(key)")
      try await posts.counter("likes\(writer)").increment()
      round += 1
      if round % 8 == 0 { await Task.yield() }
    }
    counts["likes\(writer)"] = round
    return counts
  }

  private static func read(
    _ posts: Keyspace, _ reader: Int, _ isDone: SharedFlag
  ) async throws {
    var random = SplitMix64(seed: UInt64(reader))
    while !isDone.isSet {
      let key = "old\(random.below(200))"
      #expect(try await posts.get(key).text == "v", "\(key)")
      if random.below(50) == 0 {
        var old = 0
        for try await entry in posts.scan(.prefix("old")) where entry.text == "v" { old += 1 }
        #expect(old == 200)
      }
      await Task.yield()
    }
  }

  private static func check(_ posts: Keyspace, _ counts: [String: Int]) async throws {
    for number in 0..<200 { #expect(try await posts.get("old\(number)").text == "v") }
    for (key, count) in counts {
      if key.hasPrefix("likes") {
        #expect(try await posts.counter(key).value() == Int64(count), "\(key)")
      } else {
        #expect(try await posts.get(key).values == [Array("\(count)".utf8)], "\(key)")
      }
    }
  }
}
