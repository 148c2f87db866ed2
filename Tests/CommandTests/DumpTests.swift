import Foundation
import TestSupport
import Testing

/// dump explains every kind of file, healthy and damaged, and never crashes.
// Budget: 12 s
@Suite struct DumpTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  @Test func `a directory`() throws {
    let db = try roost.makeStore()
    try roost.write([], db + "/000999.sst")
    try roost.write([], db + "/notes.txt")
    let outcome = try roost.run("dump", db)
    #expect(outcome.status == 0)
    for words in [
      "marker \(db)/CURRENT", "tree 1 `default`", "level 0  table", "the manifest",
      "write-ahead log",
      "leftover table", "not one of Roost's", "the lock", "table of `default`, level 0",
    ] { #expect(outcome.text.contains(words), "\(words) in \(outcome.text)") }
    #expect(try roost.run("scan", db, "--count").text == "3\n", "the dump changed nothing")
  }

  @Test func `entries of every file`() throws {
    let db = try roost.makeStore()
    let outcome = try roost.run("dump", db, "--entries")
    #expect(outcome.status == 0)
    for words in [
      "put    u:1 → Ada", "delete gone", "delete x ..< y", "put    \\xff\\x00 → \\x01",
    ] { #expect(outcome.text.contains(words), "\(words) in \(outcome.text)") }
    let hex = try roost.run("dump", db, "--entries", "--hex")
    #expect(hex.text.contains("put    753a31 → 416461"))
    let lines = try roost.run("dump", db, "--entries", "--json").lines
    var types: Set<String> = []
    for line in lines {
      let object = try #require(
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], "\(line)")
      types.insert(try #require(object["type"] as? String))
    }
    #expect(
      types.isSuperset(of: [
        "marker", "contents", "tree", "liveTable", "liveLog", "file", "table", "footer", "property",
        "block", "entry",
        "log", "record", "edit", "operation", "mark", "unused",
      ]), "\(types)")
  }

  @Test func `one block and one frame`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("compact", db).status == 0)
    let table = try roost.file(db, ".sst")
    let data = try roost.run("dump", table, "--block", "0")
    #expect(
      data.status == 0 && data.text.contains("put    u:1 → Ada") && !data.text.contains("footer"))
    for number in 1...4 {
      #expect(try roost.run("dump", table, "--block", "\(number)").status == 0)
    }
    #expect(try roost.run("dump", table, "--block", "5").status == 66)
    let manifest = try roost.run("dump", try roost.file(db, ".manifest"), "--block", "0")
    #expect(manifest.status == 0 && manifest.text.contains("tree 1 `default` created"))
    #expect(try roost.run("dump", db, "--block", "0").status == 64)
  }

  @Test func `a copy under another name is told by its contents`() throws {
    let db = try roost.makeStore()
    for (suffix, word) in [
      (".sst", "table "), (".log", "write-ahead log "), (".manifest", "manifest "),
      ("CURRENT", "marker "),
    ] {
      let copy = roost.path("copy")
      try roost.write(try roost.bytes(roost.file(db, suffix)), copy)
      let outcome = try roost.run("dump", copy)
      #expect(outcome.status == 0 && outcome.text.hasPrefix(word), "\(suffix): \(outcome.text)")
    }
  }

  @Test func `what the manifest names and is not there, or has another length`() throws {
    let db = try roost.makeStore()
    let table = try roost.file(db, ".sst")
    try roost.write(try roost.bytes(table) + [0], table)
    let longer = try roost.run("dump", db)
    #expect(longer.status == 2 && longer.text.contains("the manifest says"))
    try FileManager.default.removeItem(atPath: table)
    let missing = try roost.run("dump", db)
    #expect(missing.status == 2 && missing.text.contains("the file is missing: table of `default`"))
    try FileManager.default.removeItem(atPath: db + "/CURRENT")
    let unmarked = try roost.run("dump", db)
    #expect(unmarked.status == 2 && unmarked.text.contains("the marker is missing"))
  }

  /// Damage in the middle of a log is told, and what follows is shown all the same.
  @Test func `it goes on over damage`() throws {
    let db = try roost.makeStore()
    let log = try roost.file(db, ".log")
    var bytes = try roost.bytes(log)
    bytes[64 + 16 + 14] ^= 0xFF
    try roost.write(bytes, log)
    let outcome = try roost.run("dump", log, "--entries")
    #expect(outcome.status == 2 && outcome.text.contains("DAMAGED"), "\(outcome.text)")
    #expect(
      outcome.text.contains("offset 64") && outcome.text.contains("put    \\xff\\x00 → \\x01"))
    #expect(!outcome.text.contains("delete gone"))
    // A damaged header: the salt is right, so the frames are.
    bytes = try roost.bytes(log)
    bytes[16] ^= 1
    try roost.write(bytes, log)
    let header = try roost.run("dump", log, "--entries")
    #expect(header.status == 2 && header.text.contains("a log's header"))
    #expect(header.text.contains("put    \\xff\\x00 → \\x01"))

    let filled = roost.path("filled")
    #expect(try roost.run("fill", filled, "--count", "5000").status == 0)
    #expect(try roost.run("compact", filled).status == 0)
    let table = try roost.file(filled, ".sst")
    let whole = try roost.run("dump", table, "--entries").lines.filter { $0.contains(" put ") }
    #expect(whole.count == 5000)
    bytes = try roost.bytes(table)
    bytes[5000] ^= 0xFF
    try roost.write(bytes, table)
    let rest = try roost.run("dump", table, "--entries")
    let kept = rest.lines.filter { $0.contains(" put ") }
    #expect(rest.status == 2 && kept.count > 4900 && kept.count < 5000)
    #expect(rest.lines.filter { $0.contains("DAMAGED") }.count == 1)
  }

  @Test func `no flipped byte crashes it`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("shell", db, input: Array("put a 1\ndelete u:1\n".utf8)).status == 0)
    for suffix in [".sst", ".manifest", ".log", "CURRENT"] {
      let source = try roost.file(db, suffix)
      // A log's zeros are not worth it.
      let good = Array(try roost.bytes(source).prefix(700))
      let name = String(source.split(separator: "/").last ?? "")
      var paths: [String] = []
      for offset in good.indices {
        let folder = roost.path("\(name)-\(offset)")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var bad = good
        bad[offset] ^= 1 << UInt8(offset % 8)
        try roost.write(bad, folder + "/" + name)
        paths.append(folder + "/" + name)
      }
      for flags in [["--entries"], ["--entries", "--json"]] {
        let outcome = try roost.run(["dump"] + paths + flags)
        #expect(
          !outcome.isSignal && outcome.status == 2 && outcome.errors.isEmpty,
          "\(name): \(outcome.text.suffix(400))")
      }
      for length in stride(from: 0, to: good.count, by: 7) {
        try roost.write(Array(good[..<length]), paths[0])
        let outcome = try roost.run("dump", paths[0], "--entries")
        #expect(
          !outcome.isSignal && [0, 2].contains(outcome.status),
          "\(name), \(length): \(outcome.errors)")
      }
    }
  }

  @Test func `random damage to a directory crashes nothing`() throws {
    try withSeeds(
      "random damage to a directory crashes nothing", count: TestSize.of(quick: 10, full: 60)
    ) { seed, random in
      let db = try roost.makeStore("db-\(seed)")
      for name in try FileManager.default.contentsOfDirectory(atPath: db).sorted()
      where name != "LOCK" {
        var bytes = try roost.bytes(db + "/" + name)
        let limit = min(bytes.count, 800)
        for _ in 0..<random.below(6) where limit > 0 {
          let start = random.below(limit)
          for i in start..<min(bytes.count, start + 1 + random.below(20)) {
            bytes[i] = UInt8(random.below(256))
          }
        }
        try roost.write(bytes, db + "/" + name)
      }
      for command in [["dump", db, "--entries"], ["scan", db], ["verify", db]] {
        let outcome = try roost.run(command)
        #expect(
          !outcome.isSignal && [0, 2, 76].contains(outcome.status),
          "seed \(seed): \(command[0]) \(outcome.errors)")
      }
    }
  }
}
