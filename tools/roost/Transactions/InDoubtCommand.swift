import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostTransactions

/// `roost indoubt`: lists, and decides by hand, transactions that a store cannot decide.
struct InDoubtCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "indoubt",
    abstract: "List the transactions that are prepared and undecided, and whom they wait for.",
    usage: """
      roost indoubt <directories> ... [<options>]
             roost indoubt --connect <host:port> --cluster <name> [--json]
      """,
    discussion: """
      A transaction is in doubt where a store has promised to commit it and has not heard what
      became of it. It keeps its locks until its coordinator, or another store that knows, is back.

      EXAMPLES
        roost indoubt ./a
        roost indoubt ./a --json
        roost indoubt ./a --abort ID            where its coordinator will never come back
        roost indoubt ./a --commit ID@TIME      with the commit time another store has
        roost indoubt ./a --decided             what was decided by hand so far
        roost indoubt --connect 127.0.0.1:7421 --cluster music --plain    of that node's own store

      Deciding by hand is dangerous: where a store decided otherwise, the transaction is done in
      part for ever. The decision is kept in the store.
      """)

  @Argument(
    help: "The stores' directories, or one of them; left out with --connect.", completion: .directory)
  var directories: [String] = []
  @Option(help: "Abort this transaction wherever it is in doubt.") var abort: String?
  @Option(help: "Commit this transaction, ID@TIME, wherever it is in doubt.") var commit: String?
  @Flag(help: "List what was decided by hand, in place of what is in doubt.") var decided = false
  @Flag(help: "Open although stores are missing.") var partial = false
  @Flag(help: "A JSON array.") var json = false

  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    try place.requireNoQuorum()
    try place.requireNoSession()
    guard place.isRemote else {
      if directories.isEmpty { throw ValidationError("Missing expected argument '<directories> ...'") }
      return
    }
    _ = try place.split(directories)
    if abort != nil || commit != nil || decided || partial {
      throw ValidationError("With --connect what is in doubt is listed only: decide at the store itself.")
    }
  }

  func run() async throws {
    if place.isRemote {
      return try list(
        try await place.connection.withClient { try await ClusterClient($0).inDoubt() })
    }
    try await withOpenDatabase(directories) { $0.allowsMissingStores = partial } _: { database in
      if let abort { return try await decide(try id(abort), nil, database) }
      if let commit {
        let parts = commit.split(separator: "@", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, let time = UInt64(parts[1], radix: 16) else {
          throw Failure.usage("`\(commit)` is not ID@TIME, with the time in hexadecimal digits")
        }
        return try await decide(try id(parts[0]), Timestamp(rawValue: time), database)
      }
      if decided { return try list(try await database.forcedOutcomes()) }
      try list(try await database.inDoubt())
    }
  }

  private func id(_ text: String) throws -> TransactionID {
    guard let id = TransactionID(text) else {
      throw Failure.usage("`\(text)` is no transaction's id: two times sixteen hexadecimal digits and a dash")
    }
    return id
  }

  private func decide(_ id: TransactionID, _ timestamp: Timestamp?, _ database: Database) async throws {
    let count = try await database.forceOutcome(of: id, committedAt: timestamp)
    guard count > 0 else { throw Failure(.notFound, "transaction \(id) is not in doubt at any open store") }
    try Output.standard.line(
      "\(timestamp == nil ? "aborted" : "committed") by hand at \(Format.count(count, "store"))")
  }

  private func list(_ outcomes: [ForcedOutcome]) throws {
    guard json else {
      if outcomes.isEmpty { return try Output.standard.line("nothing was decided by hand") }
      for outcome in outcomes {
        try Output.standard.line(
          "\(outcome.id)  "
            + (outcome.committedAt.map { "committed at \($0)" } ?? "aborted")
            + "  in \(outcome.store)  decided \(outcome.decided)")
      }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for outcome in outcomes {
      writer.beginObject()
      writer.member("id", "\(outcome.id)")
      writer.member("store", outcome.store)
      writer.member("outcome", outcome.committedAt == nil ? "aborted" : "committed")
      if let time = outcome.committedAt { writer.member("committed_at", time.rawValue) }
      writer.member("decided", outcome.decided.rawValue)
      writer.endObject()
    }
    writer.endArray()
    try Output.standard.line(writer)
  }

  private func list(_ doubts: [InDoubtTransaction]) throws {
    guard json else {
      if doubts.isEmpty { return try Output.standard.line("nothing is in doubt") }
      for doubt in doubts {
        try Output.standard.line(
          "\(doubt.id)  since \(doubt.since)  in \(doubt.store)  waits for "
            + (doubt.waitsFor.isEmpty ? "nobody yet" : doubt.waitsFor.joined(separator: ", ")))
      }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for doubt in doubts {
      writer.beginObject()
      writer.member("id", "\(doubt.id)")
      writer.member("store", doubt.store)
      writer.member("since", doubt.since.rawValue)
      writer.name("waits_for")
      writer.beginArray()
      for name in doubt.waitsFor { writer.value(name) }
      writer.endArray()
      writer.endObject()
    }
    writer.endArray()
    try Output.standard.line(writer)
  }
}
