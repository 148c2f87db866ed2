import Foundation
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 16: what blocks runs on workers of its own, never on the few threads that async code has.
// Budget: 2 s
@Suite struct Rule16WorkersTests {
  @Test func flushesAndCompactionsRunOnWorkers() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    var options = 0
    while world.workers.waitingCount(.urgent) == 0 {
      try tree.put(Tree.key("k", options), String(repeating: "v", count: 500))
      options += 1
    }
    while store.statistics.trees[0].immutableMemtables == 0 {
      try tree.put(Tree.key("k", options), String(repeating: "v", count: 500))
      options += 1
    }
    // The full memtable waits for a worker, and nothing but a worker flushes it.
    #expect(store.statistics.flushes == 0)
    #expect(store.statistics.trees[0].immutableMemtables == 1)
    world.workers.runAll()
    #expect(store.statistics.flushes == 1)
    for round in 0..<3 {
      try tree.fill(10, seed: UInt64(round))
      try tree.flush()
    }
    try tree.fill(10, seed: 9)
    try tree.flush()
    while world.workers.runOneHere() {}
    #expect(store.statistics.compactions > 0)
  }

  /// The engine is synchronous: nothing in it can end up on the cooperative pool.
  @Test func theEngineHasNoAsyncCode() throws {
    let sources = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../../Sources/RoostStorage")
    let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
    var count = 0
    for case let file as URL in files where file.pathExtension == "swift" {
      count += 1
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        let code = line.prefix(while: { $0 != "/" })
        for word in ["await ", " async ", "Task {", "Task(", "DispatchQueue", "actor "] {
          #expect(!code.contains(word), "\(file.lastPathComponent): \(line)")
        }
      }
    }
    #expect(count > 30)
  }
}
