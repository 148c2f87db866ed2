import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

/// `roost delete`: deletes keys, or a range of them.
struct Delete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Delete keys, or all keys of a range.",
    usage: PlaceOptions.usage("delete", "<keys> ..."),
    discussion: """
      Deleting what is not there is no error. All of one command is deleted together.

      EXAMPLES
        roost delete ./db u:1 u:2
        roost delete ./db --prefix u:           all keys that begin with u:
        roost delete ./db --from a --to b       from a up to, not including, b

      In a database keys are deleted one by one, values and typed states alike:
        roost delete ./disk1 bio                what is there now
        roost delete ./disk1 bio --context $(roost get ./disk1 bio --show-context)
        roost delete ./disk1 --prefix u:        each key of the range, one by one
      In a transactional keyspace each deletion is a transaction.

      Of a cluster it asks a node, key by key:
        roost delete --connect 127.0.0.1:7421 --cluster music --plain u:1 u:2
        roost delete --connect 127.0.0.1:7421 --cluster music --plain --prefix u:

      \(BytesOptions.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @Argument(help: "The keys.") var keys: [String] = []
  @OptionGroup var range: RangeOptions
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @Option(help: "Of a database: delete what the read with this context saw.") var context: String?
  @Flag(help: "Return once the deletion would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  /// Without a directory the first key stands in its place.
  private func words() throws -> (directory: String?, words: [String]) {
    try place.split((directory.map { [$0] } ?? []) + keys, takesMore: true)
  }

  func validate() throws {
    let keys = try words().words
    let hasRange = range.prefix != nil || range.from != nil || range.to != nil
    if keys.isEmpty && !hasRange {
      throw ValidationError("Name keys, or a range with --prefix, --from and --to.")
    }
    if !keys.isEmpty && hasRange { throw ValidationError("Name either keys or a range.") }
    // A missing bound would be a whole tree by a slip of the hand.
    if range.prefix == nil, hasRange, range.from == nil || range.to == nil {
      throw ValidationError(
        "A range needs both --from and --to; `roost drop` removes a whole tree.")
    }
  }

  func run() async throws {
    let (directory, words) = try words()
    let keys: [[UInt8]] = try words.map { try bytes.bytes($0, "key") }
    let range = try self.range.range(bytes)
    guard let directory else { return try await deleteRemote(keys, range) }
    if try DatabaseDirectory.isDatabase(directory) {
      return try await withOpenDatabase([directory]) { database in
        if database.isTransactional(keyspace) { return try await deleteVersions(keys, range, database) }
        try deleteRecords(keys, range, database.core)
      }
    }
    if context != nil { try DatabaseDirectory.require(directory) }
    try withStore(directory) { store in
      let tree = try store.requireTree(self.tree.tree)
      try store.write(sync ? .synced : .applied) { batch in
        for key in keys { batch.delete(key, in: tree) }
        guard keys.isEmpty else { return }
        guard let upper = range.upper, let lower = range.lower else {
          throw Failure.usage("that prefix has no end: no key is above it")
        }
        batch.deleteRange(from: lower, to: upper, in: tree)
      }
    }
  }

  private func deleteRemote(_ keys: [[UInt8]], _ range: KeyRange) async throws {
    try tree.requireNone()
    if context != nil, keys.count != 1 { throw Failure.usage("--context is of one key") }
    let seen = try context.map(ContextText.context)
    try await place.withKeys { client in
      do throws(DatabaseError) { try await deleteRecords(keys, range, seen, client) } catch {
        try place.requireTransactional(error)
        if seen != nil { throw Failure.usage("a transactional keyspace has no contexts") }
        try await deleteVersions(keys, range, client.cluster)
      }
    }
  }

  private func deleteRecords(
    _ keys: [[UInt8]], _ range: KeyRange, _ seen: CausalContext?, _ client: RemoteKeys
  ) async throws(DatabaseError) {
    for key in keys {
      var request = place.request(.delete, key, in: keyspace, sync: sync)
      request.context = seen
      _ = try await client.key(request)
    }
    guard keys.isEmpty else { return }
    var scan = ScanRequest(range.scan, in: keyspace.keyspace, limit: 512)
    scan.quorum = place.quorum
    while true {
      let page = try await client.client.scan(scan)
      for entry in page.entries {
        _ = try await client.key(place.request(.delete, entry.key, in: keyspace, sync: sync))
      }
      guard let token = page.token else { return }
      scan.token = token
    }
  }

  private func deleteVersions(
    _ keys: [[UInt8]], _ range: KeyRange, _ client: ClusterClient
  ) async throws {
    let durability: Durability = sync ? .synced : .applied
    for key in keys { try await client.delete(key, in: keyspace.keyspace, durability) }
    guard keys.isEmpty else { return }
    try await client.forEachVersion(in: keyspace.keyspace, range) { entries in
      for entry in entries { try await client.delete(entry.key, in: keyspace.keyspace, durability) }
    }
  }

  private func deleteVersions(_ keys: [[UInt8]], _ range: KeyRange, _ database: Database) async throws {
    if context != nil { throw Failure.usage("a transactional keyspace has no contexts") }
    let keyspace = try await database.keyspace(self.keyspace.keyspace)
    for key in keys { try await keyspace.delete(key, sync ? .synced : .applied) }
    guard keys.isEmpty else { return }
    for try await entry in keyspace.scan(range.scan) {
      try await keyspace.delete(entry.key, sync ? .synced : .applied)
    }
  }

  private func deleteRecords(_ keys: [[UInt8]], _ range: KeyRange, _ database: DatabaseCore) throws {
    if context != nil, keys.count != 1 { throw Failure.usage("--context is of one key") }
    let seen = try context.map(ContextText.context)
    let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
    if keys.isEmpty {
      try keyspace.forEach(range) { key, _ in
        _ = try key.withKeyBytes { try keyspace.delete($0, context: nil) }
      }
      if sync { try database.syncAll() }
    }
    for key in keys {
      try key.withKeyBytes { key in
        _ = try keyspace.delete(key, context: seen)
        if sync { try keyspace.sync(key) }
      }
    }
  }
}
