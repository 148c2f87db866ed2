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
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
          try await database.removeStore(at: paths[0])
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
          try await database.addStore(at: paths[0])
          try await database.removeStore(at: paths[2])
          try await database.removeStore(at: paths[3])
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
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

  // MARK: - Money

  private static let accountCount = 12

  @Test func `money moves while its partitions do`() async throws {
    let folder = try TemporaryDirectory()
    let paths = (0..<4).map { folder.path.string + "/s\($0)" }
    let options = Databases.options(partitions: 16) {
      $0.transferBytesPerSecond = nil
      $0.transactions.longestDuration = .seconds(600)
      $0.transactions.lockWait = .seconds(60)
      $0.transactions.versionRetention = .seconds(3_600)
      $0.transactions.mostRetries = 1_000
    }
    let database = try await Database.open(at: Array(paths.prefix(2)), options)
    let accounts = try await database.keyspace("accounts", .transactional)
    let statistics = try await database.keyspace("statistics", .eventual)
    try await database.transaction(.synced) { txn in
      for number in 0..<Self.accountCount { try await txn.put("a\(number)", value: 100, in: accounts) }
    }
    let isDone = SharedFlag()
    let transfers = try await withThrowingTaskGroup(of: Int.self) { group in
      for teller in 0..<3 {
        group.addTask { try await Self.transfer(database, accounts, statistics, teller, isDone) }
      }
      group.addTask {
        try await Self.audit(database, accounts, isDone)
        return 0
      }
      do {
        for _ in 0..<TestSize.of(quick: 1, full: 4) {
          try await database.addStore(at: paths[2])
          try await database.addStore(at: paths[3])
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
          // Its coordinator may be the one in use.
          try await database.removeStore(at: paths[0])
          try await database.removeStore(at: paths[1])
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
          try await database.addStore(at: paths[0])
          try await database.addStore(at: paths[1])
          try await database.removeStore(at: paths[2])
          try await database.removeStore(at: paths[3])
          try await database.waitUntilBalanced(timeout: .seconds(1_200))
        }
      } catch { Issue.record("\(error)") }
      isDone.set()
      return try await group.reduce(0, +)
    }
    #expect(transfers > 10)
    try database.core.checkPlacement()
    try await database.close()
    let after = try await Database.open(at: Array(paths.prefix(2)), options)
    let again = try await after.keyspace("accounts")
    #expect(try await Self.total(try await after.snapshot(), again) == 100 * Self.accountCount)
    #expect(try await after.inDoubt().isEmpty)
    // Each effect once: what close cut off is told by the feed.
    let counted = try await after.keyspace("statistics")
    for try await _ in counted.changes() {
      if try await counted.counter("transfers").value() >= Int64(transfers) { break }
    }
    #expect(try await counted.counter("transfers").value() == Int64(transfers))
    try await after.close()
  }

  private static func total(_ snapshot: DatabaseSnapshot, _ accounts: Keyspace) async throws -> Int {
    var sum = 0
    for number in 0..<accountCount {
      sum += try await snapshot.get("a\(number)", Int.self, in: accounts) ?? 0
    }
    return sum
  }

  /// - Returns: how many transfers were acknowledged.
  private static func transfer(
    _ database: Database, _ accounts: Keyspace, _ statistics: Keyspace, _ teller: Int, _ isDone: SharedFlag
  ) async throws -> Int {
    var random = SplitMix64(seed: UInt64(teller))
    var count = 0
    while !isDone.isSet || count < 4 {
      let from = random.below(accountCount)
      let to = (from + 1 + random.below(accountCount - 1)) % accountCount
      try await database.transaction(count % 5 == 0 ? .synced : .applied) { txn in
        let source = try await txn.get("a\(from)", Int.self, in: accounts) ?? 0
        let target = try await txn.get("a\(to)", Int.self, in: accounts) ?? 0
        try await txn.put("a\(from)", value: source - 1, in: accounts)
        try await txn.put("a\(to)", value: target + 1, in: accounts)
        try txn.counter("transfers", in: statistics).increment()
      }
      count += 1
    }
    return count
  }

  /// The total of each moment is right, also when that moment is looked at again.
  private static func audit(
    _ database: Database, _ accounts: Keyspace, _ isDone: SharedFlag
  ) async throws {
    var past: (snapshot: DatabaseSnapshot, entries: [[UInt8]])?
    var round = 0
    while !isDone.isSet || round < 4 {
      let snapshot = try await database.snapshot()
      #expect(try await total(snapshot, accounts) == 100 * accountCount)
      let entries = try await snapshot.scan(in: accounts).map { $0.key + $0.value }
      #expect(entries.count == accountCount)
      if let past {
        #expect(try await past.snapshot.scan(in: accounts).map { $0.key + $0.value } == past.entries)
      }
      if round % 4 == 0 { past = (snapshot, entries) }
      // A plain read is a snapshot of its own moment.
      #expect(try await accounts.get("a0", as: Int.self) != nil)
      round += 1
      await Task.yield()
    }
  }
}
