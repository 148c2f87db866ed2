import Foundation
import RoostEnvironment
import TestSupport
import Testing

/// import and export: what goes out comes in again, and bad input is named.
// Budget: 8 s
@Suite struct TransferTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// A binary export of random records, made without the tool's writer.
  private func records(_ count: Int, _ random: inout SplitMix64) -> [(key: [UInt8], value: [UInt8])]
  {
    var records: [[UInt8]: [UInt8]] = [:]
    while records.count < count {
      let key = random.bytes(1 + random.below(12))
      records[key] =
        random.below(20) == 0 ? random.bytes(random.below(300_000)) : random.bytes(random.below(60))
    }
    return records.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
  }

  @Test func `every format brings random bytes back`() throws {
    try withSeeds("every format brings random bytes back", count: TestSize.of(quick: 1, full: 4)) {
      seed, random in
      let records = records(200, &random)
      let lines = records.map {
        "{\"key\":{\"hex\":\"\(hex($0.key))\"},\"value\":{\"hex\":\"\(hex($0.value))\"}}\n"
      }
      let source = roost.path("source-\(seed)")
      let imported = try roost.run(
        "import", source, "--format", "jsonl", input: Array(lines.joined().utf8))
      try #require(imported.status == 0 && imported.errors.isEmpty, "\(imported.errors)")
      let expected = records.map { "\(hex($0.key))\t\(hex($0.value))" }
      for format in ["tsv", "jsonl", "binary"] {
        let file = roost.path("\(seed).\(format == "binary" ? "roost" : format)")
        #expect(try roost.run("export", source, file).status == 0)
        let piped = try roost.run("export", source, "--format", format)
        #expect(try piped.output == roost.bytes(file), "seed \(seed), \(format)")
        let copy = roost.path("copy-\(seed)-\(format)")
        let back = try roost.run("import", copy, file, "--batch", "17")
        try #require(back.status == 0, "seed \(seed), \(format): \(back.errors)")
        #expect(
          try roost.run("scan", copy, "--hex").lines.map(String.init) == expected,
          "seed \(seed), \(format)")
      }
      // `scan` shows what `import` takes.
      let shown = try roost.run("scan", source)
      let again = roost.path("again-\(seed)")
      #expect(try roost.run("import", again, "-", "--sync", input: shown.output).status == 0)
      #expect(try roost.run("scan", again).output == shown.output)
      #expect(
        try roost.run("scan", again, "--json").output
          == roost.run("export", source, "--format", "jsonl").output)
    }
  }

  private func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }

  @Test func `a part is exported`() throws {
    let db = try roost.makeStore()
    #expect(try roost.run("export", db, "--prefix", "u:").text == "u:1\tAda\nu:2\tGrace\n")
    #expect(try roost.run("export", db, "--from", "u:2", "--to", "v").text == "u:2\tGrace\n")
  }

  @Test func `nothing is exported and imported`() throws {
    let db = roost.path("db")
    #expect(try roost.run("import", db, input: []).status == 0)
    for format in ["tsv", "jsonl", "binary"] {
      let empty = try roost.run("export", db, "--format", format)
      #expect(empty.status == 0 && (format == "binary" || empty.output.isEmpty))
      #expect(try roost.run("import", db, "--format", format, input: empty.output).status == 0)
    }
    #expect(try roost.run("scan", db, "--count").text == "0\n")
  }

  @Test(arguments: [
    ("tsv", "a\t1\nb 2\nc\t3\n", "line 2", "no tab"),
    ("tsv", "a\t1\nb\\q\t2\n", "line 2, byte 2", "\\q"),
    ("tsv", "a\t1\nb\t2\\\n", "line 2, byte 4", "lone backslash"),
    ("tsv", "a\t1\nb\t2\t3\n", "line 2", "more than one tab"),
    ("tsv", "a\t1\nb\t2\r\n", "line 2", "CR LF"),
    ("tsv", "a\t1\n\n", "line 2", "no tab"),
    ("tsv", "a\t1\n\t2\n", "record 2", "key is empty"),
    (
      "jsonl", "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"valu\":\"1\"}\n",
      "line 3, byte 12", "valu"
    ),
    ("jsonl", "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"", "line 2, byte 11", "too early"),
  ])
  func `bad input is named, and what came before it is kept`(
    format: String, input: String, place: String, problem: String
  ) throws {
    let db = roost.path("db")
    let outcome = try roost.run("import", db, "--format", format, input: Array(input.utf8))
    #expect(outcome.status == 65)
    #expect(outcome.errors.hasPrefix("roost: standard input, \(place): "), "\(outcome.errors)")
    #expect(outcome.errors.contains(problem), "\(outcome.errors)")
    #expect(outcome.errors.hasSuffix("1 record before it imported\n"), "\(outcome.errors)")
    #expect(try roost.run("scan", db).text == "a\t1\n")
  }

  @Test func `a damaged binary export is noticed wherever it is damaged`() throws {
    let db = try roost.makeStore()
    let good = try roost.run("export", db, "--format", "binary").output
    var outcomes: [Roost.Outcome] = []
    for offset in good.indices {
      var bad = good
      bad[offset] ^= 1 << UInt8(offset % 8)
      let outcome = try roost.run("import", roost.path("bad"), "--format", "binary", input: bad)
      #expect(
        outcome.status == 65 && outcome.errors.contains("offset "),
        "byte \(offset): \(outcome.errors)")
      outcomes.append(outcome)
    }
    for length in stride(from: 0, to: good.count, by: 3) {
      let outcome = try roost.run(
        "import", roost.path("cut"), "--format", "binary", input: Array(good[..<length]))
      #expect(outcome.status == 65, "length \(length): \(outcome.errors)")
    }
    let longer = try roost.run(
      "import", roost.path("long"), "--format", "binary", input: good + [0])
    #expect(longer.status == 65)
    #expect(
      try roost.run("import", roost.path("good"), "--format", "binary", input: good).status == 0)
  }

  /// Starts an import that reads from a pipe, which has some text in it already and stays open.
  private func startImport(
    _ directory: String, _ text: String, blocks: Bool
  ) throws -> (process: Process, input: Pipe, errors: String) {
    let input = Pipe()
    if !blocks {
      // Where nothing is left to read, the reader fails.
      let descriptor = input.fileHandleForReading.fileDescriptor
      try #require(fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
    }
    try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
    let errors = roost.path("errors")
    try Data().write(to: URL(fileURLWithPath: errors))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Roost.executable)
    process.arguments = ["import", directory]
    process.standardInput = input
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
    try process.run()
    return (process, input, errors)
  }

  @Test(arguments: [false, true])
  func `where reading fails, what was read before is written`(isDatabase: Bool) throws {
    let db = roost.path("db")
    if isDatabase { #expect(try roost.run("create", db).status == 0) }
    let run = try startImport(db, "a\t1\nb\t2\n", blocks: false)
    run.process.waitUntilExit()
    try run.input.fileHandleForWriting.close()
    let errors = String(decoding: try roost.bytes(run.errors), as: UTF8.self)
    #expect(run.process.terminationStatus == 74, "\(errors)")
    #expect(errors.contains("standard input") && errors.contains("2 records before it imported"), "\(errors)")
    #expect(try roost.run("export", db).text == "a\t1\nb\t2\n")
  }

  @Test func `a database has each record as soon as it came`() throws {
    let db = roost.path("db")
    #expect(try roost.run("create", db).status == 0)
    let value = "a value that nothing else has"
    let run = try startImport(db, "a\t\(value)\n", blocks: true)
    defer {
      if run.process.isRunning { run.process.terminate() }
      run.process.waitUntilExit()
    }
    try ServedCluster.poll("the record in the log, before another one comes") {
      try roost.shell("grep -aq '\(value)' '\(db)'/*.log").status == 0
    }
    // More can come.
    try run.input.fileHandleForWriting.write(contentsOf: Data("b\t2\n".utf8))
    try run.input.fileHandleForWriting.close()
    run.process.waitUntilExit()
    #expect(try roost.run("export", db).text == "a\t\(value)\nb\t2\n")
  }

  /// FORMAT.md's example: a change here breaks every export that exists.
  @Test func `the bytes of an export are as they were`() throws {
    let db = roost.path("db")
    #expect(try roost.run("put", db, "k", "v").status == 0)
    let bytes = try roost.run("export", db, "--format", "binary").output
    #expect(bytes.count == 24 + 16 + 4 + 16 + 8)
    #expect(bytes[..<16] == Array("ROOSTEXP".utf8)[...] + [1, 0, 0, 0, 0, 0, 0, 0])
    #expect(bytes[24..<32] == [4, 0, 0, 0, 1, 0, 0, 0])
    #expect(bytes[40..<44] == [1, UInt8(ascii: "k"), 1, UInt8(ascii: "v")])
    #expect(bytes[44..<52] == [0, 0, 0, 0, 0, 0, 0, 0])
    #expect(bytes[60...] == [1, 0, 0, 0, 0, 0, 0, 0])
  }
}
