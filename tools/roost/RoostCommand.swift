import ArgumentParser
import Glibc
import RoostCluster
import RoostEnvironment
import RoostStorage

/// The command-line tool: one subcommand a file. Errors are one line on standard error;
/// ``ExitStatus`` says how it ends.
@main
struct RoostCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "roost",
    abstract:
      "Reads, writes and explains Roost stores: directories of durable, ordered keys and values.",
    discussion: """
      EXAMPLES
        roost put ./db u:1 Ada              creates the store if it is missing
        roost get ./db u:1
        roost scan ./db --prefix u: --json
        roost create ./disk1 ./disk2        a database over two stores
        roost incr ./disk1 likes:42         a counter that merges
        roost serve ./node1 …               a node of a cluster, until it is told to end
        roost export ./db --format jsonl | gzip > db.jsonl.gz
        roost stats ./db                    levels as a picture
        roost dump ./db                     what every file is
        roost tour                          see it work

      \(BytesOptions.help)

      \(ExitStatus.table)
      """,
    version: "roost 0.1.0",
    groupedSubcommands: [
      CommandGroup(
        name: "Data", subcommands: [Put.self, Get.self, Delete.self, Scan.self, Shell.self]),
      CommandGroup(
        name: "Databases: several stores, siblings, counters, sets",
        subcommands: [
          Create.self, MakeKeyspace.self, Keyspaces.self, Increment.self, SetAdd.self, SetRemove.self,
          SetMembers.self, Flagged.self, Assign.self, ChangesCommand.self, Exchange.self,
        ]),
      CommandGroup(
        name: "Transactions", subcommands: [TransactionCommand.self, InDoubtCommand.self, Bank.self]),
      CommandGroup(
        name: "Whole trees", subcommands: [Import.self, Export.self, Trees.self, Drop.self]),
      CommandGroup(
        name: "Looking after a store",
        subcommands: [Stats.self, Verify.self, Compact.self, Dump.self]),
      CommandGroup(
        name: "Several stores", subcommands: [RingCommand.self, RebalanceCommand.self]),
      CommandGroup(
        name: "Clusters: a database over several processes",
        subcommands: [Serve.self, ClusterCommand.self]),
      CommandGroup(name: "Trying it out", subcommands: [Fill.self, Tour.self, Simulate.self]),
    ])

  static func main() async {
    // A reader that goes away is an error of the write, so that the store is closed first.
    signal(SIGPIPE, SIG_IGN)
    do {
      try checkArguments()
      var command = try parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
      try Output.standard.flush()
    } catch {
      end(error)
    }
  }

  /// Arguments that are not UTF-8 would reach us changed.
  private static func checkArguments() throws {
    for index in 0..<Int(CommandLine.argc) {
      guard let argument = unsafe CommandLine.unsafeArgv[index] else { continue }
      if unsafe String(validatingCString: argument) == nil {
        throw Failure.usage(
          "argument \(index) is not valid UTF-8: write other bytes as \\xHH, or use --hex")
      }
    }
  }

  private static func end(_ error: any Error) -> Never {
    switch error {
    case is BrokenPipe:
      signal(SIGPIPE, SIG_DFL)
      raise(SIGPIPE)
      Glibc.exit(128 + SIGPIPE)
    case let failure as Failure: complain(failure)
    case let error as StoreError: complain(Failure(error))
    case let error as DatabaseError: complain(Failure(error))
    case let error as TransportError: complain(Failure(error))
    case let error as FileSystemError: complain(Failure(error))
    case let error as RingError: complain(Failure(error))
    case let status as ExitStatus:
      do { try Output.standard.flush() } catch { end(error) }
      Glibc.exit(status.rawValue)
    default: exit(withError: error)
    }
  }

  private static func complain(_ failure: Failure) -> Never {
    // What was found before the failure belongs before it.
    try? Output.standard.flush()
    Complaint.line(failure.message)
    Glibc.exit(failure.status.rawValue)
  }
}
