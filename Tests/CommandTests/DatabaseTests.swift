import Foundation
import TestSupport
import Testing

/// The tool on databases: siblings, typed values, contexts, several stores, and what dump says of
/// them.
// Budget: 8 s
@Suite struct DatabaseTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func make(_ names: String...) throws -> [String] {
    let paths = names.map { roost.path($0) }
    let outcome = try roost.run(["create"] + paths)
    try #require(outcome.status == 0, "\(outcome.errors)")
    return paths
  }

  private func object(_ text: some StringProtocol) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], "\(text)")
  }

  @Test func `any of its directories names a database`() throws {
    let stores = try make("a", "b", "c")
    #expect(try roost.run("incr", stores[0], "likes:42").text == "1\n")
    #expect(try roost.run("incr", stores[2], "likes:42", "--by", "10", "--sync").text == "11\n")
    let shown = try roost.run("get", stores[1], "likes:42").text
    #expect(shown.hasPrefix("counter 11    dots "), "\(shown)")
    #expect(shown.contains("#2:11    context {"), "one incarnation through clean closes: \(shown)")
  }

  @Test func `siblings are shown, and replaced by who hands back the context`() throws {
    let db = try make("a")[0]
    #expect(try roost.run("put", db, "bio", "one").status == 0)
    #expect(try roost.run("put", db, "bio", "two").status == 0)
    #expect(try roost.run("get", db, "bio").text.hasPrefix("2 siblings    one "))
    let json = try object(try roost.run("get", db, "bio", "--json").text)
    #expect(json["values"] as? [String] == ["one", "two"])
    #expect(try roost.run("get", db, "bio", "--raw").status == 64)
    let context = try roost.run("get", db, "bio", "--show-context").text.dropLast()
    #expect(try roost.run("put", db, "bio", "three", "--context", String(context)).status == 0)
    #expect(try roost.run("get", db, "bio", "--raw").text == "three")
    #expect(try roost.run("put", db, "bio", "four", "--replace").status == 0)
    #expect(try roost.run("get", db, "bio", "--raw").text == "four")
    // The context of another key, and one that was cut off.
    let foreign = try roost.run("put", db, "other", "x", "--context", String(context))
    #expect(foreign.status == 64 && foreign.errors.contains("another key"), "\(foreign.errors)")
    let cut = try roost.run("put", db, "bio", "x", "--context", String(context.dropLast(2)))
    #expect(cut.status == 64 && cut.errors.contains("context"), "\(cut.errors)")
    #expect(try roost.run("get", db, "bio", "--raw").text == "four")
  }

  @Test func `typed values`() throws {
    let db = roost.path("db")
    #expect(try roost.run("sadd", db, "tags", "swift", "lsm").status == 0, "made on first use")
    #expect(try roost.run("srem", db, "tags", "lsm", "absent").status == 0)
    #expect(try roost.run("sadd", db, "tags", "a b").status == 0)
    #expect(try roost.run("smembers", db, "tags").text == "a b\nswift\n")
    #expect(try roost.run("smembers", db, "tags", "--json").text == "[\"a b\",\"swift\"]\n")
    #expect(try roost.run("smembers", db, "none").status == 1)
    #expect(try roost.run("flag", db, "open", "on").status == 0)
    #expect(try roost.run("get", db, "open").text.hasPrefix("flag on "))
    #expect(try roost.run("flag", db, "open", "off").status == 0)
    #expect(try roost.run("get", db, "open").status == 1)
    #expect(try roost.run("assign", db, "name", "Ada").status == 0)
    #expect(try roost.run("get", db, "name").text.hasPrefix("register Ada "))
    #expect(try roost.run("incr", db, "n", "--by=-5").text == "-5\n")
  }

  @Test func `a scan is in key order over all stores`() throws {
    let db = try make("a", "b", "c")[0]
    for key in ["b", "a{1}", "c", "d{1}"] { #expect(try roost.run("put", db, key, "v" + key).status == 0) }
    #expect(try roost.run("scan", db, "--keys-only").text == "a{1}\nb\nc\nd{1}\n")
    #expect(try roost.run("scan", db, "--keys-only", "--reverse", "--limit", "2").text == "d{1}\nc\n")
    #expect(try roost.run("scan", db, "--keys-only", "--tag", "1").text == "a{1}\nd{1}\n")
    #expect(try roost.run("scan", db, "--count", "--from", "b", "--to", "d").text == "2\n")
    let first = try roost.run("scan", db, "--keys-only", "--limit", "3")
    let token = try #require(first.errors.split(separator: " ").last).trimmingCharacters(in: .newlines)
    #expect(try roost.run("scan", db, "--keys-only", "--after", token).text == "d{1}\n")
    #expect(try roost.run("scan", db, "--keys-only", "--prefix", "a", "--after", token).status == 64)
    #expect(try roost.run("scan", db, "--prefix", "b", "--json").text.contains("\"values\":[\"vb\"]"))
  }

  @Test func `a keyspace is made with a policy, on fewer stores than the others`() throws {
    let stores = ["a", "b", "c"].map { roost.path($0) }
    try #require(try roost.run(["create"] + stores + ["--replicas", "3"]).status == 0)
    let make = ["make-keyspace", stores[1]]
    for (arguments, status, words) in [
      (["few", "--replicas", "2"], 0, ""), (["few", "--replicas", "2"], 0, ""), (["few"], 0, ""),
      (["few", "--replicas", "1"], 64, "2 replicas, not 1"), (["few", "--policy", "lww"], 64, "policy"),
      (["more", "--replicas", "4"], 64, "4 replicas"), (["none", "--replicas", "0"], 64, "--replicas"),
      (["accounts", "--policy", "transactional", "--replicas", "1"], 64, "--replicas"),
      (["accounts", "--policy", "transactional"], 0, ""), (["last", "--policy", "lww"], 0, ""),
    ] as [([String], Int32, String)] {
      let outcome = try roost.run(make + arguments)
      #expect(outcome.status == status, "\(arguments): \(outcome)")
      #expect(words.isEmpty || outcome.errors.contains(words), "\(arguments): \(outcome)")
    }
    let shown = try roost.run("keyspaces", stores[0]).lines
      .map { $0.split(separator: " ").joined(separator: " ") }
    #expect(
      shown == [
        "accounts transactional, 1 replica", "few siblings, 2 replicas", "last lww, 3 replicas",
      ])
    for number in 0..<6 {
      #expect(try roost.run("put", stores[2], "k\(number)", "v", "-k", "few").status == 0)
    }
    let added = try roost.run("rebalance", stores[0], "--add", roost.path("d"))
    #expect(added.status == 0, "\(added)")
    #expect(try roost.run("scan", stores[0], "-k", "few", "--count").text == "6\n")
  }

  @Test func `bad input is an error, and changes nothing`() throws {
    let stores = try make("a", "b")
    #expect(try roost.run("incr", stores[0], "n", "--by", "9223372036854775807").status == 0)
    let cases: [([String], Int32, String)] = [
      (["incr", stores[0], "n"], 64, "64 bits"),
      (["put", stores[0], "n", "x"], 64, "counter"),
      (["sadd", stores[0], "n", "x"], 64, "counter"),
      (["get", stores[0], "n", "--keyspace", "none"], 66, "none"),
      (["incr", stores[0], ""], 64, "at least one byte"),
      (["create", stores[0]], 66, "already"),
      (["create", roost.path("new") + ":0"], 64, "1 to 1000"),
      (["create", roost.path("new"), "--replicas", "2"], 64, "2 replicas"),
      (["create", roost.path("new"), "--partitions", "0"], 64, "1 to 32768"),
      (["incr", roost.path("x"), "k", "--keyspace", "a/b"], 64, "letters"),
      (["put", stores[0], "k", "v", "--ttl", "0"], 64, "--ttl"),
    ]
    for (arguments, status, words) in cases {
      let outcome = try roost.run(arguments)
      #expect(outcome.status == status, "\(arguments): \(outcome.errors)")
      #expect(outcome.errors.contains(words), "\(arguments): \(outcome.errors)")
    }
    #expect(try roost.run("get", stores[1], "n").text.hasPrefix("counter 9223372036854775807 "))
    // A plain store is none.
    let plain = try roost.makeStore("plain")
    for arguments in [["incr", plain, "k"], ["keyspaces", plain], ["put", plain, "k", "v", "--ttl", "1"]] {
      let outcome = try roost.run(arguments)
      #expect(outcome.status == 66 && outcome.errors.contains("no store of a database"), "\(outcome.errors)")
    }
  }

  @Test func `commands on plain stores leave a database alone`() throws {
    let db = try make("a")[0]
    #expect(try roost.run("incr", db, "n").status == 0)
    let cases = [
      ["drop", db, "keyspace/default"], ["import", db, "--tree", "keyspace/default"], ["shell", db],
      ["fill", db, "--tree", "keyspace/default", "--count", "1"],
    ]
    for arguments in cases {
      let outcome = try roost.run(arguments)
      #expect(outcome.status == 64 && outcome.errors.contains("database"), "\(arguments): \(outcome.errors)")
    }
    #expect(try roost.run("get", db, "n").text.hasPrefix("counter 1 "))
    for arguments in [["stats", db], ["verify", db], ["compact", db], ["trees", db], ["dump", db]] {
      #expect(try roost.run(arguments).status == 0, "\(arguments)")
    }
    #expect(try roost.run("delete", db, "n").status == 0)
    #expect(try roost.run("get", db, "n").status == 1)
  }

  @Test func `a missing directory is named, with what is out of reach`() throws {
    let stores = try make("a", "b")
    try FileManager.default.moveItem(atPath: stores[1], toPath: roost.path("gone"))
    let outcome = try roost.run("get", stores[0], "k")
    #expect(outcome.status == 66)
    #expect(outcome.errors.contains(stores[1]) && outcome.errors.contains("Out of reach: 128 of 256"))
    // Moved together they find each other: the second is beside the first.
    let home = roost.path("home")
    try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
    try FileManager.default.moveItem(atPath: stores[0], toPath: home + "/a")
    try FileManager.default.moveItem(atPath: roost.path("gone"), toPath: home + "/b")
    #expect(try roost.run("incr", home + "/b", "k").text == "1\n")
  }

  @Test func `dump explains records, the feed and the system tree`() throws {
    let db = try make("a")[0]
    #expect(try roost.run("incr", db, "likes").status == 0)
    #expect(try roost.run("put", db, "bio", "one").status == 0)
    let text = try roost.run("dump", db, "--entries").text
    for words in [
      "put    identity → database ", "put    ring → revision ", "1 `default` siblings",
      "put    clock → no timestamp above ", "likes → change ", "counter 1    dots ", "one ", " → of bio",
      "closed at dot 1",
    ] { #expect(text.contains(words), "\(words) in \(text)") }
    var kinds: Set<String> = []
    for line in try roost.run("dump", db, "--entries", "--json").lines where line.contains("meaning") {
      let meaning = try #require(try object(line)["meaning"] as? [String: Any])
      for key in meaning.keys { kinds.insert(key) }
    }
    #expect(
      kinds.isSuperset(of: [
        "partition", "userKey", "change", "context", "revision", "replica", "bound",
      ]))
  }
}
