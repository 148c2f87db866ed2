import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostStorage

/// `roost scan`: shows the keys and values of a range, in order.
struct Scan: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show keys and values in order.",
    discussion: """
      A line a record: the key, a tab, the value.

      EXAMPLES
        roost scan ./db
        roost scan ./db --prefix u: --limit 3 --json
        roost scan ./db --from a --to b --keys-only
        roost scan ./db --reverse --limit 1     the last key
        roost scan ./db --prefix u: --count

      A database is scanned in key order over all its stores, a record a line as `roost get`
      shows it; --tag reads one partition, --after goes on behind an earlier scan's token:
        roost scan ./disk1 --keyspace posts --prefix u:
        roost scan ./disk1 --tag 42 --limit 100

      \(BytesOptions.help)
      With --json each line is {"key":…,"value":…}, in which bytes that are not
      UTF-8 are {"hex":"00ff"}; `roost import --format jsonl` takes it back.
      """)

  @OptionGroup var directory: DirectoryArgument
  @OptionGroup var range: RangeOptions
  @Option(help: "At most so many records.") var limit: Int?
  @Flag(help: "From the last key to the first.") var reverse = false
  @Flag(help: "Keys without their values.") var keysOnly = false
  @Flag(help: "A JSON object a line.") var json = false
  @Flag(help: "Only how many records there are.") var count = false
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @Option(help: "Of a database: only keys with this {tag}.") var tag: String?
  @Option(help: "Of a database: the token of a scan that --limit ended.") var after: String?
  @OptionGroup var bytes: BytesOptions

  func validate() throws {
    if let limit, limit < 0 { throw ValidationError("--limit must not be negative.") }
    if count && (json || keysOnly) {
      throw ValidationError("--count goes with neither --json nor --keys-only.")
    }
  }

  func run() throws {
    let range = try self.range.range(bytes)
    if try DatabaseDirectory.isDatabase(directory.directory) { return try scanRecords(range) }
    if tag != nil || after != nil { try DatabaseDirectory.require(directory.directory) }
    try withStore(directory.directory) { store in
      var cursor = try store.requireTree(tree.tree).cursor(range, nil)
      let found = try show(&cursor, limit ?? .max)
      if count { try Output.standard.line("\(found)") }
      // Before the store is closed: a reader that has gone is noticed now.
      try Output.standard.flush()
    }
  }

  private func show(_ cursor: inout Cursor, _ limit: Int) throws -> Int {
    let output = Output.standard
    let jsonLines = JSONLinesWriter(output: output)
    var found = 0
    while found < limit, try reverse ? cursor.previous() : cursor.next() {
      found += 1
      if count { continue }
      if json {
        if keysOnly {
          try jsonLines.write(key: cursor.key)
        } else {
          try jsonLines.write(key: cursor.key, value: cursor.value)
        }
        continue
      }
      bytes.append(cursor.key, to: &output.buffer)
      if !keysOnly {
        output.buffer.append(UInt8(ascii: "\t"))
        bytes.append(cursor.value, to: &output.buffer)
      }
      output.buffer.append(UInt8(ascii: "\n"))
      try output.flushIfFull()
    }
    return found
  }

  private func scanRecords(_ range: KeyRange) throws {
    var wanted = ScanRange()
    wanted.lower = range.lower
    wanted.upper = range.upper
    wanted.tag = try bytes.bytes(tag, "--tag")
    let token = try after.map { text throws(DatabaseError) in try ScanToken(text: text) }
    try withDatabase(directory.directory) { database in
      let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
      let scan = try KeyspaceScan(
        keyspace, wanted, reverse ? .descending : .ascending, after: token, KeyspaceScan.Limits())
      var left = limit ?? .max
      var found = 0
      while left > 0, !scan.isAtEnd {
        let page = try scan.page(limit: min(left, 512))
        for index in 0..<page.count where !count { try show(page, index, keyspace) }
        left -= page.count
        found += page.count
      }
      if count { try Output.standard.line("\(found)") }
      try Output.standard.flush()
      if limit != nil, !scan.isAtEnd, let token = scan.token {
        Complaint.line("to go on after this: --after \(token.text)")
      }
    }
  }

  private func show(_ page: ScanEntries, _ index: Int, _ keyspace: KeyspaceCore) throws {
    let key = page.key(index)
    let output = Output.standard
    let view = RecordView(bytes: bytes)
    let record = page.found(index).record ?? Record()
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("key", data: key)
      if !keysOnly { view.write(record, visible: keyspace.visible(record), to: &writer) }
      writer.endObject()
      return try output.line(String(decoding: writer.bytes, as: UTF8.self))
    }
    try output.line(bytes.text(key) + (keysOnly ? "" : "\t" + view.line(record)))
  }
}
