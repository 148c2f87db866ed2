import Foundation
import TestSupport
import Testing

/// A cluster of real processes, and the tool that asks them.
// Budget: 40 s
@Suite(.serialized, .ownThreads) struct ClusterCommandTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// Asks a node: `command` is the command's name and what stands before its words.
  private func ask(
    _ address: String, _ command: [String], _ words: String..., cluster: String = "music",
    tls: [String] = ["--plain"], timeout: String = "240"
  ) throws -> Roost.Outcome {
    try roost.run(
      command + ["--connect", address, "--cluster", cluster, "--timeout", timeout] + tls + words)
  }

  private func expect(
    _ outcome: Roost.Outcome, _ status: Int32, _ words: String..., location: SourceLocation = #_sourceLocation
  ) {
    #expect(outcome.status == status && !outcome.isSignal, "\(outcome.errors)", sourceLocation: location)
    for word in words {
      #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: location)
    }
  }

  private func object(_ text: some StringProtocol) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], "\(text)")
  }

  /// Whether a node knows where all of them are, and hears of them.
  private func knowsAll(_ address: String) throws -> Bool {
    let status = try ask(address, ["cluster", "status"], "--json")
    guard status.status == 0, let members = try object(status.text)["nodes"] as? [[String: Any]] else {
      return false
    }
    return members.allSatisfy { member in
      member["address"] as? String != "" && member["state"] as? String != "unreachable"
    }
  }

  /// Starts nodes, waits until each knows the others, and makes the keyspace `default`.
  private func start(_ count: Int) throws -> [ServedNode] {
    let nodes = try (0..<count).map { try ServedNode(roost, "node\($0)", nodes: count, isPatient: true) }
    do {
      for node in nodes { try node.ready() }
      for node in nodes {
        let address = try node.address()
        try poll("a node that knows all") { try knowsAll(address) }
      }
      let made = try ask(nodes[0].address(), ["cluster", "make-keyspace"], "default")
      try #require(made.status == 0, "\(made.errors)")
    } catch {
      for node in nodes { node.kill() }
      throw error
    }
    return nodes
  }

  /// Asks again until the answer is as wished, or the time is up: each try is a process of its own.
  private func poll(_ what: String, _ wish: () throws -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: ServedNode.patience)
    while try !wish() {
      if Date() > deadline { throw ServedNode.NeverCame(description: "never came: \(what)") }
    }
  }

  @Test func `what is written at one node is read at another`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    #expect(try nodes[0].ready() == "ready: cluster music, 3 nodes, 16 partitions, 3 replicas")
    let addresses = try nodes.map { try $0.address() }
    expect(try ask(addresses[0], ["put"], "u:1", "Ada"), 0)
    for address in addresses {
      #expect(try ask(address, ["get"], "u:1", "--raw").text == "Ada")
    }
    // The same forms as of a directory.
    let shown = try ask(addresses[1], ["get"], "u:1").text
    #expect(shown.hasPrefix("Ada    ") || shown.hasPrefix("Ada "), "\(shown)")
    let answer = try object(try ask(addresses[1], ["get"], "u:1", "--json").text)
    #expect(answer["values"] as? [String] == ["Ada"])
    let context = try ask(addresses[2], ["get"], "u:1", "--show-context").text.dropLast()
    expect(try ask(addresses[1], ["put"], "u:1", "Grace", "--context", String(context)), 0)
    #expect(try ask(addresses[0], ["get"], "u:1", "--raw").text == "Grace")
    // Written beside what is there, and then in place of both.
    expect(try ask(addresses[0], ["put"], "u:1", "Edsger"), 0)
    #expect(try ask(addresses[2], ["get"], "u:1").text.hasPrefix("2 siblings    "))
    // At all replicas, so that a deletion at another node finds it.
    expect(try ask(addresses[2], ["put"], "u:1", "Barbara", "--replace", "--sync", "--quorum", "3"), 0)
    #expect(try ask(addresses[1], ["get"], "u:1", "--raw", "--quorum", "1").text == "Barbara")
    expect(try ask(addresses[1], ["delete"], "u:1", "u:none"), 0)
    expect(try ask(addresses[0], ["get"], "u:1"), 1, "u:1")
    expect(try ask(addresses[0], ["sadd"], "tags", "swift", "lsm", "a b", "--quorum", "3"), 0)
    expect(try ask(addresses[1], ["srem"], "tags", "lsm"), 0)
    #expect(try ask(addresses[2], ["smembers"], "tags", "--json").text == "[\"a b\",\"swift\"]\n")
    expect(try ask(addresses[2], ["smembers"], "none"), 1)
    expect(try ask(addresses[0], ["incr"], "tags"), 64, "counter")
    expect(try ask(addresses[1], ["flag"], "open", "on"), 0)
    #expect(try ask(addresses[2], ["get"], "open").text.hasPrefix("flag on "))
    expect(try ask(addresses[1], ["flag"], "open", "ajar"), 64, "ajar")
    expect(try ask(addresses[2], ["assign"], "name", "Ada"), 0)
    // Over all keys, at any node.
    #expect(
      try ask(addresses[0], ["scan"], "--keys-only", "--quorum", "3").text == "name\nopen\ntags\n")
    let page = try ask(addresses[1], ["scan"], "--keys-only", "--reverse", "--limit", "2")
    #expect(page.text == "tags\nopen\n")
    let token = try #require(page.errors.split(separator: " ").last).trimmingCharacters(in: .newlines)
    #expect(
      try ask(addresses[2], ["scan"], "--keys-only", "--reverse", "--after", token).text == "name\n")
    #expect(try ask(addresses[2], ["scan"], "--count", "--prefix", "n").text == "1\n")
    let record = try object(try ask(addresses[2], ["scan"], "--json", "--prefix", "name").text)
    #expect(record["key"] as? String == "name" && (record["states"] as? [Any])?.count == 1)
    #expect(try ask(addresses[1], ["keyspaces"]).text.contains("default"))
    expect(try ask(addresses[1], ["keyspaces"], "--quorum", "2"), 64, "--quorum")
    // What a replica has missed for a moment, it tells of then.
    var since = ""
    try poll("the changes of all keys") {
      let changes = try ask(addresses[1], ["changes"], "--json")
      since = try object(try #require(changes.lines.last))["token"] as? String ?? ""
      return changes.text.contains("\"name\"") && !since.isEmpty
    }
    expect(try ask(addresses[0], ["delete"], "--prefix", "o"), 0)
    try poll("the deletion") { try ask(addresses[2], ["changes"], "--since", since).text.contains("open") }
    #expect(try ask(addresses[1], ["scan"], "--count").text == "2\n")
    expect(try ask(addresses[1], ["scan"], "./db"), 64, "one word too many")
    expect(try roost.run("scan"), 64, "<directory>")
  }

  @Test func `a session's file goes from command to command, and from node to node`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    let addresses = try nodes.map { try $0.address() }
    let file = roost.path("ada.session")
    let session = ["--quorum", "1", "--session", file]
    for round in 1...3 {
      let (here, there) = (addresses[round % 3], addresses[(round + 1) % 3])
      expect(try ask(here, ["put"] + session, "u:1", "v\(round)", "--replace"), 0)
      #expect(try ask(there, ["get"] + session, "u:1", "--raw").text == "v\(round)")
      #expect(try ask(here, ["incr"] + session, "likes").text == "\(round)\n")
      expect(try ask(there, ["sadd"] + session, "tags", "t\(round)"), 0)
      #expect(
        try ask(addresses[0], ["smembers"] + session, "tags").text.split(separator: "\n").count == round)
    }
    expect(try ask(addresses[1], ["delete"] + session, "u:1"), 0)
    expect(try ask(addresses[2], ["get"] + session, "u:1"), 1)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: roost.path(".")).filter { $0.contains("ada.") }
        == ["ada.session"], "nothing is left beside it")
    try Data("no session".utf8).write(to: URL(fileURLWithPath: file))
    expect(try ask(addresses[0], ["get"] + session, "likes"), 65, "ada.session")
    expect(try roost.run(["get", roost.path("db"), "k", "--session", file]), 64, "--connect")
  }

  @Test func `counts at three nodes at once add up`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    let addresses = try nodes.map { try $0.address() }
    let loops = addresses.map { address in
      """
      (for i in 1 2 3 4 5; do
        "$ROOST" incr --connect \(address) --cluster music --plain --timeout 240 likes --by 2 || exit 1
      done) & jobs="$jobs $!"
      """
    }
    let counted = try roost.shell(
      "jobs=\n" + loops.joined(separator: "\n") + "\nfor job in $jobs; do wait $job || exit 1; done")
    #expect(counted.status == 0, "\(counted.errors)")
    #expect(counted.lines.count == 15)
    for address in addresses {
      #expect(try ask(address, ["get"], "likes").text.hasPrefix("counter 30    "))
    }
    #expect(try ask(addresses[1], ["incr"], "likes", "--by=-30").text == "0\n")
  }

  @Test func `a keyspace where the last write counts`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    let addresses = try nodes.map { try $0.address() }
    let make = ["cluster", "make-keyspace"]
    expect(try ask(addresses[1], make, "sessions", "--policy", "lww", "--read", "4"), 64, "quorum of 4")
    expect(try ask(addresses[1], make, "sessions", "--read", "0"), 64, "--read")
    expect(
      try ask(addresses[1], make, "sessions", "--policy", "lww", "--read", "1", "--write", "3"), 0)
    #expect(
      try ask(addresses[1], ["keyspaces"]).text.contains("lww, 3 replicas, read quorum 1, write quorum 3"))
    // There already, and there in another way.
    expect(try ask(addresses[2], ["cluster", "make-keyspace"], "sessions", "--policy", "lww"), 0)
    expect(try ask(addresses[0], ["cluster", "make-keyspace"], "sessions"), 64, "sessions")
    for (address, value) in zip(addresses, ["one", "two", "three"]) {
      expect(try ask(address, ["put"], "s", value, "-k", "sessions"), 0)
    }
    #expect(try ask(addresses[0], ["get"], "s", "--raw", "-k", "sessions").text == "three")
    let status = try object(try ask(addresses[2], ["cluster", "status"], "--json").text)
    #expect(status["cluster"] as? String == "music")
    #expect(status["partitions"] as? Int == 16 && status["replicas"] as? Int == 3)
    let members = try #require(status["nodes"] as? [[String: Any]])
    #expect(Set(members.compactMap { $0["address"] as? String }) == Set(addresses))
    #expect(members.count { $0["state"] as? String == "this" } == 1)
    let names = try #require(status["keyspaces"] as? [[String: Any]]).compactMap { $0["name"] as? String }
    #expect(names.sorted() == ["default", "sessions"])
    let table = try ask(addresses[2], ["cluster", "status"])
    #expect(table.status == 0 && table.text.contains("this node") && table.text.contains(addresses[0]))
    let repair = try ask(addresses[0], ["cluster", "repair"])
    #expect(repair.status == 0 && repair.text.contains("compared") && repair.text.contains("mended"))
    let report = try object(try ask(addresses[0], ["cluster", "repair"], "--json").text)
    #expect(report["differing"] as? Int == 0 && report["notCompared"] as? Int == 0)
    #expect(report["compared"] as? Int == 64, "16 partitions of two keyspaces with two other nodes")
    #expect(report["scanned"] as? Int == 0, "the pass before has made the leaves")
    let full = try object(
      try ask(addresses[0], ["cluster", "repair"], "--full", "--json").text)
    #expect(full["scanned"] as? Int == 32 && full["wrongLeaves"] as? Int == 0)
    let after = try object(try ask(addresses[0], ["cluster", "status"], "--json").text)
    let pass = try #require(after["lastPass"] as? [String: Any])
    #expect(pass["mended"] as? Int == 0 && pass["ended"] as? Int ?? 0 > 0)
  }

  @Test func `a keyspace on fewer nodes than the others`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    let addresses = try nodes.map { try $0.address() }
    let make = ["cluster", "make-keyspace"]
    expect(try ask(addresses[0], make, "few", "--replicas", "0"), 64, "--replicas")
    expect(try ask(addresses[0], make, "few", "--replicas", "4"), 64, "4 replicas")
    expect(try ask(addresses[0], make, "few", "--replicas", "2", "--write", "3"), 64, "quorum of 3")
    expect(try ask(addresses[0], make, "few", "--replicas", "2"), 0)
    expect(try ask(addresses[1], make, "few", "--replicas", "2"), 0)
    expect(try ask(addresses[1], make, "few"), 0)
    expect(try ask(addresses[1], make, "few", "--replicas", "3"), 64, "2 replicas")
    let shown = try ask(addresses[1], ["keyspaces"])
    #expect(shown.lines.contains { $0.hasPrefix("few ") && $0.hasSuffix("siblings, 2 replicas") })
    #expect(shown.lines.contains { $0.hasPrefix("default ") && $0.hasSuffix("siblings, 3 replicas") })
    for (index, address) in addresses.enumerated() {
      expect(try ask(address, ["put"], "k\(index)", "v", "-k", "few"), 0)
    }
    for address in addresses {
      for index in 0..<3 {
        #expect(try ask(address, ["get"], "k\(index)", "--raw", "-k", "few").text == "v")
      }
      #expect(try ask(address, ["scan"], "-k", "few").lines.count == 3)
    }
    // By now each of them has heard of it.
    let told = try ask(addresses[2], ["cluster", "status"]).text
    #expect(told.contains("few (siblings, 2 replicas)"), "\(told)")
  }

  @Test func `a node that is killed is missed by nobody, and learns what it missed`() throws {
    let nodes = try start(3)
    defer { for node in nodes { node.kill() } }
    let addresses = try nodes.map { try $0.address() }
    expect(try ask(addresses[2], ["put"], "before", "1"), 0)
    nodes[2].kill()
    let keys = (0..<8).map { "k\($0)" }
    for (index, key) in keys.enumerated() {
      expect(try ask(addresses[index % 2], ["put"], key, "v" + key), 0)
      let read = try ask(addresses[1 - index % 2], ["get"], key, "--raw")
      #expect(read.text == "v" + key, "\(read.errors)")
    }
    #expect(try ask(addresses[0], ["get"], "before", "--raw").text == "1")
    let again = try ServedNode(roost, "node2", isPatient: true)
    defer { again.kill() }
    try again.ready()
    let address = try again.address()
    for key in keys + ["before"] {
      try poll("\(key) at the node that came back") {
        let read = try ask(address, ["get"], key, "--raw", "--quorum", "1")
        return read.text == (key == "before" ? "1" : "v" + key)
      }
    }
  }

  @Test func `what goes wrong is told`() throws {
    let nodes = try start(1)
    defer { for node in nodes { node.kill() } }
    let address = try nodes[0].address()
    expect(try ask(address, ["get"], "k", cluster: "films"), 69, "`films`", "`music`")
    expect(try ask(address, ["put"], "k", "v", "-k", "nowhere"), 66, "nowhere")
    expect(try ask(address, ["get"], "k", "-k", "nowhere"), 66, "nowhere")
    expect(try ask("127.0.0.1:1", ["get"], "k", timeout: "2"), 69, "127.0.0.1:1")
    expect(try ask(address, ["get"], "k", timeout: "0"), 64, "--timeout")
    expect(try ask("nonsense", ["get"], "k"), 64, "nonsense")
    expect(try ask("192.0.2.1:7420", ["get"], "k"), 64, "loopback")
    expect(try ask(address, ["put"], "k", "v", "--quorum", "3"), 64)
    expect(try ask(address, ["get"], "k", "--tree", "t"), 64, "no trees")
    expect(try ask(address, ["get"], "./db", "k"), 64, "one word too many")
    expect(try ask(address, ["put"], "k"), 64, "<value>")
    expect(try roost.run("get", "--connect", address, "--plain", "k"), 64, "--cluster")
    expect(try roost.run("get", "--connect", address, "--cluster", "music", "k"), 64, "--plain")
    expect(try roost.run("get", roost.path("db"), "k", "--quorum", "2"), 64, "--connect")
    expect(try roost.run("get", "k"), 64, "<key>")
    expect(try roost.run("cluster", "status"), 64, "--connect")
    // An absent key is no failure of the cluster.
    expect(try ask(address, ["get"], "k"), 1, "`k`")
  }

  @Test func `a node ends when it is told to, and comes back with what it had`() throws {
    let first = try start(1)[0]
    defer { first.kill() }
    expect(try ask(first.address(), ["put"], "k", "v"), 0)
    first.send(SIGTERM)
    #expect(try first.ended() == 0, "\(first.errors)")
    // Settings from a file; a flag wins.
    let file = roost.path("node.json")
    try roost.write(
      Array("{\"synced\": true, \"weight\": 7, \"cluster\": \"films\", \"zone\": \"a\"}".utf8), file)
    let second = try ServedNode(roost, "node0", nodes: 1, "--config", file)
    defer { second.kill() }
    #expect(try second.ready() == "ready: cluster music, 1 node, 16 partitions, 1 replica")
    #expect(try ask(second.address(), ["get"], "k", "--raw").text == "v")
    // Nothing to read again, and nothing that it would stumble over.
    second.send(SIGHUP)
    second.send(SIGINT)
    #expect(try second.ended() == 0, "\(second.errors)")
    #expect(try roost.run("verify", roost.path("node0")).status == 0)
  }

  /// The flags with which somebody of `Tests/Fixtures/certificates` introduces itself.
  private func certificate(_ name: String, of authority: String = "authority") -> [String] {
    let folder = repositoryRoot + "/Tests/Fixtures/certificates/" + authority
    return [
      "--tls-certificate", "\(folder)/\(name).pem", "--tls-key", "\(folder)/\(name).key",
      "--tls-authority", "\(folder)/ca.pem",
    ]
  }

  @Test func `a node with TLS takes those of its authority`() throws {
    let nodes = try ["a", "b"].map { name in
      try ServedNode(roost, "node-" + name, nodes: 2, tls: certificate(name), isPatient: true)
    }
    defer { for node in nodes { node.kill() } }
    for node in nodes { try node.ready() }
    let address = try nodes[0].address()
    let client = certificate("c")
    expect(try ask(address, ["cluster", "make-keyspace"], "default", tls: client), 0)
    // Both replicas are needed, so the nodes have taken up with each other.
    try poll("a node that knows the other") {
      try ask(address, ["put"], "k", "v", "--quorum", "2", tls: client).status == 0
    }
    #expect(try ask(try nodes[1].address(), ["get"], "k", "--raw", tls: client).text == "v")
    expect(try ask(address, ["get"], "k", tls: certificate("c", of: "another")), 69)
    expect(try ask(address, ["get"], "k"), 69)
    // The same files again.
    nodes[0].send(SIGHUP)
    try poll("a word of it") { nodes[0].errors.contains("read the certificates again") }
    #expect(try ask(address, ["get"], "k", "--raw", tls: client).text == "v")
  }

  @Test func `a node that waits for the others can be told to end`() throws {
    let node = try ServedNode(roost, "node0", nodes: 3)
    defer { node.kill() }
    let address = try node.address()
    expect(try ask(address, ["get"], "k"), 69, "does not handle messages yet")
    node.send(SIGINT)
    #expect(try node.ended() == 0)
    #expect(node.errors.contains("before the cluster was ready"))
  }

  @Test func `a node with settings that are wrong does not begin`() throws {
    let store = roost.path("node")
    let good = ["serve", store, "--cluster", "music", "--directory", roost.path("directory")]
    expect(try roost.run(good + ["--plain"]), 64, "--listen")
    expect(try roost.run(good + ["--listen", "127.0.0.1:0"]), 64, "--plain")
    expect(try roost.run(good + ["--listen", "127.0.0.1", "--plain"]), 64, "host:port")
    expect(try roost.run(good + ["--listen", "0.0.0.0:0", "--plain"]), 64, "loopback")
    expect(try roost.run(good + ["--listen", "127.0.0.1:0", "--tls-key", "k"]), 64, "go together")
    expect(
      try roost.run(
        good + ["--listen", "127.0.0.1:0"]
          + ["--tls-certificate", roost.path("none.pem"), "--tls-key", "k", "--tls-authority", "a"]),
      65, "none.pem")
    expect(
      try roost.run(good + ["--listen", "127.0.0.1:0", "--plain", "--weight", "0"]), 64, "weight is 0")
    for seconds in ["0", "1e30", "nan"] {
      expect(
        try roost.run(good + ["--listen", "127.0.0.1:0", "--plain", "--replica-timeout", seconds]), 64,
        "--replica-timeout")
    }
    for work in ["move", "hint", "repair"] {
      expect(
        try roost.run(good + ["--listen", "127.0.0.1:0", "--plain", "--\(work)-bytes-per-second", "0"]), 64,
        "\(work)BytesPerSecond is 0")
    }
    let file = roost.path("node.json")
    let files = [("{\"wieght\": 7}", "wieght"), ("{\"weight\": \"x\"}", "weight"), ("{", "node.json")]
    for (text, word) in files {
      try roost.write(Array(text.utf8), file)
      expect(
        try roost.run(good + ["--listen", "127.0.0.1:0", "--plain", "--config", file]), 65, word)
    }
    expect(
      try roost.run(good + ["--listen", "127.0.0.1:0", "--plain", "--config", roost.path("no.json")]), 66,
      "no.json")
    #expect(!FileManager.default.fileExists(atPath: store))
  }
}
