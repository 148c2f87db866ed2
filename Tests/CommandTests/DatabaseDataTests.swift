import Foundation
import RoostCluster
import TestSupport
import Testing

/// The commands for whole trees on databases, and looks at their stores that change nothing.
// Budget: 10 s
@Suite struct DatabaseDataTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func make(_ names: String...) throws -> [String] {
    let paths = names.map { roost.path($0) }
    let outcome = try roost.run(["create"] + paths)
    try #require(outcome.status == 0, "\(outcome.errors)")
    return paths
  }

  private func contents(_ directory: String) throws -> [String: Data] {
    var found: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: directory) {
      let file = URL(fileURLWithPath: directory + "/" + name)
      if try file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true {
        found[name] = try Data(contentsOf: file)
      }
    }
    return found
  }

  /// The recorded places of a copy lead to the original.
  @Test func `a command on a copy leaves the original as it is`() throws {
    let original = roost.path("original")
    try FileManager.default.createDirectory(atPath: original, withIntermediateDirectories: true)
    _ = try make("original/a", "original/b")
    for number in 0..<10 {
      #expect(try roost.run("put", original + "/a", "k\(number)", "v").status == 0)
    }
    let copy = roost.path("copy")
    try FileManager.default.copyItem(atPath: original, toPath: copy)
    let before = try contents(original)
    for number in 0..<10 {
      let outcome = try roost.run("put", copy + "/b", "k\(number)", "changed", "--replace")
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    #expect(try roost.run("scan", copy + "/a", "--count").text == "10\n")
    #expect(try contents(original) == before)
    // Without the other store beside it, it says what is missing.
    try FileManager.default.removeItem(atPath: copy + "/b")
    let alone = try roost.run("get", copy + "/a", "k1")
    #expect(alone.status == 66 && alone.errors.contains("missing"), "\(alone.errors)")
    #expect(try contents(original) == before)
    #expect(try roost.run("get", original + "/b", "k1", "--raw").text == "v")
  }

  @Test func `looking at a store costs it no incarnation`() throws {
    let stores = try make("a", "b")
    func dots() throws -> String {
      #expect(try roost.run("incr", stores[0], "n").status == 0)
      let text = try roost.run("get", stores[0], "n").text
      return String(text[(text.range(of: "context")?.lowerBound ?? text.startIndex)...])
    }
    _ = try dots()
    for command in ["stats", "verify", "compact", "trees"] {
      for store in stores { #expect(try roost.run(command, store).status == 0) }
    }
    // A name that is none: the open fails.
    #expect(try roost.run("get", stores[0], "n", "--keyspace", "none").status == 66)
    let context = try dots()
    #expect(context.split(separator: ":").count == 2, "one incarnation: \(context)")
  }

  @Test func `an increment that is tried again with its id counts once`() throws {
    let db = try make("a", "b")[0]
    let first = try roost.run("incr", db, "n", "--by", "5", "--operation", "new")
    #expect(first.status == 0 && first.text == "5\n", "\(first.errors)")
    let id = try #require(first.errors.split(separator: "operation ").last?.prefix(32))
    #expect(id.count == 32 && id.allSatisfy(\.isHexDigit), "\(first.errors)")
    for _ in 0..<2 {
      #expect(try roost.run("incr", db, "n", "--by", "5", "--operation", String(id)).text == "5\n")
    }
    #expect(try roost.run("incr", db, "n", "--by", "5", "--operation", "new").text == "10\n")
    #expect(try roost.run("incr", db, "n", "--operation", "17").status == 64)
    // Begun in 1970: refused, and not counted.
    let old = String(repeating: "0", count: 31) + "1"
    #expect(try roost.run("incr", db, "n", "--operation", old).errors.contains("ms ago"))
    #expect(try roost.run("incr", db, "n", "--by", "0").text == "10\n")
  }

  @Test func `a keyspace goes out and comes in`() throws {
    let stores = try make("a", "b")
    let db = stores[0]
    for key in ["x", "y", "z"] { #expect(try roost.run("put", db, key, "v" + key).status == 0) }
    let exported = try roost.run("export", db)
    #expect(exported.text == "x\tvx\ny\tvy\nz\tvz\n", "\(exported.errors)")
    let file = roost.path("out.jsonl")
    #expect(try roost.run("export", stores[1], file, "--from", "y").status == 0)
    let other = try make("other")[0]
    #expect(try roost.run("import", other, file, "--sync").status == 0)
    // Again: each replaces what was there.
    #expect(try roost.run("import", other, file).status == 0)
    #expect(try roost.run("export", other).text == "y\tvy\nz\tvz\n")
    let plain = roost.path("plain")
    #expect(try roost.run("import", plain, file).status == 0)
    #expect(try roost.run("export", plain).text == "y\tvy\nz\tvz\n")
    let bad = try roost.run("import", other, input: Array("a\t1\nno tab\n".utf8))
    #expect(bad.status == 65 && bad.errors.contains("1 record before it"), "\(bad.errors)")
    #expect(try roost.run("get", other, "a", "--raw").text == "1")
    // What has no one value is refused, and named.
    #expect(try roost.run("put", db, "y", "beside").status == 0)
    let siblings = try roost.run("export", db)
    #expect(siblings.status == 64 && siblings.errors.contains("`y` holds 2 siblings"), "\(siblings.errors)")
    #expect(try roost.run("incr", other, "n").status == 0)
    let counter = try roost.run("export", other)
    #expect(counter.status == 64 && counter.errors.contains("`n` holds a counter"), "\(counter.errors)")
  }

  @Test func `dump explains the entries of an index and how far it is built`() throws {
    let path = try make("a")[0]
    var options = DatabaseOptions()
    options.creation = .mustExist
    let database = try DatabaseOpening.open([path], options, .posix())
    let byFirst = Index("first") { _, value in [Array(value.prefix(3))] }
    let notes = try database.keyspace("notes", .eventual, indexes: [byFirst])
    _ = try "k{7}".withKeyBytes { key throws(DatabaseError) in
      try notes.put(key, Array("Ada Lovelace".utf8), context: nil)
    }
    try database.close()
    let text = try roost.run("dump", path, "--entries").text
    for words in ["term Ada of k{7}", "build record", "→ done"] {
      #expect(text.contains(words), "\(words) in \(text)")
    }
    let json = try roost.run("dump", path, "--entries", "--json").text
    #expect(json.contains("\"term\":\"Ada\"") && json.contains("\"isDone\":true"), "\(json)")
  }

  @Test func `filling, and deleting a range`() throws {
    let db = try make("a", "b")[0]
    let filled = try roost.run("fill", db, "--count", "50", "--batch", "20", "--sync")
    #expect(filled.text == "acked 0 20\nacked 20 40\nacked 40 50\n", "\(filled.errors)")
    #expect(try roost.run("fill", db, "--count", "50", "--check").text == "checked 0 50: all there\n")
    #expect(try roost.run("fill", db, "--count", "50").status == 0)
    #expect(try roost.run("scan", db, "--count").text == "50\n")
    #expect(try roost.run("put", db, "u:1", "v").status == 0)
    #expect(try roost.run("put", db, "u:2", "v").status == 0)
    #expect(try roost.run("delete", db, "--prefix", "u:", "--sync").status == 0)
    #expect(try roost.run("scan", db, "--prefix", "u:", "--count").text == "0\n")
    #expect(try roost.run("scan", db, "--count").text == "50\n")
    #expect(try roost.run("delete", db, "--from", "0", "--to", "z").status == 0)
    #expect(try roost.run("fill", db, "--count", "50", "--check").status == 2)
    // What makes no sense on a database says what does.
    for (command, hint) in [(["shell", db], "roost get"), (["drop", db, "x"], "roost delete")] {
      let refused = try roost.run(command)
      #expect(refused.status == 64 && refused.errors.contains(hint), "\(refused.errors)")
    }
  }
}
