import Foundation
import TestSupport
import Testing

/// Commands that go over many keys, over a connection: as on directories.
// Budget: 40 s
@Suite(.serialized) struct ConnectTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// Starts three nodes with the keyspaces `default` and `notes`, and `accounts`, which is transactional.
  private func start() throws -> ServedCluster {
    let cluster = try ServedCluster(roost, of: 3)
    do {
      for words in [["notes"], ["accounts", "--policy", "transactional"]] {
        let made = try cluster.ask(cluster.nodes[0].address(), ["cluster", "make-keyspace"] + words)
        try #require(made.status == 0, "\(made.errors)")
      }
    } catch {
      cluster.kill()
      throw error
    }
    return cluster
  }

  private func expect(
    _ outcome: Roost.Outcome, _ status: Int32, _ words: String..., location: SourceLocation = #_sourceLocation
  ) {
    #expect(outcome.status == status && !outcome.isSignal, "\(outcome.errors)", sourceLocation: location)
    for word in words {
      #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: location)
    }
  }

  /// Starting processes takes longest: one cluster for all of it.
  @Test func `commands that go over many keys work at any node`() throws {
    let cluster = try start()
    defer { cluster.kill() }
    try transfers(cluster)
    try fills(cluster)
    try shells(cluster)
    try banks(cluster)
    try refusals(cluster)
  }

  /// Asks a node, with what the command reads.
  private func ask(
    _ node: ServedNode, _ words: String..., input: String = ""
  ) throws -> Roost.Outcome {
    let connection = ["--connect", try node.address(), "--cluster", "music", "--plain", "--timeout", "60"]
    return try roost.run(words + connection, input: Array(input.utf8))
  }

  private func transfers(_ cluster: ServedCluster) throws {
    let nodes = cluster.nodes
    // The last of a key counts, in one batch and in two.
    expect(try ask(nodes[0], "import", input: "a\t1\nb\t2\na\t3\n"), 0)
    #expect(try ask(nodes[1], "export").text == "a\t3\nb\t2\n")
    expect(try ask(nodes[1], "import", "--batch", "1", "--sync", input: "a\t4\na\t5\n"), 0)
    #expect(try ask(nodes[2], "export", "--from", "a", "--to", "b").text == "a\t5\n")
    // What has no one value is refused, and named; an import replaces all of it.
    expect(try ask(nodes[0], "put", "a", "beside"), 0)
    expect(try ask(nodes[1], "export"), 64, "`a` holds 2 siblings", "roost scan --json")
    expect(try ask(nodes[2], "import", input: "a\t6\n"), 0)
    #expect(try ask(nodes[1], "export").text == "a\t6\nb\t2\n")
    let bad = try ask(nodes[0], "import", input: "c\t1\nno tab\n")
    expect(bad, 65, "standard input, line 2", "1 record before it imported")
    #expect(try ask(nodes[1], "get", "c", "--raw").text == "1")
    for input in ["a\t1\n", ""] {
      expect(try ask(nodes[0], "import", "-k", "nowhere", input: input), 66, "nowhere")
    }
    expect(try ask(nodes[0], "import"), 0)
    let none = roost.path("none.tsv")
    expect(try ask(nodes[0], "export", none, "-k", "nowhere"), 66, "nowhere")
    #expect(!FileManager.default.fileExists(atPath: none), "a wrong name leaves no file behind")
    // More than a page and a batch, from a directory into the cluster and back, byte by byte.
    let lines = (0..<1_100).map { "k\(1_000 + $0)\tvalue \($0)\\x00\n" }.joined()
    let store = roost.path("source")
    expect(try roost.run("import", store, input: Array(lines.utf8)), 0)
    let file = roost.path("all.roost")
    expect(try roost.run("export", store, file), 0)
    for keyspace in ["notes", "accounts"] {
      expect(try ask(nodes[1], "import", file, "-k", keyspace, "--batch", "600"), 0)
      let copy = roost.path("\(keyspace).roost")
      expect(try ask(nodes[2], "export", copy, "-k", keyspace), 0)
      #expect(try roost.bytes(copy) == roost.bytes(file), "\(keyspace)")
      expect(try ask(nodes[2], "export", copy, "-k", keyspace), 64, "--force")
      let part = try ask(nodes[0], "export", "-k", keyspace, "--prefix", "k200", "--format", "jsonl")
      let local = try roost.run("export", store, "--prefix", "k200", "--format", "jsonl")
      #expect(part.output == local.output && part.lines.count == 10, "\(keyspace): \(part.errors)")
    }
  }

  private func fills(_ cluster: ServedCluster) throws {
    let nodes = cluster.nodes
    for (keyspace, other) in [("default", "--seed"), ("accounts", "--value-bytes")] {
      let filled = try ask(nodes[0], "fill", "--count", "120", "--batch", "50", "-k", keyspace)
      #expect(filled.text == "acked 0 50\nacked 50 100\nacked 100 120\n", "\(filled.errors)")
      let check = ["fill", "--check", "-k", keyspace, "--count"]
      let address = try nodes[1].address()
      #expect(try cluster.ask(address, check + ["120"]).text == "checked 0 120: all there\n")
      let short = try cluster.ask(address, check + ["123"])
      expect(short, 2, "record 122", "missing", "3 of 123 records")
      expect(try cluster.ask(address, check + ["5", other, "7"]), 2, "another value", "5 of 5 records")
    }
  }

  private func shells(_ cluster: ServedCluster) throws {
    let nodes = cluster.nodes
    // What a shell says on a store it says on a cluster.
    let script = """
      put a 1
      put "b c" "two words"
      put \\x00\\xff \\n
      bogus
      get nothing
      get a
      put only-a-key
      put a again
      scan "" 2
      delete a absent
      put z 1
      deleterange b c
      scan
      count
      hex on
      scan 00
      put
      quit
      put never 1
      """
    let made = try ask(nodes[0], "cluster", "make-keyspace", "shelf")
    try #require(made.status == 0, "\(made.errors)")
    let input = Array(script.utf8)
    let local = try roost.run("shell", roost.path("shell"), "--create", input: input)
    let remote = try ask(nodes[0], "shell", "-k", "shelf", input: script)
    expect(remote, 0)
    #expect(remote.text == local.text && remote.errors == local.errors, "\(remote), not \(local)")
    #expect(local.text.contains("a\tagain\n") && local.errors.split(separator: "\n").count == 4)
    // A batch is a transaction.
    let batches = """
      use accounts
      begin
      put shell:A 1
      put shell:B 2
      delete shell:C
      deleterange a b
      begin
      count shell:
      commit
      scan shell:
      begin
      put shell:X 1
      rollback
      commit
      count shell:
      use shelf
      count
      begin
      put a 1
      commit
      keyspaces
      stats
      trees
      begin
      put a 2
      """
    let said = try ask(nodes[1], "shell", input: batches)
    #expect(
      said.text == "0\nshell:A\t1\nshell:B\t2\n2\n2\naccounts\ndefault\nnotes\nshelf\n", "\(said)")
    expect(
      said, 0, "one by one", "open already", "no batch is open", "eventual", "`stats`", "keyspaces",
      "1 operation of an open batch")
    #expect(said.errors.split(separator: "\n").count == 7, "\(said.errors)")
    // Siblings are shown, and a shell's put replaces them.
    for value in ["one", "two"] { expect(try ask(nodes[2], "put", "s", value, "-k", "shelf"), 0) }
    let siblings = try ask(nodes[0], "shell", "-k", "shelf", input: "get s\nput s three\nget s\n")
    #expect(siblings.lines.first?.hasPrefix("2 siblings    ") == true, "\(siblings)")
    #expect(siblings.lines.count == 2 && siblings.lines.last == "three", "\(siblings)")
  }

  private func banks(_ cluster: ServedCluster) throws {
    func figures(_ node: ServedNode, _ words: [String]) throws -> [String: Any] {
      let outcome = try cluster.ask(try node.address(), ["bank", "--json"] + words)
      try #require(outcome.status == 0, "\(outcome)")
      let line = try #require(outcome.lines.last)
      return try #require(
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], "\(outcome.text)")
    }
    let moved = try figures(
      cluster.nodes[0], ["--accounts", "24", "--clients", "6", "--seconds", "1", "--sync", "--acknowledge"])
    #expect(moved["total_before"] as? Int == 24_000 && moved["total_after"] as? Int == 24_000, "\(moved)")
    #expect(moved["stores"] as? Int == 3 && moved["committed"] as? Int ?? 0 > 0, "\(moved)")
    // It is there, with as many accounts as it was founded with.
    let again = try figures(cluster.nodes[1], ["--accounts", "7", "--seconds", "0"])
    #expect(again["total_before"] as? Int == 24_000 && again["accounts"] as? Int == 24, "\(again)")
    // Money that comes from nowhere is noticed, at any node.
    expect(try ask(cluster.nodes[2], "put", "account:3", "5000", "-k", "accounts"), 0)
    let wrong = try ask(cluster.nodes[1], "bank", "--seconds", "0")
    #expect(wrong.status == 2 && wrong.text.contains("in all at the end"), "\(wrong)")
  }

  private func refusals(_ cluster: ServedCluster) throws {
    let wrong: [([String], String)] = [
      (["import", "--session", roost.path("session")], "--session"),
      (["import", "./db", "people.tsv"], "'./db' is one word too many"),
      (["import", "--tree", "t"], "no trees"),
      (["import", "-k", "accounts", "--quorum", "2"], "no quorums"),
      (["export", "./db", "people.tsv"], "one word too many"),
      (["export", "--tree", "t"], "no trees"),
      (["export", "-k", "accounts", "--quorum", "2"], "no quorums"),
      (["fill", "./db", "--count", "1"], "one word too many"),
      (["fill", "--count", "1", "--memtable-bytes", "5000000"], "--memtable-bytes"),
      (["fill", "--count", "1", "-k", "accounts", "--quorum", "2"], "no quorums"),
      (["fill", "--count", "1", "--quorum", "4"], "quorum of 4"),
      (["shell", "--create"], "make-keyspace"),
      (["shell", "--tree", "t"], "no trees"),
      (["bank", "./a"], "one word too many"),
      (["bank", "--clients", "257"], "1 to 256"),
      (["bank", "--quorum", "2"], "--quorum"),
      (["exchange"], "exchanges no states"),
      (["exchange", "./a"], "exchanges no states"),
    ]
    let address = try cluster.nodes[0].address()
    for (words, complaint) in wrong {
      let outcome = try cluster.ask(address, words)
      #expect(outcome.status == 64 && outcome.errors.contains(complaint), "\(words): \(outcome)")
    }
  }

  @Test func `every command about keys takes --connect, and says so`() throws {
    for name in [
      "put", "get", "delete", "scan", "shell", "keyspaces", "incr", "sadd", "srem", "smembers", "flag",
      "assign", "changes", "txn", "indoubt", "bank", "import", "export", "fill",
    ] {
      let help = try roost.run(name, "--help")
      // In the usage, and in an example.
      let example = "roost \(name) --connect"
      #expect(
        help.status == 0 && help.text.components(separatedBy: example).count > 2, "\(name): \(help.text)")
      // Nobody is there.
      if ["keyspaces", "indoubt", "export", "shell", "bank"].contains(name) {
        let outcome = try roost.run(
          name, "--connect", "127.0.0.1:1", "--cluster", "music", "--plain", "--timeout", "0.2")
        expect(outcome, 69, "127.0.0.1:1")
      }
    }
  }

  @Test func `without --connect a directory is named`() throws {
    expect(try roost.run("import"), 64, "<directory>")
    expect(try roost.run("export"), 64, "<directory>")
    expect(try roost.run("fill", "--count", "1"), 64, "<directory>")
    expect(try roost.run("shell"), 64, "<directory>")
    expect(try roost.run("bank"), 64, "<directories>")
    expect(try roost.run("exchange", "./a"), 64, "<second>")
    expect(try roost.run("import", "./db", "--quorum", "2"), 64, "--connect")
    expect(try roost.run("shell", roost.path("db"), "-k", "posts"), 64, "--connect")
  }
}
