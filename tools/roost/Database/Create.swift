import ArgumentParser
import Roost
import RoostCluster
import RoostNetwork

/// `roost create`: makes a database of one or several stores.
struct Create: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make a database of one or several directories.",
    discussion: """
      Each directory becomes a store; keys are spread over them by consistent hashing.
      Any of them names the database afterwards: the others are found.

      EXAMPLES
        roost create ./db
        roost create ./disk1 ./disk2 ./disk3 --replicas 2
        roost create ./a ./b:200 ./c:100:rack2  weights (1 to 1000, 100 if not said) and zones
        roost create ./a ./b --partitions 1024  for up to 16 stores

      The number of partitions is for ever: at least 64 times the largest number of stores
      keeps their shares even.
      """)

  @Argument(help: "The directories: DIR, DIR:WEIGHT or DIR:WEIGHT:ZONE.", completion: .directory)
  var directories: [String]
  @Option(help: "How many partitions, 1 to 32768; from the number of stores otherwise.")
  var partitions: Int?
  @Option(help: "How many stores hold each key, 1 to 16.") var replicas = 1

  func run() throws {
    var options = DatabaseOptions()
    options.creation = .createIfMissing
    options.partitionCount = partitions
    options.replicas = replicas
    var paths: [String] = []
    for text in directories {
      let store = try StoreArgument(text)
      let path = try absolute(store.directory)
      if try DatabaseDirectory.isDatabase(path) {
        throw Failure(.notFound, "\(store.directory) is a store of a database already")
      }
      paths.append(path)
      options.members[path] = DatabaseOptions.Member(weight: store.weight ?? 100, zone: store.zone ?? "")
    }
    try withDatabase(DatabaseOpening.open(paths, options, .posix())) { database in
      let ring = database.ring
      try Output.standard.line(
        "database \(database.id): \(Format.count(ring.members.count, "store")), "
          + "\(Format.count(ring.partitionCount, "partition")), "
          + "\(Format.count(ring.replicas, "replica")) of each key")
    }
  }
}

/// A store on the command line: `DIR`, `DIR:WEIGHT` or `DIR:WEIGHT:ZONE`.
struct StoreArgument {
  var directory: String
  var weight: Int?
  var zone: String?

  /// - Throws: ``Failure`` where the weight is no number.
  init(_ text: String) throws {
    let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
    directory = parts[0]
    guard !directory.isEmpty else { throw Failure.usage("`\(text)` names no directory") }
    guard parts.count > 1 else { return }
    guard let number = Int(parts[1]), RingMember.weights.contains(number) else {
      throw Failure.usage("`\(text)`: a weight is a number from 1 to 1000, not `\(parts[1])`")
    }
    weight = number
    if parts.count > 2 { zone = parts[2] }
  }
}

/// `roost keyspaces`: names the keyspaces of a database.
struct Keyspaces: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Name the keyspaces of a database.",
    usage: PlaceOptions.usage("keyspaces"),
    discussion: """
      EXAMPLES
        roost keyspaces ./db
        roost keyspaces ./db --json             [{"name":"posts","policy":"siblings","replicas":1}]
        roost keyspaces --connect 127.0.0.1:7421 --cluster music --plain
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @Flag(help: "A JSON array.") var json = false
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory)
    try place.requireNoQuorum()
  }

  func run() async throws {
    if let directory = try place.split(directory) {
      let entries = try withDatabase(directory) { $0.keyspaceEntries }
      return try show(entries.map { ($0.name, $0.kind, $0.replicas, $0.quorums) })
    }
    let status = try await place.connection.withClient { try await $0.status() }
    try show(status.keyspaces.map { ($0.name, $0.kind, Self.replicas(of: $0, status), $0.quorums) })
  }

  /// Those of a cluster have its number, where they do not say so; a transactional key is at one replica.
  private static func replicas(of keyspace: NodeStatus.Keyspace, _ status: NodeStatus) -> Int {
    keyspace.kind == .transactional ? 1 : keyspace.replicas ?? status.replicas
  }

  private func show(
    _ entries: [(name: String, kind: KeyspacePolicy.Kind, replicas: Int, quorums: KeyspaceQuorums)]
  ) throws {
    guard json else {
      for entry in entries {
        try Output.standard.line(
          "\(Format.left(entry.name, 24)) \(entry.kind), "
            + "\(Format.count(entry.replicas, "replica"))\(entry.quorums)")
      }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for entry in entries {
      writer.beginObject()
      writer.member("name", entry.name)
      writer.member("policy", "\(entry.kind)")
      writer.member("replicas", entry.replicas)
      if let read = entry.quorums.read { writer.member("readQuorum", read) }
      if let write = entry.quorums.write { writer.member("writeQuorum", write) }
      writer.endObject()
    }
    writer.endArray()
    try Output.standard.line(writer)
  }
}
