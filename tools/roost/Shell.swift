import ArgumentParser
import Roost
import RoostCluster
import RoostNetwork
import RoostStorage

/// `roost shell`: a prompt on a store, or on a cluster.
struct Shell: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Work on a store at a prompt, or by commands from a pipe.",
    usage: PlaceOptions.usage("shell"),
    discussion: """
      The store is opened once. An error is shown and does not end the shell. `help` at
      the prompt lists the commands.

      EXAMPLES
        roost shell ./db
        printf 'put a 1\\nput b 2\\nscan\\n' | roost shell ./db --create

      Of a cluster it asks a node, over one connection; a batch is one transaction:
        roost shell --connect 127.0.0.1:7421 --cluster music --plain -k posts
        printf 'begin\\nput A 1\\nput B 2\\ncommit\\n' | roost shell --connect … -k accounts

      \(BytesOptions.help)
      At the prompt, "double quotes" hold words with spaces together; \\x22 is a quote.
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @OptionGroup var tree: TreeOption
  @Option(
    name: [.customLong("keyspace"), .customShort("k")],
    help: "With --connect: the keyspace to begin with; `default` otherwise.")
  var keyspace: String?
  @Flag(help: "Create the store where it is missing.") var create = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory)
    try place.requireNoSession()
    if place.isRemote, create {
      throw ValidationError("--create is for stores: `roost cluster make-keyspace` makes keyspaces.")
    }
    if !place.isRemote, keyspace != nil {
      throw ValidationError("--keyspace needs --connect: a store has trees, which --tree names.")
    }
  }

  func run() async throws {
    guard let directory = try place.split(directory) else { return try await runInCluster() }
    try DatabaseDirectory.requirePlain(
      directory,
      instead: "use the commands themselves: `roost get`, `put`, `scan`, `incr`, `sadd` (`roost --help`)")
    let lines = try ShellLines()
    try withStore(directory, creates: create) { store in
      let session = ShellSession(store, tree: tree.tree, bytes)
      try lines.begin()
      while !session.isDone, let line = try lines.next(session.prompt) {
        do { try session.run(line) } catch { try lines.failed(error) }
      }
      try lines.end(isDone: session.isDone, pending: session.pendingCount)
    }
  }

  private func runInCluster() async throws {
    try tree.requireNone()
    let lines = try ShellLines()
    try await place.withKeys { keys in
      let session = RemoteShellSession(keys, place, keyspace: keyspace ?? "default", bytes)
      // That no node answers, or that one refuses, is better told before the first line.
      try await session.check()
      try lines.begin()
      while !session.isDone, let line = try lines.next(session.prompt) {
        do { try await session.run(line) } catch { try lines.failed(error) }
      }
      try lines.end(isDone: session.isDone, pending: session.pendingCount)
    }
  }
}

/// The lines that a shell reads, from a terminal or a pipe, and what it says about them. Used by one thread
/// at a time.
struct ShellLines {
  private let input: Input
  private let output = Output.standard

  init() throws { input = try Input(nil) }

  func begin() throws {
    if Terminal.isInput { try output.line("roost shell; `help` lists the commands, `quit` ends it") }
  }

  /// The next line; `nil` at the end.
  func next(_ prompt: String) throws -> [UInt8]? {
    if Terminal.isInput { try output.write(prompt) }
    try output.flush()
    return try input.readLine()
  }

  /// Tells what was wrong with a line.
  ///
  /// - Throws: ``BrokenPipe`` where nobody reads what is shown: there is no going on then.
  func failed(_ error: any Error) throws {
    if let error = error as? BrokenPipe { throw error }
    try output.flush()
    switch error {
    case let failure as Failure: Complaint.line(failure.message)
    case let error as StoreError: Complaint.line(Failure.line(error))
    case let error as DatabaseError: Complaint.line(Failure(error).message)
    default: Complaint.line("\(error)")
    }
  }

  /// - Parameters:
  ///   - isDone: whether it was told to end.
  ///   - pending: operations of a batch that was not closed.
  func end(isDone: Bool, pending: Int) throws {
    if Terminal.isInput && !isDone { try output.line() }
    if pending > 0 {
      Complaint.line("\(Format.count(pending, "operation")) of an open batch were not written")
    }
    try output.flush()
  }
}
