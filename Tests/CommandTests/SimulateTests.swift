import Foundation
import TestSupport
import Testing

/// `roost simulate`, as users run it.
// Budget: 10 s
@Suite struct SimulateTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func object(_ text: some StringProtocol) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], "\(text)")
  }

  @Test func `a seed tells its hash, the same in each process`() throws {
    let first = try roost.run("simulate", "--seed", "1", "--minutes", "1", "--json")
    try #require(first.status == 0, "\(first.text) \(first.errors)")
    let found = try object(first.text)
    #expect(found["seed"] as? Int == 1)
    #expect(found["ok"] as? Bool == true)
    #expect(found["events"] as? Int ?? 0 > 1_000)
    #expect((found["trace_hash"] as? String)?.count == 16)
    #expect((found["violations"] as? [String]) == [])
    // Hashes of the standard library differ from process to process: nothing may go by their order.
    let second = try roost.run("simulate", "--seed", "1", "--minutes", "1", "--json")
    #expect(second.text == first.text)
  }

  @Test func `several seeds, in words`() throws {
    let outcome = try roost.run("simulate", "--seed", "5", "--seeds", "3", "--minutes", "0.1", "--nodes", "4")
    #expect(outcome.status == 0, "\(outcome)")
    #expect(outcome.lines.map { $0.prefix(11) } == ["seed 5: ok,", "seed 6: ok,", "seed 7: ok,"])
  }

  @Test func `nodes, quorums and faults are chosen, and calls are written into a file`() throws {
    let folder = try TemporaryDirectory()
    let path = folder.appending("calls.jsonl").string
    let outcome = try roost.run(
      "simulate", "--seed", "3", "--minutes", "0.2", "--nodes", "5", "--replicas", "5", "--read", "3",
      "--write", "3", "--clients", "6", "--keyspace-replicas", "4", "--faults", "network,power,members",
      "--reaping", "never", "--history", path)
    #expect(outcome.status == 0, "\(outcome)")
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    #expect(lines.count > 50)
    for line in lines.prefix(20) {
      let found = try object(line)
      #expect(found["process"] is Int && found["time"] is Int && found["value"] is [[Any]])
      #expect(["invoke", "ok", "fail", "info"].contains(found["type"] as? String))
    }
  }

  @Test func `transactions between the nodes are asked for`() throws {
    let outcome = try roost.run("simulate", "--seed", "2", "--minutes", "0.2", "--transactions")
    #expect(outcome.status == 0, "\(outcome)")
    #expect(outcome.lines.first?.contains(" committed, ") == true, "\(outcome)")
  }

  @Test func `what it does not take is a wrong usage`() throws {
    for wrong in [
      ["--minutes", "0"], ["--nodes", "65"], ["--seeds", "0"], ["--seed", "-1"],
      ["--replicas", "4"], ["--write", "4"], ["--read", "0"], ["--clients", "0"], ["--faults", "fire"],
      ["--history", "file", "--seeds", "2"], ["--reaping", "often"], ["--keyspace-replicas", "4"],
      ["--keyspace-replicas", "2", "--read", "3"],
    ] {
      #expect(try roost.run(["simulate"] + wrong).status == 64, "\(wrong)")
    }
    let help = try roost.run("simulate", "--help")
    #expect(help.status == 0 && help.text.contains("roost simulate --seed 7"))
  }
}
