import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage
import TestSupport

/// Writes to a database whose fifth store joins and leaves in turn, until it is killed.
///
/// Write number n puts `vn` to one of a few hundred keys and counts up one of a few counters; then
/// `acked n` is printed.
enum RebalanceChild {
  static func run(_ directory: String, from start: Int) throws {
    let core = try RebalanceKillPlan.open(directory)
    let values = try core.keyspace("values", .eventual)
    let counters = try core.keyspace("counters", .eventual)
    say("begins \(start)")
    var number = start
    while true {
      if number % 64 == 0, core.rebalance.isBalanced { try turn(core, directory) }
      let (key, counter) = (RebalanceKillPlan.key(number), RebalanceKillPlan.counter(number))
      try key.withKeyBytes { key throws(DatabaseError) in
        let context = values.context(key, try values.record(key))
        _ = try values.put(key, RebalanceKillPlan.value(number), context: context)
      }
      try counter.withKeyBytes { key throws(DatabaseError) in
        try counters.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
          (true, try counter.increment(by: 1, dot: stamp.dot))
        }
      }
      say("acked \(number)")
      number += 1
    }
  }

  /// Lets the fifth store join, or, where it is a member, leave.
  private static func turn(_ core: DatabaseCore, _ directory: String) throws {
    let fifth = RebalanceKillPlan.stores(directory)[4]
    if core.presentMembers.contains(where: { $0.path == fifth }) {
      try core.removeStore(try core.memberID(at: fifth))
      say("leaves")
    } else {
      _ = try core.addStore(fifth, weight: 100, zone: "")
      say("joins")
    }
  }
}

extension RebalanceKillPlan {
  /// Opens the database: with the fifth store where it is a member, else without.
  static func open(_ directory: String) throws -> DatabaseCore {
    var options = DatabaseOptions()
    options.partitionCount = 32
    options.store.memtableBytes = 64 << 10
    options.store.logSegmentBytes = 128 << 10
    options.store.logLimitBytes = 1 << 20
    options.store.blockCacheBytes = 1 << 20
    options.store.stallDeadline = .seconds(1_200)
    let all = stores(directory)
    do { return try DatabaseOpening.open(Array(all.dropLast()), options, .posix()) } catch {
      guard error.code == .missingStore else { throw error }
    }
    return try DatabaseOpening.open(all, options, .posix())
  }
}
