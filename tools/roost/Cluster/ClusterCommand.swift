import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster`: looks after a cluster, through any of its nodes.
struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster",
    abstract: "Look after a cluster, through any of its nodes.",
    discussion: """
      `roost serve` runs a node. Keys are read and written with `roost get`, `put`, `delete`,
      `scan`, `incr`, `sadd`, `srem`, `smembers`, `flag` and `assign`, and `keyspaces` and
      `changes` show what there is, with --connect in place of a directory.

      EXAMPLES
        roost cluster status --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster make-keyspace posts --connect 127.0.0.1:7421 --cluster music --plain
        roost put --connect 127.0.0.1:7422 --cluster music --plain -k posts p:1 Hello
        roost cluster repair --connect 127.0.0.1:7423 --cluster music --plain
      """,
    subcommands: [ClusterStatus.self, ClusterMakeKeyspace.self, ClusterRepair.self])
}

/// `roost cluster make-keyspace`: makes a keyspace at all nodes.
struct ClusterMakeKeyspace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make-keyspace",
    abstract: "Make a keyspace at all nodes, or find that it is there.",
    discussion: """
      The other nodes learn of it from the cluster's directory. A keyspace that is there with
      another policy is an error.

      EXAMPLES
        roost cluster make-keyspace posts --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster make-keyspace sessions --policy lww --connect …
      """)

  /// What writes at once to one key become.
  enum Policy: String, ExpressibleByArgument, CaseIterable {
    case siblings, lww

    /// Also by the names that `roost keyspaces` shows.
    init?(argument: String) {
      switch argument {
      case "siblings", "keep": self = .siblings
      case "lww", "lastWriterWins": self = .lww
      default: return nil
      }
    }

    var kind: KeyspacePolicy.Kind { self == .lww ? .lastWriterWins : .keep }
  }

  @Argument(help: "The keyspace's name.") var name: String
  @Option(help: "What writes at once become: all are kept as siblings, or the last by the clock counts.")
  var policy = Policy.siblings
  @OptionGroup var connection: ConnectOptions

  func run() async throws {
    let request = KeyspaceRequest(name: name, kind: policy.kind)
    try await connection.withClient { try await $0.makeKeyspace(request) }
  }
}

/// `roost cluster repair`: has a node compare what it holds with the other replicas.
struct ClusterRepair: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Have a node compare what it holds with the other replicas, and mend what differs.",
    discussion: """
      The replicas compare hash trees, so that little but what differs is sent. A large node takes
      its time all the same, since it reads all it has: give it with --timeout. Repeating it does no
      harm. Nodes do it by themselves, too, once an hour.

      It ends with 69 where partitions could not be compared with all their replicas.

      EXAMPLES
        roost cluster repair --connect 127.0.0.1:7421 --cluster music --plain --timeout 600
        roost cluster repair --connect 127.0.0.1:7421 --cluster music --plain --json
      """)

  @OptionGroup var connection: ConnectOptions
  @Flag(help: "A JSON object.") var json = false

  func run() async throws {
    let report = try await connection.withClient { try await $0.repair() }
    if json {
      try Output.standard.line(StatusText.json(report))
    } else {
      for line in StatusText.lines(report) { try Output.standard.line(line) }
    }
    if report.notCompared > 0 { throw Failure(.unavailable, StatusText.notCompared(report)) }
  }
}
