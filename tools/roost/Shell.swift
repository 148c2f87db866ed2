import ArgumentParser
import RoostStorage
import SystemPackage

/// `roost shell`: a prompt on a store.
struct Shell: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Work on a store at a prompt, or by commands from a pipe.",
    discussion: """
      The store is opened once. An error is shown and does not end the shell. `help` at
      the prompt lists the commands.

      EXAMPLES
        roost shell ./db
        printf 'put a 1\\nput b 2\\nscan\\n' | roost shell ./db --create

      \(BytesOptions.help)
      At the prompt, "double quotes" hold words with spaces together; \\x22 is a quote.
      """)

  @OptionGroup var directory: DirectoryArgument
  @OptionGroup var tree: TreeOption
  @Flag(help: "Create the store where it is missing.") var create = false
  @OptionGroup var bytes: BytesOptions

  func run() throws {
    try DatabaseDirectory.requirePlain(
      directory.directory,
      instead: "use the commands themselves: `roost get`, `put`, `scan`, `incr`, `sadd` (`roost --help`)")
    let input = try Input(nil)
    let output = Output.standard
    try withStore(directory.directory, creates: create) { store in
      let session = ShellSession(store, tree: tree.tree, bytes)
      if Terminal.isInput {
        try output.line("roost shell; `help` lists the commands, `quit` ends it")
      }
      while !session.isDone {
        if Terminal.isInput { try output.write(session.prompt) }
        try output.flush()
        guard let line = try input.readLine() else { break }
        do { try session.run(line) } catch let error as BrokenPipe { throw error } catch {
          try output.flush()
          Self.complain(error)
        }
      }
      if Terminal.isInput && !session.isDone { try output.line() }
      if session.pendingCount > 0 {
        Complaint.line(
          "\(Format.count(session.pendingCount, "operation")) of an open batch were not written")
      }
      try output.flush()
    }
  }

  private static func complain(_ error: any Error) {
    switch error {
    case let failure as Failure: Complaint.line(failure.message)
    case let error as StoreError: Complaint.line(Failure.line(error))
    default: Complaint.line("\(error)")
    }
  }
}
