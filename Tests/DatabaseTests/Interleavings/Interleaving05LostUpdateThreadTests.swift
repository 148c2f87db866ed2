import Foundation
import Roost
import RoostSimulation
import TestSupport
import Testing

/// Threads that write one key, each in another way: clients, joins of another database's states,
/// repairs by reads. Each reads, joins and writes under the key's lock; without it one of two that
/// read the same record would be lost.
// Budget: 3 s quick, 10 s full; 20 s quick under the thread sanitizer.
@Suite(.serialized) struct Interleaving05LostUpdateThreadTests {
  @Test(arguments: [1, 2])
  func `no write of a key is lost beside others`(stores: Int) throws {
    let folder = try TemporaryDirectory()
    let database = try SynchronousDatabase(
      in: folder, stores: stores, partitions: 4, replicas: stores)
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2), partitions: 4)
    let rounds = TestSize.of(quick: 100, full: 400)
    let pages = try (0..<rounds).map { round in
      try other.increment("likes")
      try other.put("bio", "other\(round)", try other.context("bio"))
      return try other.posts.export(since: nil, byteLimit: 1 << 20)
    }
    let failures = Guarded<[String]>([])
    let group = DispatchGroup()
    for thread in 0..<4 {
      group.enter()
      Thread {
        defer { group.leave() }
        do {
          for round in 0..<rounds {
            switch thread {
            case 0, 1:
              try database.increment("likes")
              if round % 10 == 0 { try database.put("bio", "\(thread)-\(round)") }
            case 2: _ = try database.core.join(pages[round])
            default: _ = try database.count("likes")
            }
          }
        } catch { failures.withLock { $0.append("\(error)") } }
      }.start()
    }
    group.wait()
    #expect(failures.withLock { $0 } == [])
    #expect(try database.count("likes") == Int64(3 * rounds))
    let written = (0..<2).flatMap { thread in
      stride(from: 0, to: rounds, by: 10).map { "\(thread)-\($0)" }
    }
    #expect(try database.values("bio") == (written + ["other\(rounds - 1)"]).sorted())
    try database.core.close()
  }
}
