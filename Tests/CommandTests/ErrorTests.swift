import Foundation
import RoostCluster
import RoostStorage
import TestSupport
import Testing

@testable import RoostCommand

/// What goes wrong: one line on standard error that says what and where, and a code for scripts.
// Budget: 6 s
@Suite struct ErrorTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func expect(
    _ outcome: Roost.Outcome, _ status: Int32, _ words: String...,
    location: SourceLocation = #_sourceLocation
  ) {
    #expect(
      outcome.status == status && !outcome.isSignal, "\(outcome.errors)", sourceLocation: location)
    let lines = outcome.errors.split(separator: "\n")
    #expect(
      lines.count == 1 && outcome.errors.hasPrefix("roost: "), "\(outcome.errors)",
      sourceLocation: location)
    for word in words {
      #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: location)
    }
  }

  /// A script may try again after 75, and must not after 3.
  @Test func `what may have happened has a code of its own`() {
    func status(_ code: DatabaseError.Code) -> Int32 { Failure(DatabaseError(code, "x")).status.rawValue }
    for code in [DatabaseError.Code.indeterminate, .outcomeUnknown, .operationExpired] {
      #expect(status(code) == 3, "\(code)")
    }
    for code in [DatabaseError.Code.busy, .deadlineExceeded, .conditionFailed] {
      #expect(status(code) == 75, "\(code)")
    }
    #expect(status(.transactionAborted) == 70 && status(.unreachable) == 69)
    let unknown = StoreError(.outcomeUnknown, "x")
    #expect(Failure(unknown).status.rawValue == 3)
    #expect(Failure(DatabaseError(unknown)).status.rawValue == 3)
    #expect(Failure(DatabaseError(StoreError(.diskFull, "x"))).status.rawValue == 74)
  }

  @Test func `no store`() throws {
    let missing = roost.path("missing")
    for command in ["scan", "stats", "verify", "compact", "trees", "export", "shell"] {
      expect(try roost.run(command, missing), 66, missing)
    }
    expect(try roost.run("get", missing, "k"), 66, missing)
    expect(try roost.run("dump", missing), 66, missing)
    #expect(!FileManager.default.fileExists(atPath: missing))
    let other = roost.path("other")
    try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
    expect(try roost.run("scan", other), 66, other)
    try roost.write([1], other + "/notes.txt")
    expect(try roost.run("put", other, "a", "b"), 66, "notes.txt")
    expect(try roost.run("dump", other), 66, other)
    expect(try roost.run("scan", other + "/notes.txt"), 66, "notes.txt")
    expect(try roost.run("dump", other + "/notes.txt"), 66, "notes.txt")
  }

  @Test func `wrong usage`() throws {
    let db = try roost.makeStore()
    expect(try roost.run("put", db, "a\\q", "b"), 64, "\\q")
    expect(try roost.run("put", db, "", "b"), 64, "at least one byte")
    expect(try roost.run("get", db, "--hex", "abc"), 64, "hexadecimal")
    expect(try roost.run("put", roost.path("new"), "\\x", "b"), 64, "\\x")
    #expect(!FileManager.default.fileExists(atPath: roost.path("new")))
    for arguments in [
      ["nonsense"], ["get", db], ["scan", db, "--limit", "x"], ["get", db, "a", "--raw", "--json"],
    ] {
      let outcome = try roost.run(arguments)
      #expect(
        outcome.status == 64 && outcome.output.isEmpty && outcome.errors.contains("Usage: roost"))
    }
    let bytes = try roost.shell("\"$ROOST\" put \(db) $'\\xff' b")
    expect(bytes, 64, "argument 3 is not valid UTF-8")
    expect(try roost.run("put", db, String(repeating: "k", count: 65_536), "v"), 64, "65536 bytes")
  }

  @Test func `a store that is open elsewhere`() throws {
    let db = try roost.makeStore()
    let holder = Process()
    let input = Pipe()
    let output = Pipe()
    holder.executableURL = URL(fileURLWithPath: Roost.executable)
    holder.arguments = ["shell", db]
    holder.standardInput = input
    holder.standardOutput = output
    try holder.run()
    // Its answer says that it has the store.
    try input.fileHandleForWriting.write(contentsOf: Data("count\n".utf8))
    _ = output.fileHandleForReading.availableData
    expect(try roost.run("scan", db), 75, "process \(holder.processIdentifier)", "LOCK")
    #expect(try roost.run("dump", db).status == 0)
    #expect(
      try roost.run("dump", db + "/LOCK").text.contains("process \(holder.processIdentifier)"))
    try input.fileHandleForWriting.close()
    holder.waitUntilExit()
    #expect(try roost.run("scan", db).status == 0)
  }

  @Test func `damaged files`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("compact", db).status == 0)
    let table = try roost.file(db, ".sst")
    var bytes = try roost.bytes(table)
    bytes[3] ^= 1
    try roost.write(bytes, table)
    expect(try roost.run("get", db, "u:1"), 2, "damaged", table, "offset 0")
    expect(try roost.run("scan", db), 2, table)
    let verified = try roost.run("verify", db)
    #expect(
      verified.status == 2 && verified.text.contains("DAMAGED") && verified.text.contains(table))
    let report = try #require(
      try JSONSerialization.jsonObject(with: Data(try roost.run("verify", db, "--json").output))
        as? [String: Any])
    let problems = try #require(report["problems"] as? [[String: Any]])
    #expect(
      report["healthy"] as? Bool == false && problems.contains { $0["file"] as? String == table })
    try FileManager.default.removeItem(atPath: table)
    expect(try roost.run("scan", db), 2, table)
    let marker = db + "/CURRENT"
    let text = String(decoding: try roost.bytes(marker), as: UTF8.self)
    try roost.write(Array(text.replacingOccurrences(of: "store 1", with: "store 9").utf8), marker)
    expect(try roost.run("scan", db), 76, "format 9")
    try roost.write(Array(text.dropLast(9).utf8), marker)
    expect(try roost.run("scan", db), 2, "CURRENT")
  }

  @Test func `files that cannot be written or read`() throws {
    let db = try roost.makeStore()
    expect(try roost.run("import", db, roost.path("none.tsv")), 66, "none.tsv")
    expect(try roost.run("import", db, roost.scratch.path.string), 66, roost.scratch.path.string)
    expect(try roost.run("export", db, roost.path("no/such/folder.tsv")), 66, "folder.tsv")
    try roost.write([1], roost.path("there.tsv"))
    expect(try roost.run("export", db, roost.path("there.tsv")), 64, "--force")
    #expect(try roost.bytes(roost.path("there.tsv")) == [1])
    #expect(try roost.run("export", db, roost.path("there.tsv"), "--force").status == 0)
    #expect(try roost.bytes(roost.path("there.tsv")).count > 10)
    let full = try roost.shell("\"$ROOST\" scan \(db) > /dev/full")
    expect(full, 74, "standard output")
  }

  @Test func `a reader that goes away ends it quietly`() throws {
    let db = roost.path("db")
    #expect(try roost.run("fill", db, "--count", "20000").status == 0)
    for command in [
      "scan \(db)", "export \(db)", "dump \(db) --entries",
      "fill \(roost.path("new")) --count 10000000 --batch 10",
    ] {
      let outcome = try roost.shell(
        "\"$ROOST\" \(command) | head -n 1 | wc -l; echo ${PIPESTATUS[0]}")
      #expect(
        outcome.lines == ["1", "141"] || outcome.lines == ["1", "0"], "\(command): \(outcome.text)")
      #expect(outcome.errors.isEmpty, "\(command): \(outcome.errors)")
    }
    #expect(try roost.run("verify", db).status == 0)
  }
}
