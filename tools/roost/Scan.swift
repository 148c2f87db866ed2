import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

/// `roost scan`: shows the keys and values of a range, in order.
struct Scan: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show keys and values in order.",
    usage: PlaceOptions.usage("scan"),
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

      Of a cluster it shows the keys of all nodes, each as a majority of its replicas, or --quorum of
      them, holds it; a token goes on at any node. A transactional keyspace is shown as of one moment:
        roost scan --connect 127.0.0.1:7421 --cluster music --plain --prefix u: --limit 100
        roost scan --connect 127.0.0.1:7421 --cluster music --plain -k accounts

      \(BytesOptions.help)
      With --json each line is {"key":…,"value":…}, in which bytes that are not
      UTF-8 are {"hex":"00ff"}; `roost import --format jsonl` takes it back.
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
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
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory)
    if let limit, limit < 0 { throw ValidationError("--limit must not be negative.") }
    if count && (json || keysOnly) {
      throw ValidationError("--count goes with neither --json nor --keys-only.")
    }
  }

  func run() async throws {
    let range = try self.range.range(bytes)
    guard let directory = try place.split(directory) else { return try await scanRemote(range) }
    if try DatabaseDirectory.isDatabase(directory) {
      return try await withOpenDatabase([directory]) { database in
        if database.isTransactional(keyspace) { return try await scanVersions(range, database) }
        try scanRecords(range, database.core)
      }
    }
    if tag != nil || after != nil { try DatabaseDirectory.require(directory) }
    try withStore(directory) { store in
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

  private var order: ScanOrder { reverse ? .descending : .ascending }

  private func wanted(_ range: KeyRange) throws -> ScanRange {
    var wanted = range.scan
    wanted.tag = try bytes.bytes(tag, "--tag")
    return wanted
  }

  private func scanRemote(_ range: KeyRange) async throws {
    try tree.requireNone()
    let token = try after.map { text throws(DatabaseError) in try ScanToken(text: text) }
    var request = ScanRequest(
      try wanted(range), order, in: keyspace.keyspace, limit: limit ?? .max, after: token)
    request.quorum = place.quorum
    let asked = request
    var found = 0
    let rest = try await place.connection.withClient { client -> ScanToken? in
      do {
        return try await client.forEachPage(asked, limit: limit) { page in
          for entry in page.entries where !count {
            try show(entry.key, entry.record, page.policy.visible(entry.record))
          }
          found += page.entries.count
        }
      } catch let error as DatabaseError {
        try place.requireTransactional(error)
        if reverse || tag != nil || after != nil {
          throw Failure.usage(
            "a transactional keyspace is scanned over a connection without --reverse, --tag and --after: go "
              + "on with --from")
        }
        let cluster = ClusterClient(client)
        try await cluster.forEachVersion(in: keyspace.keyspace, range, limit: limit) { entries in
          for entry in entries where !count {
            try unsafe show(entry.key.span.bytes, entry.value.span.bytes)
          }
          found += entries.count
        }
        return nil
      }
    }
    try end(found, rest)
  }

  /// Says how many there were, where asked to, and how to go on.
  private func end(_ found: Int, _ rest: ScanToken?) throws {
    if count { try Output.standard.line("\(found)") }
    try Output.standard.flush()
    if let rest { Complaint.line("to go on after this: --after \(rest.text)") }
  }

  private func scanVersions(_ range: KeyRange, _ database: Database) async throws {
    let wanted = try wanted(range)
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
    try end(found, rest)
  }

  private func show(_ entry: ScanEntry) throws {
    let (key, value) = (entry.key, entry.value ?? [])
    try unsafe show(key.span.bytes, value.span.bytes)
  }

  private func scanRecords(_ range: KeyRange, _ database: DatabaseCore) throws {
    let token = try after.map { text throws(DatabaseError) in try ScanToken(text: text) }
    let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
    let scan = try KeyspaceScan(
      keyspace, try wanted(range), order, after: token, KeyspaceScan.Limits())
    var left = limit ?? .max
    var found = 0
    while left > 0, !scan.isAtEnd {
      let page = try scan.page(limit: min(left, 512))
      for index in 0..<page.count where !count { try show(page, index, keyspace) }
      left -= page.count
      found += page.count
    }
    try end(found, limit != nil && !scan.isAtEnd ? scan.token : nil)
  }

  private func show(_ page: ScanEntries, _ index: Int, _ keyspace: KeyspaceCore) throws {
    let record = page.found(index).record ?? Record()
    try show(page.key(index), record, keyspace.visible(record))
  }

  private func show(_ key: [UInt8], _ record: Record, _ visible: [Sibling]) throws {
    let output = Output.standard
    let view = RecordView(bytes: bytes)
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("key", data: key)
      if !keysOnly { view.write(record, visible: visible, to: &writer) }
      writer.endObject()
      return try output.line(writer)
    }
    try output.line(bytes.text(key) + (keysOnly ? "" : "\t" + view.line(record)))
  }
}
