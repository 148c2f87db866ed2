import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

/// A database's synchronous core in a simulated world, with one keyspace, `posts`.
struct SynchronousDatabase {
  let world: SimulatedEnvironment
  let core: DatabaseCore
  let posts: KeyspaceCore

  init(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), at directories: [String],
    partitions: Int = 8, replicas: Int = 1, _ policy: KeyspacePolicy = .eventual,
    _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) throws {
    self.world = world
    let options = Databases.options(partitions: partitions, replicas: replicas, change)
    core = try DatabaseOpening.open(directories, options, world.environment)
    posts = try core.keyspace("posts", policy)
  }

  init(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), stores: Int = 1, partitions: Int = 8,
    replicas: Int = 1, _ policy: KeyspacePolicy = .eventual,
    _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) throws {
    try self.init(
      world, at: Databases.directories(stores), partitions: partitions, replicas: replicas, policy,
      change)
  }

  /// In the real world, for tests with threads: simulated workers have none.
  init(
    in folder: TemporaryDirectory, stores: Int = 1, partitions: Int = 8, replicas: Int = 1,
    _ policy: KeyspacePolicy = .eventual
  ) throws {
    world = SimulatedEnvironment()
    let directories = Databases.directories(stores).map { folder.path.string + $0 }
    let options = Databases.options(partitions: partitions, replicas: replicas)
    core = try DatabaseOpening.open(directories, options, .posix())
    posts = try core.keyspace("posts", policy)
  }

  /// The same directories opened again, after a clean close.
  func reopened(
    at directories: [String]? = nil, _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) throws -> SynchronousDatabase {
    try core.close()
    let routes = core.shared.options
    return try SynchronousDatabase(
      world, at: directories ?? core.presentMembers.map(\.path),
      partitions: routes.partitionCount ?? 8, replicas: routes.replicas, posts.policy, change)
  }

  /// What an open finds after the machine lost its power, or the process was killed.
  func after(
    _ world: SimulatedEnvironment, _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) throws -> SynchronousDatabase {
    try SynchronousDatabase(
      world, at: core.presentMembers.map(\.path), partitions: core.options.partitionCount ?? 8,
      replicas: core.options.replicas, posts.policy, change)
  }

  // MARK: - Calls

  @discardableResult
  func put(
    _ key: String, _ value: String, _ context: CausalContext? = nil, timeToLive: Duration? = nil
  ) throws -> CausalContext {
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try posts.put(bytes, Array(value.utf8), context: context, timeToLive: timeToLive)
    }
  }

  @discardableResult
  func delete(_ key: String, _ context: CausalContext? = nil) throws -> CausalContext {
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try posts.delete(bytes, context: context)
    }
  }

  func increment(_ key: String, by amount: Int64 = 1) throws {
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try posts.change(bytes, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: amount, dot: stamp.dot)
        return (true, ())
      }
    }
  }

  func count(_ key: String) throws -> Int64 {
    let counter = try key.withKeyBytes { bytes throws(DatabaseError) in
      try posts.state(bytes, PNCounter.self)
    }
    return try counter.value()
  }

  func record(_ key: String) throws -> Record? {
    try key.withKeyBytes { bytes throws(DatabaseError) in try posts.record(bytes) }
  }

  func context(_ key: String) throws -> CausalContext {
    let record = try record(key)
    return key.withKeyBytes { posts.context($0, record) }
  }

  /// The values as the policy shows them, sorted.
  func values(_ key: String) throws -> [String] {
    posts.visible(try record(key)).map { String(decoding: $0.value, as: UTF8.self) }.sorted()
  }

  /// The record in one store alone, as it stands there.
  func record(_ key: String, inStore path: String) throws -> Record? {
    let member = try #require(core.presentMembers.first { $0.path == path })
    let tree = try #require(member.store.existingTree(KeyspaceCore.recordTree("posts")))
    let stored = StoredKey.make(partition(key), Array(key.utf8))
    return try tree.withValue(forKey: stored) { try StoredRecord(decoding: $0).record }
  }

  func partition(_ key: String) -> Int {
    key.withKeyBytes {
      Placement.partition(ofHash: Placement.hash($0), count: core.options.partitionCount ?? 8)
    }
  }

  // MARK: - Feed and exchange

  /// All changes since a token, page by page.
  func changes(
    since token: ChangeToken? = nil, limit: ChangePageLimit = ChangePageLimit()
  ) throws -> (changes: [FeedChange], token: ChangeToken) {
    var changes: [FeedChange] = []
    var token = token
    while true {
      let page = try posts.changes(since: token, limit: limit)
      changes += page.changes
      token = page.token
      if page.isAtEnd { return (changes, page.token) }
    }
  }

  /// Hands all states that changed since a token to another database, as bytes.
  @discardableResult
  func send(to other: SynchronousDatabase, since token: ChangeToken? = nil) throws -> ChangeToken {
    var token = token
    while true {
      let page = try posts.export(since: token, byteLimit: 1 << 20)
      _ = try other.core.join(try ExportPage(bytes: page.bytes))
      token = page.token
      if page.isComplete { return page.token }
    }
  }

  /// Hands all states over, both ways.
  func exchange(with other: SynchronousDatabase) throws {
    try send(to: other)
    try other.send(to: self)
  }
}

extension FeedChange {
  var key: String? {
    if case .changed(let key, _) = event { String(decoding: key, as: UTF8.self) } else { nil }
  }

  var record: Record? {
    if case .changed(_, let record) = event { record } else { nil }
  }

  var resyncedPartition: Int? {
    if case .resync(let partition) = event { partition } else { nil }
  }
}

extension Record {
  var encoding: [UInt8] {
    var bytes: [UInt8] = []
    encode(into: &bytes)
    return bytes
  }
}

/// The code of what a synchronous call throws; fails the test where it throws nothing or anything
/// but a `DatabaseError`.
func thrownCode(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> DatabaseError.Code? {
  do {
    try body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch let error as DatabaseError {
    return error.code
  } catch {
    Issue.record("not a DatabaseError: \(error)", sourceLocation: sourceLocation)
  }
  return nil
}
