import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork

/// `roost changes`: the feed of a keyspace.
struct ChangesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "changes",
    abstract: "Show which keys of a keyspace changed, and what they hold now.",
    usage: PlaceOptions.usage("changes"),
    discussion: """
      Each key once, with its latest state, in the order of its partition's changes. At least
      once: after a partition has moved, its keys are told again, after a line that says so.
      The token at the end, on standard error, resumes where this stopped.

      EXAMPLES
        roost changes ./db --keyspace posts
        roost changes ./db --limit 10 --json
        roost changes ./db --since 4601…        what came after
        roost changes --connect 127.0.0.1:7421 --cluster music --plain --limit 10

      Of a cluster it shows the partitions of all nodes, each as one of its replicas has it; a token
      goes on at any node.

      \(BytesOptions.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @OptionGroup var keyspace: KeyspaceOption
  @Option(help: "The token of an earlier run.") var since: String?
  @Option(help: "At most so many changes.") var limit: Int?
  @Flag(help: "A JSON object a line; the last one is the token.") var json = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory)
    try place.requireNoQuorum()
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
  }

  func run() async throws {
    let token: ChangeToken?
    if let directory = try place.split(directory) {
      token = try withDatabase(directory, showChanges)
    } else {
      token = try await showRemoteChanges()
    }
    try Output.standard.flush()
    guard let token else { return }
    let text = Hexadecimal.text(token.bytes)
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("token", text)
      writer.endObject()
      try Output.standard.line(writer)
    } else {
      Complaint.line("to go on after this: --since \(text)")
    }
  }

  /// - Returns: where to go on.
  private func showChanges(of database: DatabaseCore) throws -> ChangeToken? {
    var token = try since.map(Self.token)
    let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
    var left = limit ?? .max
    while left > 0 {
      let page = try keyspace.changes(since: token, limit: ChangePageLimit(changes: min(left, 256)))
      for change in page.changes { try show(change.event) { keyspace.visible($0) } }
      left -= page.changes.count
      token = page.token
      if page.isAtEnd { break }
    }
    return token
  }

  private func showRemoteChanges() async throws -> ChangeToken? {
    var request = ChangesRequest(in: keyspace.keyspace, limit: 256, since: try since.map(Self.token))
    var left = limit ?? .max
    return try await place.connection.withClient { client in
      while left > 0 {
        request.limit = min(left, 256)
        let page = try await client.changes(request)
        for event in page.events { try show(event) { page.policy.visible($0) } }
        left -= page.events.count
        request.token = page.token
        if page.isAtEnd { break }
      }
      return request.token
    }
  }

  private static func token(_ text: String) throws -> ChangeToken {
    guard let bytes = Hexadecimal.bytes(text.utf8) else {
      throw Failure.usage("a token is an even number of hexadecimal digits")
    }
    return try ChangeToken(bytes: bytes)
  }

  private func show(_ event: FeedChange.Event, _ visible: (Record) -> [Sibling]) throws {
    let view = RecordView(bytes: bytes)
    let output = Output.standard
    var writer = JSONWriter()
    writer.beginObject()
    switch event {
    case .resync(let partition):
      writer.member("resync", partition)
      if !json { try output.line("partition \(partition) is told from its beginning") }
    case .changed(let key, let record):
      writer.member("key", data: key)
      if json {
        view.write(record, visible: visible(record), to: &writer)
      } else {
        try output.line("\(bytes.text(key))\t\(view.line(record))")
      }
    }
    writer.endObject()
    if json { try output.line(writer) }
  }
}

/// `roost exchange`: two databases learn what the other has.
struct Exchange: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Let two databases exchange a keyspace's states: afterwards both hold the same.",
    usage: "roost exchange <first> <second> [--keyspace <keyspace>] [--json]",
    discussion: """
      What either has seen replaced is gone from both, all else stays: concurrent values as
      siblings, counters added up, sets joined. Doing it again changes nothing.

      EXAMPLES
        roost incr ./b likes:42 && roost incr ./c likes:42
        roost exchange ./b ./c
        roost get ./b likes:42                  counter 2 …, and so says ./c

      Not with a cluster, whose nodes forget what was deleted once all replicas know: an old state that
      comes in by hand would bring it back. Values go in and out with `roost import` and `export`.
      """)

  @Argument(help: "A directory of the one database.", completion: .directory) var first: String?
  @Argument(help: "A directory of the other.", completion: .directory) var second: String?
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "A JSON object.") var json = false
  // So that whoever asks a cluster for it is told why not.
  @OptionGroup(visibility: .hidden) var place: PlaceOptions

  func validate() throws { _ = try directories() }

  private func directories() throws -> (first: String, second: String) {
    if place.isRemote {
      throw ValidationError(
        "A cluster exchanges no states: its nodes forget what was deleted, and an old state would bring it "
          + "back. Copy values with `roost export --connect … | roost import DIR`, or the other way round.")
    }
    guard let first else { throw ValidationError("Missing expected argument '<first>'") }
    guard let second else { throw ValidationError("Missing expected argument '<second>'") }
    return (first, second)
  }

  func run() throws {
    let (first, second) = try directories()
    for directory in [first, second] { try DatabaseDirectory.require(directory) }
    let learned = try withDatabase(first) { one in
      try withDatabase(second) { other in try Self.exchange(one, other, keyspace.keyspace) }
    }
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("first", learned.first)
      writer.member("second", learned.second)
      writer.endObject()
      try Output.standard.line(writer)
    } else {
      try Output.standard.line(
        "\(first) learned of \(Format.count(learned.first, "key")), \(second) of "
          + "\(Format.count(learned.second, "key"))")
    }
  }

  /// - Returns: how many keys each learned something of.
  static func exchange(
    _ one: DatabaseCore, _ other: DatabaseCore, _ keyspace: String
  ) throws -> (first: Int, second: Int) {
    let second = try send(keyspace, from: one, to: other)
    return (try send(keyspace, from: other, to: one), second)
  }

  private static func send(
    _ name: String, from source: DatabaseCore, to target: DatabaseCore
  ) throws -> Int {
    let keyspace = try source.keyspace(name, nil)
    var token: ChangeToken?
    var changed = 0
    while true {
      let page = try keyspace.export(since: token, byteLimit: 1 << 20)
      changed += try target.join(page).changed
      token = page.token
      if page.isComplete { return changed }
    }
  }
}
