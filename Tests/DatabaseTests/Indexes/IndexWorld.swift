import Roost
import RoostEnvironment
import RoostSimulation
import Testing

@testable import RoostCluster

/// A database's synchronous core with a keyspace whose values are words set apart by commas, which
/// are the terms of its index `words`.
struct IndexWorld {
  let world: SimulatedEnvironment
  let core: DatabaseCore
  let notes: KeyspaceCore
  private let jobs: Jobs

  /// All workers of the database: its stores', and the mover's.
  private final class Jobs: @unchecked Sendable {
    private let lock = Lock()
    private var made: [any Workers] = []

    func add(_ workers: any Workers) { lock.withLock { made.append(workers) } }
    var all: [any Workers] { lock.withLock { made } }
  }

  static func words(_ version: UInt64 = 1, _ name: String = "words") -> Index {
    Index(name, version: version) { _, value in
      value.split(separator: UInt8(ascii: ",")).map { word in
        // Another version gives other terms.
        version == 1 ? Array(word) : Array("\(version):".utf8) + word
      }
    }
  }

  /// - Parameter version: of the index to declare; `nil` for none.
  init(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), stores: Int = 1, replicas: Int = 1,
    _ policy: KeyspacePolicy = .eventual, version: UInt64? = 1, sliceRecords: Int = 256
  ) throws {
    self.world = world
    let jobs = Jobs()
    self.jobs = jobs
    var environment = world.environment
    let make = environment.makeWorkers
    environment.makeWorkers = {
      let workers = make()
      jobs.add(workers)
      return workers
    }
    let options = Databases.options(partitions: 8, replicas: replicas) {
      $0.transferBytesPerSecond = nil
    }
    core = try DatabaseOpening.open(Databases.directories(stores), options, environment)
    notes = try core.keyspace("notes", policy)
    notes.indexes.sliceRecords = sliceRecords
    if let version { try declare(version) }
  }

  func declare(_ version: UInt64, _ name: String = "words") throws {
    _ = try core.keyspace("notes", nil, indexes: [Self.words(version, name)])
  }

  /// Runs background jobs: so many, or all.
  func work(_ jobs: Int = .max) {
    var left = jobs
    while left > 0 {
      var isIdle = true
      for workers in self.jobs.all where left > 0 && workers.runOneHere() {
        isIdle = false
        left -= 1
      }
      if isIdle { return }
    }
  }

  @discardableResult
  func put(
    _ key: String, _ value: String, _ context: CausalContext? = nil, timeToLive: Duration? = nil
  ) throws -> CausalContext {
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try notes.put(bytes, Array(value.utf8), context: context, timeToLive: timeToLive)
    }
  }

  func delete(_ key: String) throws {
    _ = try key.withKeyBytes { bytes throws(DatabaseError) in try notes.delete(bytes, context: nil) }
  }

  func record(_ key: String) throws -> Record? {
    try key.withKeyBytes { bytes throws(DatabaseError) in try notes.record(bytes) }
  }

  func context(_ key: String) throws -> CausalContext {
    let record = try record(key)
    return key.withKeyBytes { notes.context($0, record) }
  }

  /// All hits of a query as `term/key`, page by page.
  func query(
    _ range: TermRange = .all, limit: Int = 100, _ name: String = "words"
  ) throws -> [String] {
    var found: [String] = []
    var token: IndexToken?
    repeat {
      let page = try notes.query(name, range, limit: limit, after: token)
      #expect(page.hits.count <= limit)
      found += page.hits.map { hit in
        String(decoding: hit.term, as: UTF8.self) + "/" + String(decoding: hit.key, as: UTF8.self)
      }
      token = try page.token.map { try IndexToken(bytes: $0.bytes) }
    } while token != nil
    return found
  }

  /// What a query has to find, by reading every key.
  func expected(_ keys: [String], version: UInt64 = 1) throws -> [String] {
    var pairs: [(term: [UInt8], key: [UInt8])] = []
    for key in keys {
      guard let record = try record(key) else { continue }
      var siblings = record.siblings.elements
      if notes.kind == .lastWriterWins { siblings = siblings.isEmpty ? [] : [record.siblings.latest!] }
      let terms = Set(siblings.flatMap { Self.words(version).terms(Array(key.utf8), $0.value) })
      for term in terms { pairs.append((term, Array(key.utf8))) }
    }
    pairs.sort { a, b in
      a.term == b.term
        ? a.key.lexicographicallyPrecedes(b.key) : a.term.lexicographicallyPrecedes(b.term)
    }
    return pairs.map { String(decoding: $0.term + [0x2F] + $0.key, as: UTF8.self) }
  }

  /// The entries in the stores' trees, however many stores have the same.
  func entryCount(_ name: String = "words") throws -> Int {
    let generation = try notes.keptIndex(name).generation
    var count = 0
    for member in core.presentMembers {
      let tree = try #require(member.store.existingTree(KeptIndex.tree("notes", name, generation)))
      var cursor = try tree.cursor(to: BuildRecord.key)
      while try cursor.next() { count += 1 }
    }
    return count
  }

  var indexTrees: Set<String> {
    Set(core.presentMembers.flatMap { $0.store.treeNames.filter { $0.hasPrefix("index/") } })
  }
}
