import Roost
import RoostEnvironment
import Synchronization
import TestSupport
import Testing

@testable import RoostCluster

/// Scans beside writers and moving partitions, on a real disk with real threads.
// Budget: 5 s quick, 15 s full; 20 s quick under the thread sanitizer
@Suite(.serialized) struct ScanThreadTests {
  final class Flag: Sendable {
    let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
  }

  static func options() -> DatabaseOptions { Databases.options(partitions: 8) }

  @Test func `keys that stay are shown once each, beside writes, flushes and moves`() async throws {
    let folder = try TemporaryDirectory()
    let directories = (0..<3).map { folder.path.string + "/\($0)" }
    let database = try await Database.open(at: directories, Self.options())
    let posts = try await database.keyspace("posts", .eventual(.lastWriterWins))
    let staying = (0..<400).map { "stays\($0)" }.sorted()
    for key in staying { try await posts.put(key, "value of \(key)") }
    let isDone = Flag()
    let rounds = TestSize.of(quick: 15, full: 100)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<2 {
        group.addTask {
          var random = SplitMix64(seed: UInt64(writer))
          while !isDone.isSet {
            let number = random.below(400)
            let key = "stays\(number)"
            try await posts.put(key, "value of \(key)")
            if random.below(2) == 0 {
              try await posts.put("comes\(number)", String(repeating: "x", count: random.below(200)))
            } else {
              try await posts.delete("comes\(number)")
            }
          }
        }
      }
      group.addTask {
        let core = database.core
        var random = SplitMix64(seed: 9)
        while !isDone.isSet {
          try Self.move(posts.core, random.below(8), to: random.below(core.presentMembers.count))
          await Task.yield()
        }
      }
      for round in 0..<rounds {
        var shown: [String] = []
        var last: [UInt8]?
        for try await entry in posts.scan(.all, round % 2 == 0 ? .ascending : .descending) {
          let key = entry.key
          if let last { #expect((last < key) == (round % 2 == 0) && last != key) }
          last = key
          guard entry.keyText.hasPrefix("stays") else { continue }
          shown.append(entry.keyText)
          #expect(entry.text == "value of \(entry.keyText)")
        }
        #expect(shown.sorted() == staying)
      }
      isDone.set()
      try await group.waitForAll()
    }
    try await database.close()
  }

  /// Moves a partition with all writers held up, and drops it at the source while readers go on.
  private static func move(_ keyspace: KeyspaceCore, _ partition: Int, to target: Int) throws {
    let shared = keyspace.shared
    let start = StoredKey.make(partition)
    let end = StoredKey.end(of: partition)!
    let source: KeyspacePart? = try shared.locks.withAll {
      let slot = shared.routes.owner(partition)
      guard slot != target, let from = keyspace.parts[slot], let to = keyspace.parts[target] else {
        return nil
      }
      var records = try from.records.cursor(from: start, to: end)
      while try records.next() { try to.records.put(records.keyBytes, records.valueBytes) }
      shared.routes.set(partition, owners: [target], tenancies: [2], pending: nil)
      return from
    }
    try source?.records.deleteRange(from: start, to: end)
  }
}
