import Roost
import RoostEnvironment
import RoostSimulation
import RoostStorage
import Synchronization
import TestSupport
import Testing

@testable import RoostCluster

/// Puts that build no record, whether they look what is there or remember it, against those that do: in
/// one of two worlds that are alike, an index without terms is kept, and so every put changes a record.
// Budget: 5 s quick, 30 s full
@Suite struct PutPathTests {
  /// Set before an incarnation is drawn: the two worlds' logs draw at other moments.
  private final class Draws: Randomness {
    private let state = Atomic<UInt64>(1)

    func next() -> UInt64 {
      var random = SplitMix64(
        seed: state.wrappingAdd(1 << 32 + 1, ordering: .relaxed).oldValue)
      return random.next()
    }

    func set(_ value: UInt64) { state.store(value, ordering: .relaxed) }
  }

  private struct World {
    let environment = SimulatedEnvironment()
    let draws = Draws()
    let core: DatabaseCore
    let posts: KeyspaceCore
    var tree: Tree { get throws { try #require(posts.parts[0]).records } }
    var feed: Tree { get throws { try #require(posts.parts[0]).changes } }

    init(_ policy: KeyspacePolicy, hasIndex: Bool, recentPutBytes: Int = 0) throws {
      var environment = environment.environment
      environment.randomness = draws
      core = try DatabaseOpening.open(
        Databases.directories(1),
        Databases.options(partitions: 4) { $0.recentPutBytes = recentPutBytes }, environment)
      posts = try core.keyspace("posts", policy)
      if hasIndex {
        _ = try core.keyspace("posts", nil, indexes: [Index("none", version: 1) { _, _ in [] }])
      }
      #expect(posts.indexes.keepsAny == hasIndex)
    }
  }

  private enum Outcome: Equatable {
    case context(CausalContext)
    case failed(DatabaseError.Code)
    case done
  }

  private static func outcome(_ body: () throws -> CausalContext?) -> Outcome {
    do { return try body().map { .context($0) } ?? .done } catch let error as DatabaseError {
      return .failed(error.code)
    } catch { preconditionFailure("\(error)") }
  }

  private static func all(_ tree: Tree) throws -> [[[UInt8]]] {
    var entries: [[[UInt8]]] = []
    var cursor = try tree.cursor()
    while try cursor.next() {
      entries.append([
        unsafe cursor.key.withUnsafeBytes { unsafe [UInt8]($0) },
        unsafe cursor.value.withUnsafeBytes { unsafe [UInt8]($0) },
      ])
    }
    return entries
  }

  /// One operation, the same in each world.
  private static func operation(
    _ random: inout SplitMix64, _ contexts: [[CausalContext]]
  ) -> (World) -> Outcome {
    let number = random.below(contexts.count)
    let key = Array("key \(number)".utf8)
    let value = random.bytes(random.below(12) == 0 ? 2_000 : random.below(80))
    // Now and then another key's.
    let from = contexts[random.below(12) == 0 ? random.below(contexts.count) : number]
    let given: CausalContext? =
      random.below(3) == 0 || from.isEmpty
      ? nil : from[random.below(3) == 0 ? random.below(from.count) : from.count - 1]
    let lifetime: Duration? = random.below(5) == 0 ? .milliseconds(1 + random.below(30)) : nil
    let which = random.below(30)
    let foreign = Dot(
      replica: ReplicaID(rawValue: 1 + random.next() % 3), counter: 1 + UInt64(random.below(9)))
    let isConditional = random.below(10) == 0
    let draw = random.next()
    return { world in
      let posts = world.posts
      return outcome {
        try key.withKeyBytes { key throws(DatabaseError) -> CausalContext? in
          switch which {
          case 0: return try posts.delete(key, context: given)
          case 1:
            try posts.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
              try counter.increment(by: 1, dot: stamp.dot)
              return (true, ())
            }
          case 2:
            var record = Record()
            try causally { () throws(CausalityError) in
              try record.put(
                value, replacing: VersionVector(), dot: foreign, timestamp: Timestamp(rawValue: 1))
            }
            _ = try posts.join(key, record)
          case 3: world.environment.time.advance(byNanoseconds: 10_000_000)
          case 4 where value.count < 8:
            world.draws.set(draw)
            try posts.parts[0]!.member.takeNewIncarnation()
          case 4, 5: return posts.context(key, try posts.record(key))
          default:
            return try posts.put(
              key, value, context: given, isConditional: isConditional, timeToLive: lifetime)
          }
          return nil
        }
      }
    }
  }

  @Test func `both ways to put leave the same bytes and contexts`() throws {
    try withSeeds("PutPathTests", count: TestSize.of(quick: 8, full: 150)) { seed, random in
      let policy: KeyspacePolicy = random.below(2) == 0 ? .eventual : .eventual(.lastWriterWins)
      // What puts remember of keys may change nothing either: with room for all keys, for a few, for none.
      let recent = [0, 1, 4, 64][random.below(4)]
      let worlds = [
        try World(
          policy, hasIndex: false,
          recentPutBytes: recent * RecentPuts.firstLevelBytes),
        try World(policy, hasIndex: true),
      ]
      var contexts = [[CausalContext]](repeating: [], count: 6)
      for step in 0..<250 {
        let operation = Self.operation(&random, contexts)
        // As where a partition was deleted from the store, and is there again.
        if step % 50 == 49 { worlds[0].posts.forgetRecentPuts(in: worlds[0].core.presentMembers[0].store) }
        let outcome = operation(worlds[0])
        #expect(operation(worlds[1]) == outcome, "seed \(seed)")
        guard case .context(let context) = outcome else { continue }
        for number in contexts.indices
        where "key \(number)".withKeyBytes({ worlds[0].posts.binding($0) }) == context.binding {
          contexts[number].append(context)
        }
      }
      let entries = try Self.all(worlds[0].tree)
      #expect(!entries.isEmpty)
      #expect(entries == (try Self.all(worlds[1].tree)), "seed \(seed)")
      // What a put replaces leaves the feed with the flush.
      for world in worlds { try world.feed.flush() }
      let feed = try Self.all(worlds[0].feed)
      #expect(feed.count == entries.count)
      #expect(feed == (try Self.all(worlds[1].feed)), "seed \(seed)")
      for world in worlds { try world.core.close() }
    }
  }
}
