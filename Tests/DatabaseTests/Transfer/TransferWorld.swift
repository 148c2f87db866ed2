import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport

@testable import RoostCluster

/// A simulated world with a database in it whose stores come and go. One thread runs everything:
/// background jobs when a test says so.
final class TransferWorld: @unchecked Sendable {
  let simulated: SimulatedEnvironment
  private let lock = Lock()
  private var made: [ManualWorkers] = []

  /// - Parameter waiting: `.blocks` where several threads act: then a thread that waits for another one is
  ///   woken by it, and no time passes.
  init(
    seed: UInt64, _ fileSystem: SimulatedFileSystem = SimulatedFileSystem(),
    waiting: SimulatedTime.Waiting = .movesTheClock
  ) {
    simulated = SimulatedEnvironment(
      seed: seed, fileSystem: fileSystem, time: SimulatedTime(waiting: waiting))
  }

  var fileSystem: SimulatedFileSystem { simulated.fileSystem }

  var environment: Environment {
    var environment = simulated.environment
    let make = environment.makeWorkers
    environment.makeWorkers = { [self] in
      let workers = make()
      if let manual = workers as? ManualWorkers { lock.withLock { made.append(manual) } }
      return workers
    }
    return environment
  }

  static func path(_ number: Int) -> String { "/data/s\(number)" }

  func open(
    _ stores: [Int], replicas: Int = 1, partitions: Int = 16,
    _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) throws -> DatabaseCore {
    var options = DatabaseOptions()
    options.partitionCount = partitions
    options.replicas = replicas
    options.transferBytesPerSecond = nil
    options.store.memtableBytes = 32 << 10
    options.store.memoryBudgetBytes = 16 << 20
    options.store.blockCacheBytes = 1 << 20
    options.store.logSegmentBytes = 32 << 10
    options.store.logLimitBytes = 512 << 10
    change(&options)
    return try DatabaseOpening.open(stores.map(Self.path), options, environment)
  }

  /// Runs one waiting job of any workers, which the generator chooses. Returns whether there was one.
  @discardableResult
  func runOne(_ random: inout SplitMix64) -> Bool {
    let all = lock.withLock { made }
    let start = random.below(max(1, all.count))
    for offset in all.indices where all[(start + offset) % all.count].runOneHere() { return true }
    return false
  }

  /// Runs so many jobs, or until none waits. Returns how many it ran.
  @discardableResult
  func run(_ limit: Int = .max) -> Int {
    var random = SplitMix64(seed: 5)
    var count = 0
    while count < limit, runOne(&random) { count += 1 }
    return count
  }
}

extension DatabaseCore {
  /// Checks that each key is in the stores that the ring names, the first of them where its keyspace has
  /// fewer replicas, and nowhere else, each with one entry in the feed.
  func checkPlacement() throws {
    let ring = ringSnapshot.ring
    try checkVersionPlacement()
    for entry in keyspaceEntries {
      var copies: [[UInt8]: Int] = [:]
      for member in presentMembers {
        guard let records = member.store.existingTree(KeyspaceCore.recordTree(entry.name)),
          let changes = member.store.existingTree(KeyspaceCore.changeTree(entry.name))
        else { continue }
        // Entries that puts replaced go with it.
        try changes.flush()
        var feed: [[UInt8]: [UInt8]] = [:]
        var changeCursor = try changes.cursor()
        while try changeCursor.next() {
          let key = Array(changeCursor.keyBytes.prefix(2)) + changeCursor.valueBytes
          try require(feed[key] == nil, "\(member.path) has two feed entries of \(key)")
          feed[key] = changeCursor.keyBytes
        }
        var cursor = try records.cursor()
        while try cursor.next() {
          let key = cursor.keyBytes
          let partition = Int(key[0]) << 8 | Int(key[1])
          try require(
            ring.replicas(of: partition).prefix(entry.replicas).contains(member.id),
            "\(member.path) still has a key of partition \(partition)")
          copies[key, default: 0] += 1
          let stored = try StoredRecord(decoding: cursor.value)
          try require(
            feed.removeValue(forKey: key) == FeedKey.make(partition, stored.changeNumber),
            "the feed of \(member.path) lacks \(key)")
        }
        try require(feed.isEmpty, "\(member.path) has \(feed.count) feed entries of no record")
      }
      for (key, count) in copies {
        try require(count == entry.replicas, "\(key) is in \(count) stores, not \(entry.replicas)")
      }
    }
  }
}

extension DatabaseCore {
  /// Checks that the versions of each partition are with its first replica, and nowhere else.
  func checkVersionPlacement() throws {
    let ring = ringSnapshot.ring
    for entry in keyspaceEntries where entry.kind == .transactional {
      for member in presentMembers {
        for name in [VersionedPart.currentTree(entry.name), VersionedPart.historyTree(entry.name)] {
          guard let tree = member.store.existingTree(name) else { continue }
          var cursor = try tree.cursor()
          while try cursor.next() {
            let key = cursor.keyBytes
            let partition = Int(key[0]) << 8 | Int(key[1])
            try require(
              ring.replica(of: partition, slot: 0) == member.id,
              "\(member.path) has a version of partition \(partition) in `\(name)`")
          }
        }
      }
    }
  }
}

extension KeyspaceCore {
  func put(text key: String, _ value: String) throws {
    try key.withKeyBytes { key throws(DatabaseError) in
      _ = try put(key, Array(value.utf8), context: try context(key, record(key)))
    }
  }

  func delete(text key: String) throws {
    try key.withKeyBytes { key throws(DatabaseError) in _ = try delete(key, context: nil) }
  }

  func values(text key: String) throws -> [String] {
    try key.withKeyBytes { key throws(DatabaseError) in
      visible(try record(key)).map { String(decoding: $0.value, as: UTF8.self) }
    }
  }

  func increment(text key: String) throws {
    try key.withKeyBytes { key throws(DatabaseError) in
      try change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
        (true, try counter.increment(by: 1, dot: stamp.dot))
      }
    }
  }

  func total(text key: String) throws -> Int64 {
    let counter = try key.withKeyBytes { key throws(DatabaseError) in try state(key, PNCounter.self) }
    return try counter.value()
  }

  func sync(text key: String) throws {
    try key.withKeyBytes { key throws(DatabaseError) in try sync(key) }
  }
}

/// The error that `body` throws, if it is the database's.
func databaseError(_ body: () throws -> Void) -> DatabaseError? {
  do {
    try body()
    return nil
  } catch { return error as? DatabaseError }
}

struct Mismatch: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func require(_ isRight: Bool, _ text: @autoclosure () -> String) throws {
  if !isRight { throw Mismatch(text()) }
}
