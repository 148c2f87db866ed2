import Foundation
import Testing

/// A cluster of real processes, and the tool that asks them. The nodes run until they are killed.
struct ServedCluster {
  let roost: Roost
  let nodes: [ServedNode]

  /// Starts nodes, waits until each knows the others, and makes the keyspace `default`.
  init(_ roost: Roost, of count: Int) throws {
    self.roost = roost
    nodes = try (0..<count).map { try ServedNode(roost, "node\($0)", nodes: count, isPatient: true) }
    do {
      for node in nodes { try node.ready() }
      for node in nodes {
        let address = try node.address()
        try Self.poll("a node that knows all") {
          try members(address).allSatisfy { member in
            member["address"] as? String != "" && member["state"] as? String != "unreachable"
          }
        }
      }
      let made = try ask(nodes[0], "cluster", "make-keyspace", "default")
      try #require(made.status == 0, "\(made.errors)")
    } catch {
      kill()
      throw error
    }
  }

  func kill() { for node in nodes { node.kill() } }

  /// Asks a node: the words of the command, without where it is.
  func ask(_ node: ServedNode, _ words: String...) throws -> Roost.Outcome {
    try ask(try node.address(), words)
  }

  func ask(_ address: String, _ words: [String]) throws -> Roost.Outcome {
    try roost.run(words + ["--connect", address, "--cluster", "music", "--plain", "--timeout", "240"])
  }

  /// What a command with --json says.
  func object(_ node: ServedNode, _ words: String...) throws -> [String: Any] {
    let said = try ask(try node.address(), words + ["--json"])
    try #require(said.status == 0, "\(words): \(said.errors)")
    return try #require(
      try JSONSerialization.jsonObject(with: Data(said.text.utf8)) as? [String: Any], "\(said.text)")
  }

  /// The members as a node has them.
  func members(_ address: String) throws -> [[String: Any]] {
    let said = try ask(address, ["cluster", "status", "--json"])
    let status = try JSONSerialization.jsonObject(with: Data(said.text.utf8)) as? [String: Any]
    return try #require(status?["nodes"] as? [[String: Any]], "\(said.errors)")
  }

  /// Has every node compare all that it holds with the others, twice: the second time nothing differs.
  func expectEqualReplicas(_ nodes: [ServedNode]) throws {
    for isSecond in [false, true] {
      for node in nodes {
        let report = try object(node, "cluster", "repair")
        #expect(report["notCompared"] as? Int == 0, "\(report)")
        if isSecond { #expect(report["differing"] as? Int == 0, "\(report)") }
      }
    }
  }

  /// Asks again until it is as wished, or the time is up: each try is a process of its own.
  static func poll(_ what: String, _ wish: () throws -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: ServedNode.patience)
    while try !wish() {
      if Date() > deadline { throw ServedNode.NeverCame(description: "never came: \(what)") }
    }
  }
}

/// Processes that write to the nodes of a cluster, one key after the other and a counter among them, until
/// they are told to end: at most 100,000 each.
final class ClusterLoad {
  struct Outcome {
    /// Keys whose write was acknowledged; its value is the key with `v` before it.
    var keys: [String] = []
    /// Increments of `likes` that were acknowledged, and those of which nobody knows.
    var counted = 0
    var uncertain = 0
  }

  private let roost: Roost
  private let stop: String
  private var writers: [(process: Process, output: String)] = []

  /// Begins to write.
  ///
  /// - Parameter addresses: of the nodes, which are asked in turn.
  init(_ roost: Roost, writers count: Int, at addresses: [String]) throws {
    self.roost = roost
    stop = roost.path("stop-\(UUID().uuidString)")
    for writer in 0..<count {
      let output = roost.path("writer\(writer)-\(UUID().uuidString).out")
      try Data().write(to: URL(fileURLWithPath: output))
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/bin/bash")
      process.arguments = [
        "-c",
        """
        nodes=(\(addresses.joined(separator: " ")))
        flags=(--cluster music --plain --timeout 120)
        for ((i = 0; i < 100000; i++)); do
          [ -e "$STOP" ] && exit 0
          node="${nodes[$((i % ${#nodes[@]}))]}"
          key="w\(writer):$i"
          if ((i % 4 == 3)); then
            if "$ROOST" incr --connect "$node" "${flags[@]}" likes >/dev/null; then echo +; else echo '?'; fi
          elif "$ROOST" put --connect "$node" "${flags[@]}" "$key" "v$key"; then
            echo "$key"
          fi
        done
        """,
      ]
      process.environment = ProcessInfo.processInfo.environment.merging(
        ["ROOST": Roost.executable, "STOP": stop]) { $1 }
      process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
      // Of a node that has left they are told that it has.
      process.standardError = FileHandle.nullDevice
      try process.run()
      writers.append((process, output))
    }
  }

  /// How much was acknowledged so far.
  func acknowledged() throws -> Int {
    try writers.reduce(0) { $0 + (try roost.bytes($1.output).count { $0 == UInt8(ascii: "\n") }) }
  }

  /// Tells them to end, waits for it, and says what they were told.
  func end() throws -> Outcome {
    try Data().write(to: URL(fileURLWithPath: stop))
    var outcome = Outcome()
    for (process, output) in writers {
      process.waitUntilExit()
      for line in String(decoding: try roost.bytes(output), as: UTF8.self).split(separator: "\n") {
        switch line {
        case "+": outcome.counted += 1
        case "?": outcome.uncertain += 1
        default: outcome.keys.append(String(line))
        }
      }
    }
    return outcome
  }

  /// Whatever became of the test, nobody writes after it.
  func abandon() { for (process, _) in writers where process.isRunning { process.terminate() } }
}
