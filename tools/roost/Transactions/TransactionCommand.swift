import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostTransactions

/// `roost txn`: runs a small script as one transaction.
struct TransactionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "txn",
    abstract: "Run operations as one transaction: all of them, or none.",
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

      Ends with 0 where it committed, 1 where it was aborted, 75 where nobody knows.
      """)

  @OptionGroup var directory: DirectoryArgument
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

  func run() async throws {
    if let outcome { return try await tell(outcome) }
    let lines = try ScriptLine.read(try Input(script), bytes)
    let transport: any Transport = killWhenDecided ? KillingTransport() : LocalTransport()
    try await withOpenDatabase([directory.directory], creates: true, transport: transport) { database in
      let script = TransactionScript(
        database, try await database.transactionalKeyspace(keyspace.keyspace), lines, bytes)
      do {
        let (id, shown) = try await database.transaction(sync ? .synced : .applied) { txn in
          (txn.id, try await script.run(txn))
        }
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
        try report("unknown", nil, error.message)
        throw ExitStatus.busy
      }
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
    try Output.standard.line(String(decoding: writer.bytes, as: UTF8.self))
  }

  private func tell(_ text: String) async throws {
    guard let id = TransactionID(text) else {
      throw Failure.usage("`\(text)` is no transaction's id: two times sixteen hexadecimal digits and a dash")
    }
    try await withOpenDatabase([directory.directory]) { database in
      switch try await database.outcome(of: id) {
      case .committed(let timestamp): try report("committed", id, "at \(timestamp)")
      case .aborted: try report("aborted", id)
      case .unknown, nil:
        try report("undecided", id)
        throw ExitStatus.busy
      }
    }
  }
}
