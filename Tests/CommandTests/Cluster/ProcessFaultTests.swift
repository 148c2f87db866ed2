import Foundation
import RoostEnvironment
import TestSupport
import Testing

/// Nodes in processes that are killed, stopped and given other disks while clients write: nothing that was
/// acknowledged is lost, nothing that was deleted comes back, each increment counts once, and in the end all
/// replicas are equal.
// Budget: 40 s
@Suite(.serialized, .timeLimit(.minutes(6))) struct ProcessFaultTests {
  /// How many writes are to be acknowledged between two faults.
  private let some = TestSize.of(quick: 60, full: 300)

  private func withSeed(_ name: String, _ body: (UInt64) async throws -> Void) async throws {
    for seed in Seeds.of(name, count: 1) {
      do { try await body(seed) } catch {
        print("\(name): failed. Replay: ROOST_SEED=\(seed) tools/test --filter ProcessFaultTests")
        throw error
      }
    }
  }

  @Test(arguments: TestSize.isFull ? [3, 5] : [5])
  func `nodes that are killed or stand still take nothing with them`(_ count: Int) async throws {
    try await withSeed("nodes that are killed or stand still") { seed in
      var random = SplitMix64(seed: seed)
      // The random nodes of each round: one to be killed, and another.
      let rounds = (0..<TestSize.of(quick: 1, full: 3)).map { _ in
        let killed = random.below(count)
        return (killed, (killed + 1 + random.below(count - 1)) % count)
      }
      try await ProcessCluster.with(count) { cluster in
        let load = RecordedLoad(cluster, seed: seed)
        try await load.during {
          try await load.acknowledge(some)
          for (round, (killed, stopped)) in rounds.enumerated() {
            await cluster.kill(killed)
            try await load.acknowledge(some)
            // Else two of a key's three replicas are away at a time, and others have to stand in for them:
            // there must be others.
            let comesBackFirst = count == 3 || round % 2 == 0
            if comesBackFirst {
              try await cluster.restart(killed)
              try await load.acknowledge(some)
            }
            // Nobody is told that it will not answer: calls that need it wait until their time is over.
            cluster.suspend(stopped)
            try await load.acknowledge(some / (comesBackFirst ? 5 : 10))
            // What it had in hand it does now, however late.
            cluster.resume(stopped)
            if !comesBackFirst { try await cluster.restart(killed) }
            try await load.acknowledge(some)
          }
        }
        try await load.check()
      }
    }
  }

  @Test func `a disk that went back, and one that comes up empty`() async throws {
    let files = FileManager.default
    try await withSeed("a disk that went back") { seed in
      try await ProcessCluster.with(3) { cluster in
        let store = cluster.store(2)
        let (older, kept) = (store + "-older", store + "-kept")
        let load = RecordedLoad(cluster, seed: seed)
        try await load.during {
          try await load.acknowledge(some)
          // The copy is to have hints for another node, which are long handed over when it comes back.
          await cluster.kill(1)
          try await load.acknowledge(some)
          let hints = try await cluster.withClient(of: 2) { try await $0.status().counters.hints }
          #expect(hints > 0)
          #expect(try await cluster.end(2) == 0)
          try await onThread { try FileManager.default.copyItem(atPath: store, toPath: older) }
          try await cluster.restart(2)
          try await cluster.restart(1)
          try await load.acknowledge(some)

          // It is the same member, and has forgotten what it wrote: the others have seen dots of it that it
          // must not give to other writes, and those come at once.
          await cluster.kill(2)
          try files.removeItem(atPath: store)
          try files.moveItem(atPath: older, toPath: store)
          try await cluster.restart(2)
          try await load.acknowledge(some)

          // A disk that was not mounted, or a new one, is another store, for which the ring has no place.
          await cluster.kill(2)
          try files.moveItem(atPath: store, toPath: kept)
          let (code, errors) = try await cluster.refused(2)
          #expect(code == 66 && errors.contains("the cluster was founded without the store in"), "\(errors)")
          try await load.acknowledge(some)
          try files.removeItem(atPath: store)
          try files.moveItem(atPath: kept, toPath: store)
          try await cluster.restart(2)
          try await load.acknowledge(some)
        }
        try await load.check()
      }
    }
  }
}
