import Foundation
import TestSupport
import Testing

/// put, get, delete, scan, trees, drop, compact, stats, verify: as a user runs them.
// Budget: 8 s
@Suite struct DataTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  @Test func `a value comes back`() throws {
    let db = roost.path("db")
    #expect(try roost.run("put", db, "u:1", "Ada").status == 0)
    #expect(try roost.run("get", db, "u:1").text == "Ada\n")
    #expect(try roost.run("put", db, "u:1", "Grace", "--sync").status == 0)
    #expect(try roost.run("get", db, "u:1").text == "Grace\n")
    #expect(try roost.run("get", db, "u:1", "--raw").text == "Grace")
    #expect(
      try roost.run("get", db, "u:1", "--json").text == "{\"key\":\"u:1\",\"value\":\"Grace\"}\n")
    let absent = try roost.run("get", db, "u:2")
    #expect(absent.status == 1 && absent.output.isEmpty)
    #expect(absent.errors == "roost: there is no key `u:2`\n")
  }

  @Test func `all bytes pass through arguments`() throws {
    let db = roost.path("db")
    let all = [UInt8](0...255)
    let escaped = all.map { String(format: "\\x%02x", $0) }.joined()
    let hex = all.map { String(format: "%02x", $0) }.joined()
    #expect(try roost.run("put", db, escaped, "-", input: all).status == 0)
    #expect(try roost.run("get", db, escaped, "--raw").output == all)
    let shown = try roost.run("get", db, "--hex", hex)
    #expect(shown.text == hex + "\n")
    // What is shown is accepted.
    let text = try roost.run("scan", db, "--keys-only").text
    #expect(try roost.run("get", db, String(text.dropLast()), "--raw").output == all)
    #expect(try roost.run("get", db, "--hex", hex.uppercased()).status == 0)
    #expect(try roost.run("put", db, "--hex", hex, "").status == 0)
    #expect(try roost.run("get", db, escaped).text == "\n")
  }

  @Test func `scans`() throws {
    let db = try roost.makeStore()
    func scan(_ arguments: String...) throws -> [String] {
      let outcome = try roost.run(["scan", db] + arguments)
      #expect(outcome.status == 0 && outcome.errors.isEmpty)
      return outcome.lines.map(String.init)
    }
    #expect(try scan() == ["u:1\tAda", "u:2\tGrace", "\\xff\\x00\t\\x01"])
    #expect(try scan("--prefix", "u:") == ["u:1\tAda", "u:2\tGrace"])
    #expect(try scan("--prefix", "u:", "--reverse", "--limit", "1") == ["u:2\tGrace"])
    #expect(try scan("--from", "u:2", "--keys-only") == ["u:2", "\\xff\\x00"])
    #expect(try scan("--to", "u:2") == ["u:1\tAda"])
    #expect(try scan("--prefix", "u:", "--from", "u:2", "--to", "v") == ["u:2\tGrace"])
    #expect(try scan("--limit", "0") == [])
    #expect(try scan("--count") == ["3"])
    #expect(try scan("--hex", "--from", "ff") == ["ff00\t01"])
    #expect(
      try scan("--json", "--from", "u:2") == [
        "{\"key\":\"u:2\",\"value\":\"Grace\"}",
        "{\"key\":{\"hex\":\"ff00\"},\"value\":\"\\u0001\"}",
      ])
  }

  @Test func `deletions`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("delete", db, "u:1", "absent").status == 0)
    #expect(try roost.run("scan", db, "--keys-only").lines == ["u:2", "\\xff\\x00"])
    #expect(try roost.run("delete", db, "--prefix", "u:").status == 0)
    #expect(try roost.run("delete", db, "--from", "a", "--to", "b").status == 0)
    #expect(try roost.run("scan", db, "--keys-only").lines == ["\\xff\\x00"])
    #expect(try roost.run("delete", db).status == 64)
    #expect(try roost.run("delete", db, "--from", "a").status == 64)
    #expect(try roost.run("delete", db, "a", "--prefix", "b").status == 64)
    #expect(try roost.run("scan", db, "--count").text == "1\n")
  }

  @Test func `trees`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("put", db, "k", "v", "--tree", "users").status == 0)
    #expect(try roost.run("trees", db).lines == ["default", "users"])
    #expect(try roost.run("trees", db, "--json").text == "[\"default\",\"users\"]\n")
    #expect(try roost.run("get", db, "k", "--tree", "users").text == "v\n")
    #expect(try roost.run("drop", db, "users").status == 0)
    let gone = try roost.run("get", db, "k", "--tree", "users")
    #expect(
      gone.status == 66
        && gone.errors == "roost: there is no tree `users`: the store has `default`\n")
  }

  @Test func `looking after a store`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("compact", db).text.contains(" became 1 table of "))
    #expect(
      try roost.run("compact", db, "--tree", "default", "--from", "a", "--to", "b").status == 0)
    let picture = try roost.run("stats", db)
    #expect(picture.status == 0 && picture.text.contains("tree default: 3 entries"))
    #expect(picture.text.contains("█") && picture.text.contains("levels 0 to 5  empty"))
    let statistics = try json(try roost.run("stats", db, "--json").output)
    let trees = try #require(statistics["trees"] as? [[String: Any]])
    #expect(trees.count == 1 && trees[0]["entries"] as? Int == 3)
    #expect(
      try roost.run("verify", db).text.hasPrefix("all is well: 1 tree, 1 table with 3 entries"))
    let report = try json(try roost.run("verify", db, "--json").output)
    #expect(report["healthy"] as? Bool == true && report["entries"] as? Int == 3)
  }

  @Test func `a shell reads from a pipe and goes on after errors`() throws {
    let db = roost.path("db")
    let script = """
      put a 1
      put "b c" "two words"
      put \\x00\\xff \\n
      bogus
      get nothing
      put only-a-key
      put \\q 1
      begin
      put d 4
      delete a
      scan
      commit
      scan
      begin
      put e 5
      rollback
      count
      use other
      put x y
      deleterange a z
      count
      trees
      hex on
      use default
      scan 64
      help
      stats
      flush
      compact
      sync
      quit
      put never 1
      """
    let outcome = try roost.run("shell", db, "--create", input: Array(script.utf8))
    #expect(outcome.status == 0)
    let expected = [
      "\\x00\\xff\t\\n", "a\t1", "b c\ttwo words",  // before the commit
      "\\x00\\xff\t\\n", "b c\ttwo words", "d\t4",  // after it
      "3", "0", "default", "other", "64\t34",
    ]
    #expect(outcome.lines.prefix(expected.count).map(String.init) == expected)
    #expect(outcome.text.contains("deleterange FROM TO") && outcome.text.contains("tree default"))
    let errors = outcome.errors.split(separator: "\n")
    #expect(errors.count == 4 && errors.allSatisfy { $0.hasPrefix("roost: ") })
    #expect(try roost.run("scan", db, "--count").text == "3\n")
  }

  @Test func `every command has help with examples`() throws {
    let overview = try roost.run("--help")
    #expect(overview.status == 0 && overview.text.contains("EXIT CODES"))
    for code in [0, 1, 2, 3, 64, 65, 66, 69, 70, 74, 75, 76, 77] {
      let isTold = overview.lines.contains { $0.split(separator: " ").first.map(String.init) == "\(code)" }
      #expect(isTold, "\(code)")
    }
    #expect(try roost.run("--version").text.hasPrefix("roost 0."))
    for name in [
      "put", "get", "delete", "scan", "shell", "import", "export", "trees", "drop", "stats",
      "verify", "compact",
      "dump", "fill", "tour",
    ] {
      let help = try roost.run(name, "--help")
      #expect(
        help.status == 0 && help.text.contains("EXAMPLES") && help.text.contains("roost \(name)"),
        "\(name)")
      #expect(overview.text.contains("  \(name) "), "\(name)")
    }
  }

  private func json(_ bytes: [UInt8]) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
  }
}
