import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

/// `roost get`: shows one value.
struct Get: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the value of a key.",
    usage: PlaceOptions.usage("get", "<key>"),
    discussion: """
      An absent key shows nothing on standard output and ends with code 1.

      EXAMPLES
        roost get ./db u:1
        roost get ./db photo --raw > cat.jpg    the bytes, untouched
        roost get ./db u:1 --json               {"key":"u:1","value":"Ada"}

      In a database it shows every sibling with its dot, typed values, and the context:
        roost get ./disk1 likes:42              counter 2    dots …    context {…}
        roost get ./disk1 bio --show-context    to hand back with `roost put --context`
      In a transactional keyspace it shows the value that was committed last.

      Of a cluster it asks a node:
        roost get --connect 127.0.0.1:7421 --cluster music --plain likes:42
      With --session FILE it shows what commands with that file wrote and read before, or fails:
        roost get --connect 127.0.0.1:7423 --cluster music --plain --session ./ada likes:42

      \(BytesOptions.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String
  @Argument(help: "The key.") var key: String?
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Write the value as it is, without a newline.") var raw = false
  @Flag(help: "Write a JSON object with key and value.") var json = false
  @Flag(help: "Of a database: only the context of the read, for --context.") var showContext = false
  @Flag(help: "Of a database: all digits of replicas.") var long = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    if raw && json { throw ValidationError("--raw and --json exclude each other.") }
    _ = try words()
  }

  private func words() throws -> (directory: String?, words: [String]) {
    try place.split([directory] + (key.map { [$0] } ?? []), "key")
  }

  func run() async throws {
    let (directory, words) = try words()
    let key: [UInt8] = try bytes.bytes(words[0], "key")
    guard let directory else { return try await showRemote(key) }
    if try DatabaseDirectory.isDatabase(directory) {
      return try await withOpenDatabase([directory]) { database in
        if database.isTransactional(keyspace) { return try await showVersion(key, database) }
        try showRecord(key, database.core)
      }
    }
    if showContext { try DatabaseDirectory.require(directory) }
    try show(key, try withStore(directory) { try $0.requireTree(tree.tree).get(key) })
  }

  private func showRemote(_ key: [UInt8]) async throws {
    try tree.requireNone()
    try await place.withKeys { client in
      let answer: KeyAnswer
      do throws(DatabaseError) {
        answer = try await client.key(place.request(.get, key, in: keyspace))
      } catch {
        try place.requireTransactional(error)
        if showContext { throw Failure.usage("a transactional keyspace has no contexts") }
        return try show(key, try await client.cluster.snapshot().get(key, in: keyspace.keyspace))
      }
      // Only --raw and --json tell values that count from those that do not.
      let visible = raw || json ? try await client.visible(answer.record, in: keyspace.keyspace) : []
      try show(key, answer.record, visible, answer.context)
    }
  }

  private func showVersion(_ key: [UInt8], _ database: Database) async throws {
    if showContext { throw Failure.usage("a transactional keyspace has no contexts") }
    try show(key, try await database.keyspace(keyspace.keyspace).get(key).value)
  }

  private func show(_ key: [UInt8], _ value: [UInt8]?) throws {
    guard let value else { throw Failure(.absent, "there is no key `\(bytes.text(key))`") }
    let output = Output.standard
    if raw {
      output.buffer.append(contentsOf: value)
    } else if json {
      try unsafe JSONLinesWriter(output: output).write(key: key.span.bytes, value: value.span.bytes)
    } else {
      try output.line(bytes.text(value))
    }
  }

  private func showRecord(_ key: [UInt8], _ database: DatabaseCore) throws {
    let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
    let (record, visible, context) = try key.withKeyBytes { key in
      let record = try keyspace.record(key)
      return (record, keyspace.visible(record), keyspace.context(key, record))
    }
    try show(key, record, visible, context)
  }

  private func show(
    _ key: [UInt8], _ record: Record?, _ visible: [Sibling], _ context: CausalContext
  ) throws {
    let output = Output.standard
    if showContext { return try output.line(ContextText.text(context)) }
    guard let record, !record.isTombstone else {
      throw Failure(.absent, "there is no key `\(bytes.text(key))`")
    }
    if raw {
      guard visible.count == 1 else {
        throw Failure.usage("--raw is for a key of one value; `\(bytes.text(key))` has \(visible.count)")
      }
      output.buffer.append(contentsOf: visible[0].value)
    } else if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("key", data: key)
      RecordView(bytes: bytes).write(record, visible: visible, to: &writer)
      writer.endObject()
      try output.line(writer)
    } else {
      try output.line(RecordView(bytes: bytes, long: long).line(record))
    }
  }
}

/// A context as text: the hexadecimal digits of its bytes.
enum ContextText {
  static func text(_ context: CausalContext) -> String {
    var payload: [UInt8] = []
    context.encode(into: &payload)
    return Hexadecimal.text(SealedToken.seal(.context, payload))
  }

  /// - Throws: ``Failure``, `.damagedToken`.
  static func context(_ text: String) throws -> CausalContext {
    guard let bytes = Hexadecimal.bytes(text.utf8) else {
      throw Failure.usage("a context is an even number of hexadecimal digits")
    }
    let payload = try SealedToken.open(.context, bytes)
    do throws(CausalityError) {
      return try unsafe CausalContext(decoding: payload.span.bytes)
    } catch { throw DatabaseError(.damagedToken, "\(error)") }
  }
}
