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
      `scan`, `incr`, `sadd`, `srem`, `smembers`, `flag` and `assign`, many of them with `import`,
      `export`, `fill` and `shell`, and in transactions with `txn` and `bank`; `keyspaces`, `changes`
      and `indoubt` show what there is: all with --connect in place of a directory.

      EXAMPLES
        roost cluster status --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster make-keyspace posts --connect 127.0.0.1:7421 --cluster music --plain
        roost put --connect 127.0.0.1:7422 --cluster music --plain -k posts p:1 Hello
        roost cluster repair --connect 127.0.0.1:7423 --cluster music --plain
        roost cluster join --connect 127.0.0.1:7421 --cluster music --plain     who asks to join
        roost cluster leave 127.0.0.1:7423 --connect 127.0.0.1:7421 --cluster music --plain
      """,
    subcommands: [
      ClusterStatus.self, ClusterMakeKeyspace.self, ClusterRepair.self, ClusterRing.self, ClusterJoin.self,
      ClusterLeave.self, ClusterWeigh.self, ClusterReplace.self, ClusterTransfer.self,
    ])
}

/// `roost cluster make-keyspace`: makes a keyspace at all nodes.
struct ClusterMakeKeyspace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make-keyspace",
    abstract: "Make a keyspace at all nodes, or find that it is there.",
    discussion: """
      The other nodes learn of it from the cluster's directory. A keyspace that is there with
      another policy is an error.

      Once a cluster has a transactional keyspace, written or not, and for good, a dead node that has
      held partitions can be neither replaced nor removed as dead, whatever it held: its disk has to
      come back. Make none where you do not need it.

      EXAMPLES
        roost cluster make-keyspace posts --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster make-keyspace sessions --policy lww --connect …
        roost cluster make-keyspace accounts --policy transactional --connect …
        roost cluster make-keyspace carts --read 1 --write 3 --connect …
        roost cluster make-keyspace caches --replicas 2 --connect …    fewer than the cluster has
      """)

  /// What writes at once to one key become, by the names that `roost keyspaces` shows.
  enum Policy: String, ExpressibleByArgument, CaseIterable {
    case siblings, lww, transactional

    var kind: KeyspacePolicy.Kind {
      switch self {
      case .siblings: .keep
      case .lww: .lastWriterWins
      case .transactional: .transactional
      }
    }
  }

  @Argument(help: "The keyspace's name.") var name: String
  @Option(
    help: "What writes at once become: all kept as siblings, the last by the clock, or one after the other.")
  var policy = Policy.siblings
  @Option(help: "How many replicas answer a read that does not say; a majority where left out.")
  var read: Int?
  @Option(help: "How many replicas have a write that does not say, when it is acknowledged; likewise.")
  var write: Int?
  @Option(help: "How many nodes hold each key, up to the cluster's number; that number where left out.")
  var replicas: Int?
  @OptionGroup var connection: ConnectOptions

  func validate() throws {
    for (name, count) in [("--read", read), ("--write", write), ("--replicas", replicas)] {
      guard let count, !(1...16).contains(count) else { continue }
      throw ValidationError("\(name) is \(count), must be 1 to 16")
    }
  }

  func run() async throws {
    let quorums = KeyspaceQuorums(read: read, write: write)
    let request = KeyspaceRequest(name: name, kind: policy.kind, replicas: replicas, quorums: quorums)
    try await connection.withClient { try await $0.makeKeyspace(request) }
  }
}

/// `roost cluster repair`: has a node compare what it holds with the other replicas.
struct ClusterRepair: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Have a node compare what it holds with the other replicas, and mend what differs.",
    discussion: """
      The replicas compare hash trees, so that little but what differs is sent. Of partitions that are
      equal, only the trees' leaves are read, which every write keeps. With --full all records are read,
      here and at the other replicas, and the leaves are checked by them: a large node takes its time,
      which --timeout gives. Repeating it does no harm. Nodes do it by themselves, too, once an hour, and
      in full about once a day.

      It ends with 69 where partitions could not be compared with all their replicas.

      EXAMPLES
        roost cluster repair --connect 127.0.0.1:7421 --cluster music --plain --json
        roost cluster repair --connect 127.0.0.1:7421 --cluster music --plain --full --timeout 600
      """)

  @OptionGroup var connection: ConnectOptions
  @Flag(help: "Read all records, and check the leaves that are kept by them.") var full = false
  @Flag(help: "A JSON object.") var json = false

  func run() async throws {
    let report = try await connection.withClient { try await $0.repair(isFull: full) }
    if json {
      try Output.standard.line(StatusText.json(report))
    } else {
      for line in StatusText.lines(report) { try Output.standard.line(line) }
    }
    if report.notCompared > 0 { throw Failure(.unavailable, StatusText.notCompared(report)) }
  }
}
