import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

/// `roost put`: stores one value.
struct Put: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Store a value under a key.",
    usage: PlaceOptions.usage("put", "<key> <value>"),
    discussion: """
      Creates the store and the tree where they are missing.

      EXAMPLES
        roost put ./db u:1 Ada
        roost put ./db photo - < cat.jpg        the value is what comes in
        roost put ./db 'two\\nlines' '\\xff\\x00'  escaped bytes
        roost put ./db --hex ff00 0102
        roost put ./db --sync u:1 Ada           returns once it is on the disk
        roost put ./db -- -key -value           what begins with a dash

      In a database a value stands beside what is there, unless it replaces what was read:
        roost put ./disk1 bio merged --context $(roost get ./disk1 bio --show-context)
        roost put ./disk1 session x --ttl 3600
      In a transactional keyspace it is a transaction of one key, and replaces what is there.

      Of a cluster it asks a node, and keyspaces are made before:
        roost put --connect 127.0.0.1:7421 --cluster music --plain u:1 Ada

      \(BytesOptions.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String
  @Argument(help: "The key, 1 to 65,535 bytes.") var key: String?
  @Argument(help: "The value; - reads it from standard input, as it is.") var value: String?
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @Option(help: "Of a database: replace what the read with this context saw.") var context: String?
  @Flag(help: "Of a database: replace what is there now.") var replace = false
  @Option(help: "Of a database: seconds after which the value counts as deleted.") var ttl: Double?
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  private func words() throws -> (directory: String?, words: [String]) {
    try place.split([directory] + [key, value].compactMap { $0 }, "key", "value")
  }

  func run() async throws {
    let (directory, words) = try words()
    let key: [UInt8] = try bytes.bytes(words[0], "key")
    // Before the store is created.
    if key.isEmpty { throw Failure.usage("a key must have at least one byte") }
    let value: [UInt8] = words[1] == "-" ? try Input(nil).readAll() : try bytes.bytes(words[1], "value")
    guard let directory else { return try await putRemote(key, value) }
    if try DatabaseDirectory.isDatabase(directory) {
      return try await withOpenDatabase([directory]) { database in
        if database.isTransactional(keyspace) { return try await putVersion(key, value, database) }
        try putRecord(key, value, database.core)
      }
    }
    if context != nil || replace || ttl != nil { try DatabaseDirectory.require(directory) }
    try withStore(directory, creates: true) { store in
      try store.tree(tree.tree).put(key, value, sync ? .synced : .applied)
    }
  }

  func validate() throws {
    if context != nil && replace { throw ValidationError("--context and --replace exclude each other.") }
    if let ttl, !(ttl >= 0.001 && ttl <= 1e11) {
      throw ValidationError("--ttl is a number of seconds, from 0.001.")
    }
    _ = try words()
  }

  private func putRemote(_ key: [UInt8], _ value: [UInt8]) async throws {
    try tree.requireNone()
    let given = try context.map(ContextText.context)
    let timeToLive = ttl.map { UInt64($0 * 1_000) }
    var request = place.request(
      .put(value, timeToLiveMilliseconds: timeToLive), key, in: keyspace, sync: sync)
    try await place.withKeys { client in
      do throws(DatabaseError) {
        request.context =
          replace ? try await client.key(place.request(.get, key, in: keyspace)).context : given
        _ = try await client.key(request)
      } catch {
        try place.requireTransactional(error)
        try requirePlain()
        try await client.cluster.put(key, value, in: keyspace.keyspace, sync ? .synced : .applied)
      }
    }
  }

  /// Fails where the write is to be what those of transactional keyspaces are not.
  private func requirePlain() throws {
    if context != nil || replace || ttl != nil {
      throw Failure.usage("a transactional keyspace has no contexts and no times to live")
    }
  }

  private func putVersion(_ key: [UInt8], _ value: [UInt8], _ database: Database) async throws {
    try requirePlain()
    try await database.keyspace(keyspace.keyspace).put(key, value, sync ? .synced : .applied)
  }

  private func putRecord(_ key: [UInt8], _ value: [UInt8], _ database: DatabaseCore) throws {
    let given = try context.map(ContextText.context)
    let keyspace = try database.madeKeyspace(self.keyspace)
    try key.withKeyBytes { key in
      var seen = given
      if replace { seen = keyspace.context(key, try keyspace.record(key)) }
      _ = try keyspace.put(
        key, value, context: seen, timeToLive: ttl.map { .milliseconds(Int64($0 * 1_000)) })
      if sync { try keyspace.sync(key) }
    }
  }
}
