import Foundation
import TestSupport
import Testing

/// `roost txn`, `roost indoubt` and `roost bank`, as users run them.
// Budget: 20 s
@Suite struct TransactionCommandTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private static let unknownID = "0000018000000000-00000000000000ff"

  private func make(_ names: String...) throws -> [String] {
    let paths = names.map { roost.path($0) }
    let outcome = try roost.run(["create"] + paths)
    try #require(outcome.status == 0, "\(outcome.errors)")
    return paths
  }

  private func txn(_ store: String, _ script: String, _ options: String...) throws -> Roost.Outcome {
    try roost.run(["txn", store, "-k", "accounts"] + options, input: Array(script.utf8))
  }

  private func object(_ text: some StringProtocol) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], "\(text)")
  }

  /// The id in a line such as `committed ID`.
  private func id(_ line: Substring?) throws -> String {
    let words = try #require(line).split(whereSeparator: { $0 == " " || $0 == ":" })
    try #require(words.count >= 2)
    return String(words[1])
  }

  @Test func `plain commands, and stores that come and go`() throws {
    let db = try make("a", "b")[0]
    let keyspace = ["-k", "accounts"]
    func run(_ arguments: [String]) throws -> Roost.Outcome { try roost.run(arguments + keyspace) }
    #expect(try txn(db, "put A 5000\nput B 1\nput C 2\n", "--sync").status == 0)
    #expect(try run(["get", db, "A"]).text == "5000\n")
    #expect(try run(["get", db, "A", "--json"]).text == "{\"key\":\"A\",\"value\":\"5000\"}\n")
    #expect(try run(["get", db, "none"]).status == 1)
    #expect(try run(["put", db, "A", "4000", "--sync"]).status == 0)
    #expect(try run(["put", db, "D", "3"]).status == 0)
    #expect(try run(["scan", db]).lines == ["A\t4000", "B\t1", "C\t2", "D\t3"])
    let some = try run(["scan", db, "--from", "B", "--limit", "2", "--keys-only"])
    #expect(some.lines == ["B", "C"] && some.errors.contains("--after "), "\(some)")
    #expect(try run(["scan", db, "--prefix", "A", "--count"]).text == "1\n")
    #expect(try run(["delete", db, "B", "none"]).status == 0)
    #expect(try run(["delete", db, "--prefix", "C"]).status == 0)
    #expect(try run(["scan", db]).lines == ["A\t4000", "D\t3"])
    for refused in [
      ["put", db, "A", "1", "--replace"], ["put", db, "A", "1", "--ttl", "9"], ["scan", db, "--reverse"],
      ["get", db, "A", "--show-context"], ["incr", db, "A"], ["changes", db],
    ] {
      let outcome = try run(refused)
      #expect(outcome.status == 64 && outcome.errors.contains("transactional"), "\(refused): \(outcome)")
    }
    // The ring of such a database changes as any.
    let ring = try roost.run("ring", db, "--add", "c:100")
    #expect(ring.status == 0, "\(ring.errors)")
    let grown = try roost.run("rebalance", db, "--add", roost.path("c"))
    #expect(grown.status == 0 && grown.text.contains("balanced"), "\(grown)")
    #expect(try run(["scan", db]).lines == ["A\t4000", "D\t3"])
    let shrunk = try roost.run("rebalance", db, "--remove", roost.path("b"))
    #expect(shrunk.status == 0, "\(shrunk.errors)")
    #expect(try txn(db, "add A -1000\nadd D 1000\nget A\n", "--sync").lines.first == "A\t3000")
    #expect(try run(["scan", db]).lines == ["A\t3000", "D\t1003"])
  }

  @Test func `a script commits, or ends without a trace`() throws {
    let db = try make("a", "b")[0]
    let founded = try txn(db, "# the bank\n\nput A 5000\n", "--sync")
    #expect(founded.status == 0 && founded.text.hasPrefix("committed "), "\(founded)")
    let transfer = "require A >= 1000\nadd A -1000\nadd B 1000\nget A\nget B\nget C\nscan\n"
    let moved = try txn(db, transfer)
    #expect(moved.status == 0, "\(moved.errors)")
    #expect(
      moved.lines.dropLast() == ["A\t4000", "B\t1000", "C\tabsent", "A\t4000", "B\t1000"], "\(moved.text)")
    let moveID = try id(moved.lines.last)
    #expect(try txn(db, "get A for update\nget B for update\n").lines.dropLast() == ["A\t4000", "B\t1000"])
    // What the script itself ends.
    let poor = try txn(db, "add A -1\nrequire A >= 100000\nput never here\n")
    #expect(poor.status == 1 && poor.text.hasSuffix(": `A` is 3999, less than 100000\n"), "\(poor)")
    let other = try txn(db, "get A\nput A 1\nrequire B 7\n")
    #expect(other.status == 1 && other.lines.first == "A\t4000", "\(other)")
    #expect(other.lines.last?.hasSuffix(": `B` is not `7`") == true, "\(other.text)")
    let asked = try txn(db, "put A 1\nabort\n")
    #expect(asked.status == 1 && asked.text.hasSuffix(": asked for\n"), "\(asked)")
    #expect(try txn(db, "scan\nrequire never x\n").lines.dropLast() == ["A\t4000", "B\t1000"])
    #expect(try txn(db, "delete A\nget A\n").lines.first == "A\tabsent")
    // What became of them.
    let known = try roost.run("txn", db, "--outcome", moveID)
    #expect(known.status == 0 && known.text.hasPrefix("committed \(moveID): at "), "\(known)")
    let undone = try roost.run("txn", db, "--outcome", try id(asked.lines.last))
    #expect(undone.status == 0 && undone.text.hasPrefix("aborted "), "\(undone)")
    let unknown = try roost.run("txn", db, "--outcome", Self.unknownID)
    #expect(unknown.status == 3 && unknown.errors.contains("nothing is known"), "\(unknown)")
  }

  @Test func `outcomes as JSON`() throws {
    let db = try make("a")[0]
    let committed = try object(try txn(db, "put A 1\n", "--json").text)
    #expect(committed["outcome"] as? String == "committed")
    let id = try #require(committed["id"] as? String)
    let aborted = try txn(db, "abort\n", "--json")
    #expect(aborted.status == 1)
    let reason = try object(aborted.text)
    #expect(reason["outcome"] as? String == "aborted" && reason["reason"] as? String == "asked for")
    let told = try object(try roost.run("txn", db, "--outcome", id, "--json").text)
    #expect(told["outcome"] as? String == "committed" && told["id"] as? String == id)
    #expect(try roost.run("indoubt", db, "--json").text == "[]\n")
  }

  @Test func `quotes, escapes and a script from a file`() throws {
    let db = try make("a")[0]
    let script = roost.path("script.txt")
    let lines = ["put \"a key\" \"two  words\"", "put \"\\x00\" \"\"", "get \"a key\"", "scan", ""]
    try roost.write(Array(lines.joined(separator: "\n").utf8), script)
    let outcome = try roost.run("txn", db, script, "-k", "accounts")
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      outcome.lines.dropLast() == ["a key\ttwo  words", "\\x00\t", "a key\ttwo  words"], "\(outcome.text)")
    #expect(try txn(db, "get 61206b6579\n", "--hex").lines.first == "61206b6579\t74776f2020776f726473")
  }

  @Test func `effects on eventual keyspaces are done once`() throws {
    let db = try make("a", "b", "c")[0]
    for _ in 0..<3 { #expect(try txn(db, "add A 1\nadd B 1\nincr stats transfers 2\n").status == 0) }
    #expect(try txn(db, "incr stats transfers 100\nabort\n").status == 1)
    // An effect that was not done yet when the command ended is done when the next one opens.
    #expect(try txn(db, "get A\n").lines.first == "A\t3")
    #expect(try roost.run("get", db, "transfers", "-k", "stats").text.hasPrefix("counter 6 "))
  }

  @Test func `a script's errors name the line, and nothing is done`() throws {
    let fresh = roost.path("fresh")
    let cases: [(String, String)] = [
      ("put A\n", "line 1: `put A` is no operation"),
      ("put A 1\n\nnonsense\n", "line 3: `nonsense`"),
      ("put A 1\nput \"B 2\n", "line 2: a quote is not closed"),
      ("put A 1\nadd B many\n", "line 2: `many` is no whole number"),
      ("put A \\q\n", "line 1: the value `\\q`"),
    ]
    for (script, words) in cases {
      let outcome = try txn(fresh, script)
      #expect(outcome.status == 65 && outcome.errors.contains(words), "\(script): \(outcome.errors)")
    }
    let bytes = try roost.run(["txn", fresh, "-k", "accounts"], input: [0x67, 0x65, 0x74, 0x20, 0xFF, 0x0A])
    #expect(bytes.status == 65 && bytes.errors.contains("line 1 is not UTF-8"))
    #expect(!FileManager.default.fileExists(atPath: fresh), "no database was made")
    // Found while it runs: not a number where one is added to.
    let db = try make("a")[0]
    #expect(try txn(db, "put A text\n").status == 0)
    let wrong = try txn(db, "put B 1\nadd A 1\n")
    #expect(wrong.status == 65 && wrong.errors.contains("`A` is no whole number"), "\(wrong.errors)")
    #expect(try txn(db, "get B\n").lines.first == "B\tabsent")
  }

  @Test func `wrong usage is told apart from what is missing`() throws {
    let db = try make("a")[0]
    #expect(try roost.run("incr", db, "n", "-k", "posts").status == 0)
    let none = roost.path("none")
    let cases: [([String], Int32, String)] = [
      (["txn", db, "--outcome", "x"], 64, "no transaction's id"),
      (["txn", none, "--outcome", Self.unknownID], 66, "none"),
      (["indoubt", db, "--abort", "x"], 64, "no transaction's id"),
      (["indoubt", db, "--commit", Self.unknownID], 64, "ID@TIME"),
      (["indoubt", db, "--commit", Self.unknownID + "@zz"], 64, "ID@TIME"),
      (["indoubt", db, "--abort", Self.unknownID], 66, "not in doubt"),
      (["indoubt", none], 66, "none"),
      (["bank", none, "--accounts", "1"], 64, "--accounts"),
      (["bank", none, "--clients", "0"], 64, "--clients"),
      (["bank", none, "--seconds", "x"], 64, "--seconds"),
    ]
    for (arguments, status, words) in cases {
      let outcome = try roost.run(arguments)
      #expect(outcome.status == status, "\(arguments): \(outcome.status) \(outcome.errors)")
      #expect(outcome.errors.contains(words), "\(arguments): \(outcome.errors)")
    }
    let eventual = try roost.run(["txn", db, "-k", "posts"], input: Array("put A 1\n".utf8))
    #expect(eventual.status == 64, "\(eventual.errors)")
    #expect(try txn(db, "put A 1\nincr accounts A 1\n").status == 64, "an effect on a transactional one")
    #expect(try txn(db, "get A\n").lines.first == "A\tabsent")
    #expect(try roost.run("indoubt", db).text == "nothing is in doubt\n")
    #expect(try roost.run("indoubt", db, "--decided").text == "nothing was decided by hand\n")
  }

  // MARK: - In doubt

  /// Sixteen keys in two stores, written by a process that is killed when that is decided.
  private func killWhenDecided() throws -> (home: String, other: String) {
    let stores = try make("a", "b")
    // One of both stores before it, whose END is not on disk yet: it is told again, which is not the moment.
    let founded = (0..<16).map { "put k\($0) 0\n" }.joined()
    #expect(try txn(stores[0], founded, "--sync").status == 0)
    let script = (0..<16).map { "put k\($0) 1\n" }.joined()
    let killed = try txn(stores[0], script, "--sync", "--kill-when-decided")
    #expect(killed.isSignal && killed.status == SIGKILL && killed.text.isEmpty, "\(killed)")
    let isFirst = FileManager.default.fileExists(atPath: stores[0] + "/coordinator")
    return isFirst ? (stores[0], stores[1]) : (stores[1], stores[0])
  }

  @Test func `a transaction is in doubt without its coordinator, and healed with it`() throws {
    let (home, other) = try killWhenDecided()
    try FileManager.default.moveItem(atPath: home, toPath: roost.path("gone"))
    let shown = try roost.run("indoubt", other, "--partial")
    #expect(shown.status == 0 && shown.lines.count == 1, "\(shown)")
    #expect(shown.text.contains(" in \(other)  waits for the coordinator "), "\(shown.text)")
    let json = try roost.run("indoubt", other, "--partial", "--json").text
    let list = try #require(
      try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]], "\(json)")
    #expect(list.count == 1 && list[0]["store"] as? String == other)
    let id = try #require(list[0]["id"] as? String)
    try FileManager.default.moveItem(atPath: roost.path("gone"), toPath: home)
    let known = try roost.run("txn", other, "--outcome", id)
    #expect(known.status == 0 && known.text.hasPrefix("committed"), "\(known)")
    let keys = try txn(home, "scan\n")
    #expect(keys.lines.count == 17 && keys.lines.dropLast().allSatisfy { $0.hasSuffix("\t1") }, "\(keys)")
    #expect(try roost.run("indoubt", home).text == "nothing is in doubt\n")
  }

  @Test func `an operator decides where the coordinator is lost for good`() throws {
    let (home, other) = try killWhenDecided()
    try FileManager.default.removeItem(atPath: home)
    let id = try #require(try roost.run("indoubt", other, "--partial").text.split(separator: " ").first)
    let forced = try roost.run("indoubt", other, "--partial", "--abort", String(id))
    #expect(forced.status == 0 && forced.text == "aborted by hand at 1 store\n", "\(forced)")
    #expect(try roost.run("indoubt", other, "--partial").text == "nothing is in doubt\n")
    let again = try roost.run("indoubt", other, "--partial", "--abort", String(id))
    #expect(again.status == 66, "\(again)")
    // The decision is kept, and shown.
    #expect(try roost.run("indoubt", other, "--decided", "--partial").text.hasPrefix("\(id)  aborted  in "))
    let decided = try roost.run("indoubt", other, "--decided", "--partial", "--json").text
    #expect(decided.hasPrefix("[{\"id\":\"\(id)\","), "\(decided)")
    #expect(decided.contains("\"outcome\":\"aborted\""), "\(decided)")
    #expect(try roost.run("dump", other, "--entries").text.contains(id.prefix(16)))
  }

  // MARK: - The bank

  @Test func `the bank's sum stays, and is checked`() throws {
    let stores = (0..<4).map { roost.path("disk\($0)") }
    // As long as it takes to move any money: a busy machine does not in a moment.
    var figures: [String: Any] = [:]
    for seconds in ["0.3", "5", "60"] where figures["committed"] as? Int ?? 0 == 0 {
      let ran = try roost.run(
        ["bank"] + stores + ["--accounts", "20", "--clients", "4", "--seconds", seconds, "--json"])
      #expect(ran.status == 0, "\(ran.errors)")
      figures = try object(ran.text)
    }
    #expect(figures["total_before"] as? Int == 20_000 && figures["total_after"] as? Int == 20_000)
    #expect(figures["accounts"] as? Int == 20 && figures["stores"] as? Int == 4)
    let committed = try #require(figures["committed"] as? Int)
    #expect(committed > 0)
    for name in ["aborted", "refused", "unknown", "per_second", "recovered_in_doubt"] {
      #expect(figures[name] is NSNumber, "\(name)")
    }
    // What it acknowledges are whole lines, one a transfer.
    let said = try roost.run(
      ["bank"] + stores + ["--clients", "4", "--seconds", "0.2", "--acknowledge", "--sync", "--json"])
    let lines = said.lines.filter { $0.hasPrefix("committed ") }
    #expect(said.status == 0 && lines.allSatisfy { $0.split(separator: " ").count == 5 })
    #expect(try object(try #require(said.lines.last))["committed"] as? Int == lines.count)
    let words = try roost.run(["bank"] + stores + ["--seconds", "0"])
    #expect(words.status == 0 && words.text.contains("20 accounts, 20000 in all"), "\(words.text)")
    // Money from nowhere.
    #expect(try txn(stores[0], "add account:3 7\n").status == 0)
    let wrong = try roost.run(["bank"] + stores + ["--seconds", "0", "--json"])
    #expect(wrong.status == 2 && wrong.text.contains("\"total_before\":20007"), "\(wrong)")
  }
}
