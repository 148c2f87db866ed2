import Foundation
import TestSupport
import Testing

@testable import RoostSimulation

/// Histories for outside checkers, line by line.
// Budget: 2 s
@Suite struct HistoryLineTests {
  @Test func `a line says who asked for what, and when`() {
    let line = HistoryLine(
      index: 3, .info, process: 1, id: "7", nanoseconds: 5_000,
      [HistoryLine.operation("w", "k", HistoryLine.json("a \"quoted\"\\\n\u{1} ü"))], more: [("node", "2")])
    #expect(
      line.text == #"{"index":3,"type":"info","process":1,"f":"txn","id":"7","time":5000,"#
        + #""value":[["w","k","a \"quoted\"\\\n\u0001 ü"]],"node":2}"# + "\n")
  }

  private struct Line {
    var type: String
    var process: Int
    var id: String
    var time: Int
    var value: [Any]
    var object: [String: Any]

    init(_ text: Substring) throws {
      let parsed = try JSONSerialization.jsonObject(with: Data(text.utf8))
      object = try #require(parsed as? [String: Any])
      type = try #require(object["type"] as? String)
      process = try #require(object["process"] as? Int)
      id = try #require(object["id"] as? String)
      time = try #require(object["time"] as? Int)
      let values = try #require(object["value"] as? [[Any]])
      value = try #require(values.first)
    }
  }

  private func lines(_ history: String) throws -> [Line] {
    try history.split(separator: "\n").map { try Line($0) }
  }

  @Test func `a world's history has all calls, and what came of them`() throws {
    let history = try Simulation(seed: 21).run { world in
      let nodes = try world.cluster(of: 3)
      let first = try world.put("k", "v", at: nodes[0])
      try world.put("k", "w", at: nodes[1], context: first, synced: false)
      _ = try world.get("k", at: nodes[2])
      try world.increment("n", by: 4, at: nodes[0])
      _ = try world.get("n", at: nodes[0])
      try world.insert("e", into: "s", at: nodes[0])
      _ = try world.get("s", at: nodes[0])
      try world.crash(nodes[0])
      #expect(throws: (any Error).self) { try world.put("k", "x", at: nodes[0]) }
      return world.jsonHistory
    }
    let lines = try lines(history)
    let answered = (0..<7).flatMap { _ in ["invoke", "ok"] }
    #expect(lines.map(\.type) == answered + ["invoke", "fail"])
    #expect(lines.enumerated().allSatisfy { $0.offset == $0.element.object["index"] as? Int })
    #expect(zip(lines, lines.dropFirst()).allSatisfy { $0.time <= $1.time })
    #expect(lines[0].value as? [String] == ["w", "k", "v"])
    #expect(lines[0].object["synced"] as? Bool == true && lines[2].object["synced"] as? Bool == false)
    #expect(lines[2].object["replaces"] as? [String] == [lines[0].id])
    #expect(lines[4].value[2] is NSNull)
    #expect(lines[5].value[2] as? [String] == ["w"])
    #expect(lines[9].value[2] as? Int == 4)
    #expect(lines[13].value[2] as? [String] == ["e"])
    #expect(lines[15].object["error"] as? String == "unreachable")
  }

  /// As Jepsen's checkers ask for it.
  @Test func `a process does one call at a time, and none after one in doubt`() throws {
    var options = SimulationOptions()
    options.minutes = 0.5
    options.keepsHistory = true
    for seed in Seeds.of("a process does one call at a time", count: 3) {
      let report = Simulation.random(seed: seed, options)
      var open: [Int: String] = [:]
      var over: Set<Int> = []
      var kinds: Set<String> = []
      for line in try lines(report.history) {
        kinds.insert(line.type)
        if line.type == "invoke" {
          try #require(open[line.process] == nil && !over.contains(line.process), "seed \(seed)")
          open[line.process] = line.id
        } else {
          try #require(open.removeValue(forKey: line.process) == line.id, "seed \(seed)")
          if line.type == "info" { over.insert(line.process) }
        }
      }
      #expect(kinds.isSuperset(of: ["invoke", "ok", "fail"]), "seed \(seed)")
    }
  }
}
