import RoostCausality
import RoostSimulation
import RoostStorage

@testable import RoostCluster

/// Versions of one keyspace in a store of a simulated world.
struct VersionWorld {
  let world: SimulatedEnvironment
  let store: Store
  let part: VersionedPart
  let gate = VersionGate()

  static func options() -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = 64 << 10
    options.memoryBudgetBytes = 4 << 20
    options.blockCacheBytes = 1 << 20
    options.logSegmentBytes = 64 << 10
    options.logLimitBytes = 256 << 10
    return options
  }

  init(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), floor: Timestamp = .zero
  ) throws {
    self.world = world
    store = try Store.open(at: "/disk/db", Self.options(), environment: world.environment)
    part = try VersionedPart("accounts", in: store, at: "/disk/db", gate, floor: floor)
  }

  func commit(_ writes: [VersionedWrite], at time: UInt64) throws {
    try gate.committing {
      var batch = WriteBatch()
      try part.append(writes, at: Timestamp(rawValue: time), to: &batch)
      try store.commit(batch, .applied)
    }
  }

  func put(_ key: String, _ value: String?, at time: UInt64) throws {
    try commit([VersionedWrite(0, Array(key.utf8), value.map { Array($0.utf8) })], at: time)
  }

  func read(_ key: String, at time: UInt64? = nil) throws -> String? {
    let key = Array(key.utf8)
    let found =
      if let time { try part.read(0, key, at: Timestamp(rawValue: time)) } else { try part.latest(0, key) }
    return found.map { String(decoding: $0.value, as: UTF8.self) }
  }

  func collect(_ horizon: UInt64, limit: Int = 1_000) throws -> CollectionProgress {
    try part.collect(before: Timestamp(rawValue: horizon), limit: limit)
  }

  func entryCount(_ tree: Tree) throws -> Int {
    var cursor = try tree.cursor()
    var count = 0
    while try cursor.next() { count += 1 }
    return count
  }
}

/// The code of what a call throws, `nil` where it throws nothing or no `DatabaseError`.
func thrown(_ body: () throws -> Void) -> DatabaseError? {
  do { try body() } catch let error as DatabaseError { return error } catch {}
  return nil
}
