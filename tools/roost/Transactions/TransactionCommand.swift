import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostTransactions

/// `roost txn`: runs a small script as one transaction.
struct TransactionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "txn",
    abstract: "Run operations as one transaction: all of them, or none.",
    usage: PlaceOptions.usage("txn", "[<script>]"),
    discussion: """
      Reads operations from a file or standard input, one a line, and commits at the end:

        get KEY              prints the value, and locks the key against writers
        get KEY for update   … and against readers too; so are keys that a line writes
        scan PREFIX          prints the entries, and locks the range
        put KEY VALUE
        add KEY NUMBER       adds to the number under the key; an absent key is 0
        delete KEY
        require KEY VALUE    ends without a trace unless the key has the value
        require KEY >= N     … or a number of at least N
        incr KEYSPACE KEY N  adds to a counter of an eventual keyspace, after the commit
        abort                ends without a trace

      Keys and values with spaces stand in double quotes. Keys are of the keyspace that
      --keyspace names, which is made if it is missing.

      EXAMPLES
        printf 'require A >= 1000\\nadd A -1000\\nadd B 1000\\n' | roost txn ./a -k accounts
        roost txn ./a transfer.txt --sync --json
        roost txn ./a --outcome ID              what became of a transaction

      In a cluster a node runs it, on a keyspace that is there (`roost cluster make-keyspace NAME
      --policy transactional`). Where the connection is lost while it commits, the outcome is unknown:
      any node tells it by the id.
        roost txn --connect 127.0.0.1:7421 --cluster music --plain -k accounts transfer.txt
        roost txn --connect 127.0.0.1:7422 --cluster music --plain --outcome ID

      Ends with 0 where it committed, 1 where it was aborted, 3 where nobody knows.
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @Argument(help: "The script; standard input where it is missing or `-`.", completion: .file())
  var script: String?
  @OptionGroup var keyspace: KeyspaceOption
  @OptionGroup var bytes: BytesOptions
  @Flag(help: "The commit survives a power loss before it is acknowledged.") var sync = false
  @Option(help: "Only tell what became of this transaction.") var outcome: String?
  @Flag(help: "A JSON object with the outcome.") var json = false
  @Flag(
    help: ArgumentHelp(
      "End by SIGKILL once it is decided, before any store is told.", visibility: .hidden))
  var killWhenDecided = false

  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory, file: script)
    try place.requireNoQuorum()
    try place.requireNoSession()
  }

  func run() async throws {
    let (directory, script) = try place.split(directory, file: script)
    if let outcome { return try await tell(outcome, directory) }
    let run = TransactionScript(try ScriptLine.read(try Input(script), bytes), bytes)
    guard let directory else { return try await runRemote(run) }
    let transport: any Transport = killWhenDecided ? KillingTransport() : LocalTransport()
    try await withOpenDatabase([directory], creates: true, transport: transport) { database in
      let keyspace = try await database.transactionalKeyspace(keyspace.keyspace)
      try await end { attempt in
        try await database.transaction(sync ? .synced : .applied) { txn in
          let local = LocalScriptTransaction(transaction: txn, keyspace: keyspace, database: database)
          attempt.id = txn.id
          return (txn.id, try await run.run(local))
        }
      }
    }
  }

  private func runRemote(_ run: TransactionScript) async throws {
    try await place.connection.withClient { client in
      let (client, keyspace) = (ClusterClient(client), keyspace.keyspace)
      try await end { attempt in
        try await client.transaction(sync ? .synced : .applied) { txn in
          attempt.id = txn.id
          let remote = RemoteScriptTransaction(transaction: txn, keyspace: keyspace)
          return (txn.id, try await run.run(remote))
        }
      }
    }
  }

  /// The last try of the transaction: of which nobody knows whether it committed. Thread-safe.
  private final class Attempt: @unchecked Sendable {
    private let lock = Lock()
    // Guarded by `lock`.
    private var begun: TransactionID?

    var id: TransactionID? {
      get { lock.withLock { begun } }
      set { lock.withLock { begun = newValue } }
    }
  }

  /// Says what became of it.
  ///
  /// - Parameter run: the whole transaction: notes its tries, and returns its id and what its reads show.
  private func end(_ run: (Attempt) async throws -> (TransactionID, [String])) async throws {
    let attempt = Attempt()
    do {
      let (id, shown) = try await run(attempt)
      for line in shown { try Output.standard.line(line) }
      try report("committed", id)
    } catch let end as TransactionScript.End {
      for line in end.shown { try Output.standard.line(line) }
      try report("aborted", end.id, end.reason)
      throw ExitStatus.absent
    } catch let error as DatabaseError where error.code == .transactionAborted {
      try report("aborted", nil, error.message)
      throw ExitStatus.absent
    } catch let error as DatabaseError where error.code == .outcomeUnknown {
      try report("unknown", attempt.id, error.message)
      throw ExitStatus.uncertain
    }
  }

  private func report(_ outcome: String, _ id: TransactionID?, _ reason: String? = nil) throws {
    guard json else {
      return try Output.standard.line(
        outcome + (id.map { " \($0)" } ?? "") + (reason.map { ": \($0)" } ?? ""))
    }
    var writer = JSONWriter()
    writer.beginObject()
    writer.member("outcome", outcome)
    if let id { writer.member("id", "\(id)") }
    if let reason { writer.member("reason", reason) }
    writer.endObject()
    try Output.standard.line(writer)
  }

  private func tell(_ text: String, _ directory: String?) async throws {
    guard let id = TransactionID(text) else {
      throw Failure.usage("`\(text)` is no transaction's id: two times sixteen hexadecimal digits and a dash")
    }
    let outcome =
      if let directory {
        try await withOpenDatabase([directory]) { try await $0.outcome(of: id) }
      } else {
        try await place.connection.withClient { try await ClusterClient($0).outcome(of: id) }
      }
    switch outcome {
    case .committed(let timestamp): try report("committed", id, "at \(timestamp)")
    case .aborted: try report("aborted", id)
    case .unknown, nil:
      try report("undecided", id)
      throw ExitStatus.uncertain
    }
  }
}
