import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostStorage

/// `roost scan`: shows the keys and values of a range, in order.
struct Scan: AsyncParsableCommand {
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
      A transactional keyspace is shown as it is at one moment, as a store is, in ascending order.

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

  func run() async throws {
    let range = try self.range.range(bytes)
    if try DatabaseDirectory.isDatabase(directory.directory) {
      return try await withOpenDatabase([directory.directory]) { database in
        if database.isTransactional(keyspace) { return try await scanVersions(range, database) }
        try scanRecords(range, database.core)
      }
    }
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
    var found = 0
    while found < limit, try reverse ? cursor.previous() : cursor.next() {
      found += 1
      if !count { try show(cursor.key, cursor.value) }
    }
    return found
  }

  private func show(_ key: RawSpan, _ value: RawSpan) throws {
    let output = Output.standard
    if json {
      let jsonLines = JSONLinesWriter(output: output)
      return try keysOnly ? jsonLines.write(key: key) : jsonLines.write(key: key, value: value)
    }
    bytes.append(key, to: &output.buffer)
    if !keysOnly {
      output.buffer.append(UInt8(ascii: "\t"))
      bytes.append(value, to: &output.buffer)
    }
    output.buffer.append(UInt8(ascii: "\n"))
    try output.flushIfFull()
  }

  private func scanVersions(_ range: KeyRange, _ database: Database) async throws {
    var wanted = range.scan
    wanted.tag = try bytes.bytes(tag, "--tag")
    let order = reverse ? ScanOrder.descending : .ascending
    let token = try after.map { text throws(DatabaseError) in try ScanToken(text: text) }
    let keyspace = try await database.keyspace(self.keyspace.keyspace)
    var found = 0
    var rest = token
    if let limit {
      // A page may have fewer entries than asked for.
      repeat {
        if found == limit { break }
        let page = try await keyspace.scanPage(wanted, order, limit: limit - found, after: rest)
        if !count { for entry in page { try show(entry) } }
        found += page.count
        rest = page.token
      } while rest != nil
    } else {
      // Without a limit it is one scan, of one moment.
      for try await entry in keyspace.scan(wanted, order, after: token) {
        if !count { try show(entry) }
        found += 1
      }
      rest = nil
    }
    if count { try Output.standard.line("\(found)") }
    try Output.standard.flush()
    if let rest { Complaint.line("to go on after this: --after \(rest.text)") }
  }

  private func show(_ entry: ScanEntry) throws {
    let (key, value) = (entry.key, entry.value ?? [])
    try unsafe show(key.span.bytes, value.span.bytes)
  }

  private func scanRecords(_ range: KeyRange, _ database: DatabaseCore) throws {
    var wanted = range.scan
    wanted.tag = try bytes.bytes(tag, "--tag")
    let token = try after.map { text throws(DatabaseError) in try ScanToken(text: text) }
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
