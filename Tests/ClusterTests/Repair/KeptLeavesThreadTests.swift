import Foundation
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Threads that write keys of one leaf, beside others that check the leaves.
// Budget: 3 s quick, 10 s full; 15 s quick under the thread sanitizer.
@Suite(.serialized) struct KeptLeavesThreadTests {
  @Test func `writers in one leaf lose no change, and checks beside them find nothing`() throws {
    let folder = try TemporaryDirectory()
    let warnings = Guarded<[String]>([])
    let store = try LeafStore(.posix(), at: folder.appending("db").string, partitions: 1) { text in
      warnings.withLock { $0.append(text) }
    }
    let hasher = RecordHasher(seed: store.keyspace.leafSeed)
    let keys = (0..<20_000).map { "k\($0)" }.filter {
      let key = Array($0.utf8)
      return unsafe hasher.leaf(of: key.span.bytes) == 77
    }
    #expect(keys.count > 4)
    let (threads, rounds) = (4, TestSize.of(quick: 300, full: 3_000))
    let failures = Guarded<[String]>([])
    let wrong = Guarded(0)
    let group = DispatchGroup()
    for thread in 0...threads {
      group.enter()
      Thread {
        defer { group.leave() }
        do {
          if thread == threads {
            // The first of these makes the leaves, in the middle of writes.
            for seed in 0..<UInt64(rounds / 10) {
              let made = try store.compared(0, seed: seed % 2 == 0 ? nil : seed)
              wrong.withLock { $0 += made.wrongLeaves }
            }
            return
          }
          for round in 0..<rounds {
            let key = keys[(round &* 7 &+ thread) % keys.count]
            try store.change(key, round % 3 == 0 ? .insert([[UInt8(thread)]]) : .remove([[UInt8(thread)]]))
          }
        } catch { failures.withLock { $0.append("\(error)") } }
      }.start()
    }
    group.wait()
    #expect(failures.withLock { $0 } == [])
    #expect(wrong.withLock { $0 } == 0 && warnings.withLock { $0 } == [])
    #expect(try store.check("the end") == 1)
    let kept = try store.compared(0)
    #expect(!kept.isScanned && kept.tree.keyCount > 0)
    #expect(try store.compared(0, seed: 1).wrongLeaves == 0)
    try store.core.close()
  }
}
