import ArgumentParser
import Roost
import RoostCluster

/// `roost make-keyspace`: makes a keyspace of a database.
struct MakeKeyspace: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make-keyspace",
    abstract: "Make a keyspace of a database, or find that it is there.",
    discussion: """
      A first `roost put` makes one whose concurrent writes are all kept, on as many stores as the
      database has replicas. A keyspace that is there with another policy is an error.

      EXAMPLES
        roost make-keyspace ./db posts
        roost make-keyspace ./db sessions --policy lww
        roost make-keyspace ./disk1 caches --replicas 1   on fewer stores than the database's others

      Of a cluster: `roost cluster make-keyspace`.
      """)

  @Argument(help: "A directory of the database.", completion: .directory) var directory: String
  @Argument(help: "The keyspace's name.") var name: String
  @Option(
    help: "What writes at once become: all kept as siblings, the last by the clock, or one after the other.")
  var policy = ClusterMakeKeyspace.Policy.siblings
  @Option(help: "How many stores hold each key, up to the database's number; that number where left out.")
  var replicas: Int?

  func validate() throws {
    if let replicas, !(1...16).contains(replicas) {
      throw ValidationError("--replicas is \(replicas), must be 1 to 16")
    }
    if policy == .transactional, replicas != nil {
      throw ValidationError("a transactional keyspace has each key on one store: no --replicas")
    }
  }

  func run() throws {
    let made: KeyspacePolicy =
      switch policy {
      case .siblings: .eventual(replicas: replicas)
      case .lww: .eventual(.lastWriterWins, replicas: replicas)
      case .transactional: .transactional
      }
    try withDatabase(directory) { _ = try $0.keyspace(name, made) }
  }
}
