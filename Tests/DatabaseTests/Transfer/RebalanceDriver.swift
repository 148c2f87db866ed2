import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport

@testable import RoostCluster

/// What was written to a database, what of it was acknowledged, and what of that was synced.
struct RebalanceLedger {
  /// A key's writes in order; `nil` for a delete. Each replaced what was before.
  struct History {
    var versions: [String?] = [nil]
    /// The last that was acknowledged, and the last that is durable.
    var acknowledged = 0
    var synced = 0
  }

  struct Count {
    var issued: Int64 = 0
    var acknowledged: Int64 = 0
    var synced: Int64 = 0
  }

  enum Loss { case none, process, power }

  var values: [String: History] = [:]
  var counts: [String: Count] = [:]

  func check(_ values: KeyspaceCore, _ counters: KeyspaceCore, after loss: Loss) throws {
    for (key, history) in self.values { try check(key, history, try values.values(text: key), loss) }
    for (key, count) in counts {
      let total = try counters.total(text: key)
      let least = loss == .power ? count.synced : count.acknowledged
      try require(
        total >= least && total <= count.issued,
        "\(key) counts \(total), of \(count) (\(loss))")
    }
  }

  private func check(
    _ key: String, _ history: History, _ found: [String], _ loss: Loss
  ) throws {
    let least = loss == .power ? history.synced : history.acknowledged
    let allowed = history.versions[least...].map { $0.map { [$0] } ?? [] }
    try require(
      allowed.contains(found),
      "\(key) reads \(found); allowed after \(loss): \(allowed), of \(history)")
  }

  /// The ledger of a world that has been found to be right, as far as it is known from now on.
  func settled(_ values: KeyspaceCore, _ counters: KeyspaceCore) throws -> RebalanceLedger {
    var next = self
    for (key, history) in self.values {
      let found = try values.values(text: key).first
      let index = history.versions.lastIndex { $0 == found } ?? 0
      next.values[key]!.versions = Array(history.versions[...index])
      next.values[key]!.acknowledged = index
      next.values[key]!.synced = min(history.synced, index)
    }
    for key in counts.keys {
      let total = try counters.total(text: key)
      next.counts[key]!.issued = total
      next.counts[key]!.acknowledged = total
    }
    return next
  }
}

/// Writes, reads and moves at random, on one thread, and keeps the ledger.
final class RebalanceDriver {
  let world: TransferWorld
  let replicas: Int
  /// Of the keyspace of values, where it has fewer than the database.
  let valueReplicas: Int?
  private(set) var core: DatabaseCore
  private(set) var values: KeyspaceCore
  private(set) var counters: KeyspaceCore
  var ledger: RebalanceLedger
  /// Directories that may hold stores of the database.
  private(set) var stores: [Int]
  private var keyCount = 40
  private var lateKeyspace = false

  static func name(_ value: Int) -> String { "key\(value)" }

  init(_ world: TransferWorld, stores: [Int], replicas: Int, valueReplicas: Int? = nil) throws {
    self.world = world
    self.valueReplicas = valueReplicas
    self.stores = stores
    self.replicas = replicas
    ledger = RebalanceLedger()
    core = try world.open(stores, replicas: replicas, partitions: 8)
    values = try core.keyspace("values", .eventual(replicas: valueReplicas))
    counters = try core.keyspace("counters", .eventual)
  }

  /// Opens what another driver left, with whichever of its directories are members.
  init(
    _ world: TransferWorld, after other: RebalanceDriver, _ loss: RebalanceLedger.Loss
  ) throws {
    self.world = world
    replicas = other.replicas
    valueReplicas = other.valueReplicas
    ledger = other.ledger
    (core, stores) = try Self.openMembers(world, other.stores, replicas)
    values = try core.keyspace("values", .eventual(replicas: valueReplicas))
    counters = try core.keyspace("counters", .eventual)
    try ledger.check(values, counters, after: loss)
    ledger = try ledger.settled(values, counters)
  }

  /// A directory that joined half-way, or has left, is `.notAMember`: then the others open.
  static func openMembers(
    _ world: TransferWorld, _ stores: [Int], _ replicas: Int
  ) throws -> (DatabaseCore, [Int]) {
    var stores = stores
    while true {
      do {
        return (try world.open(stores, replicas: replicas, partitions: 8), stores)
      } catch let error as DatabaseError where error.code == .notAMember && stores.count > 1 {
        let stranger = stores.first { error.message.hasPrefix(TransferWorld.path($0) + " ") }
        guard let stranger else { throw error }
        stores.removeAll { $0 == stranger }
      }
    }
  }

  // MARK: - Steps

  func step(_ random: inout SplitMix64) throws {
    switch random.below(100) {
    case 0..<30: try put(Self.name(random.below(keyCount)), "v\(random.below(1_000_000))")
    case 30..<36: try delete(Self.name(random.below(keyCount)))
    case 36..<54: try increment(Self.name(random.below(keyCount / 2)))
    case 54..<60: try sync(Self.name(random.below(keyCount)))
    case 60..<66: try checkOne(Self.name(random.below(keyCount)))
    case 66..<67: try changeRing(&random)
    default: world.runOne(&random)
    }
  }

  func put(_ key: String, _ value: String) throws {
    ledger.values[key, default: .init()].versions.append(value)
    try values.put(text: key, value)
    ledger.values[key]!.acknowledged = ledger.values[key]!.versions.count - 1
  }

  private func delete(_ key: String) throws {
    ledger.values[key, default: .init()].versions.append(nil)
    try values.delete(text: key)
    ledger.values[key]!.acknowledged = ledger.values[key]!.versions.count - 1
  }

  private func increment(_ key: String) throws {
    ledger.counts[key, default: .init()].issued += 1
    try counters.increment(text: key)
    ledger.counts[key]!.acknowledged += 1
  }

  private func sync(_ key: String) throws {
    try values.sync(text: key)
    if let history = ledger.values[key] { ledger.values[key]!.synced = history.acknowledged }
    try counters.sync(text: key)
    if let count = ledger.counts[key] { ledger.counts[key]!.synced = count.acknowledged }
  }

  private func checkOne(_ key: String) throws {
    if let history = ledger.values[key] {
      let found = try values.values(text: key)
      try require(
        found == (history.versions.last!.map { [$0] } ?? []), "\(key) reads \(found), of \(history)")
    }
    if let count = ledger.counts[key] {
      let total = try counters.total(text: key)
      try require(total == count.acknowledged, "\(key) counts \(total), of \(count)")
    }
  }

  func changeRing(_ random: inout SplitMix64) throws {
    let members = core.presentMembers
    switch random.below(3) {
    case 0 where core.ringSnapshot.ring.staying.count < 5:
      try addStore((0..<8).first { number in !stores.contains(number) } ?? 0)
    case 1 where core.ringSnapshot.ring.staying.count > replicas + 1:
      try core.removeStore(members[random.below(members.count)].id)
    default:
      let staying = core.ringSnapshot.ring.staying
      try core.changeStore(
        staying[random.below(staying.count)].id, weight: 50 + random.below(300), zone: nil)
    }
    stores = Set(stores + core.presentMembers.compactMap { Int($0.path.dropFirst(7)) }).sorted()
  }

  func addStore(_ number: Int) throws {
    // A crash within finds the directory.
    if !stores.contains(number) { stores.append(number) }
    _ = try core.addStore(TransferWorld.path(number), weight: 100, zone: "")
  }

  func removeStore(_ number: Int) throws {
    try core.removeStore(try core.memberID(at: TransferWorld.path(number)))
  }

  func finish() throws {
    try core.waitUntilBalanced(.seconds(600))
    try ledger.check(values, counters, after: .none)
    // A write that was only applied may be in one store alone after a power loss. The reads above have
    // found it; the repairs that they asked for run on workers.
    core.shared.repairs.finish()
    try core.checkPlacement()
  }

  /// Closes cleanly, and opens again.
  func reopen() throws {
    try core.close()
    (core, stores) = try Self.openMembers(world, stores, replicas)
    values = try core.keyspace("values", .eventual(replicas: valueReplicas))
    counters = try core.keyspace("counters", .eventual)
    try ledger.check(values, counters, after: .none)
  }
}
