import RoostEnvironment
import TestSupport

@testable import RoostStorage

/// One step of a crash case. All write, or move what was written on.
enum CrashOperation: Sendable {
  case commit([ModelChange], synced: Bool)
  /// As a database writes a record: one put, and in another tree a put in the place of a third key, where
  /// there is one. Never synced.
  case list([ModelChange])
  case sync
  case flush(tree: Int?)
  case compact
  case work(Int)
  case dropTree(Int)
  case createTree(Int)
  case reopen(clean: Bool)
}

/// A random series of writes to several trees, whose memtables fill and are flushed at different
/// times.
struct CrashPlan: Sendable {
  static let treeCount = 3

  let keys: [[UInt8]]
  let values: [[UInt8]]
  let operations: [CrashOperation]
  let ranks: [[UInt8]: Int]

  init(_ random: inout SplitMix64, operationCount: Int, reopens: Bool = true) {
    var maker = PlanMaker(&random)
    let syncedOften = random.below(3)
    let batchesOften = random.below(3)
    operations = (0..<operationCount).map { _ in
      switch random.below(100) {
      case 0..<3: .sync
      case 3..<5: .flush(tree: nil)
      case 5..<9: .flush(tree: random.below(Self.treeCount))
      case 9: .compact
      case 10..<20: .work(1 + random.below(3))
      case 20 where random.below(2) == 0: .dropTree(random.below(Self.treeCount))
      case 21..<24: .createTree(random.below(Self.treeCount))
      case 24 where reopens && random.below(2) == 0: .reopen(clean: random.below(2) == 0)
      case 25..<40: .list(maker.list(&random))
      default:
        .commit(
          random.below(3) <= batchesOften
            ? maker.batch(&random) : [maker.change(&random, tree: random.below(Self.treeCount))],
          synced: random.below(4) < syncedOften)
      }
    }
    keys = maker.keys
    values = maker.values
    ranks = Dictionary(uniqueKeysWithValues: keys.enumerated().map { ($1, $0) })
  }
}
