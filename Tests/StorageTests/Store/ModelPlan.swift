import RoostEnvironment
import RoostStorage
import TestSupport

/// One change to one tree. Keys are ranks in ``ModelPlan/keys``, values are indices of
/// ``ModelPlan/values``.
enum ModelChange: Sendable {
  case put(tree: Int, key: Int, value: Int)
  case delete(tree: Int, key: Int)
  /// Where all changes are read at once it is followed by what makes it seen.
  case deleteLate(tree: Int, key: Int)
  /// Empty or reversed ranges too.
  case deleteRange(tree: Int, from: Int, to: Int)

  /// Whether it deletes nothing, whatever there is.
  var isEmpty: Bool {
    if case .deleteRange(_, let from, let to) = self { from >= to } else { false }
  }

  var tree: Int {
    switch self {
    case .put(let tree, _, _), .delete(let tree, _), .deleteLate(let tree, _), .deleteRange(let tree, _, _):
      tree
    }
  }
}

/// Which keys a cursor is over.
enum ModelBounds: Sendable {
  case all
  case prefix([UInt8])
  case range(from: Int, to: Int)
  case from(Int)
  case to(Int)
}

enum ModelMove: Sendable {
  case next(Int)
  case previous(Int)
  case seek(Int)
  case seekBefore(Int)
  case first
  case last
}

/// One step of a random case. Snapshots and cursors live in numbered slots; what names an empty
/// slot or a dropped tree does nothing.
enum ModelOperation: Sendable {
  case change(ModelChange)
  case batch([ModelChange])
  case get(tree: Int, key: Int, snapshot: Int?)
  case withValue(tree: Int, key: Int, snapshot: Int?)
  case multiGet(tree: Int, keys: [Int], snapshot: Int?)
  case scan(tree: Int, ModelBounds, backward: Bool, snapshot: Int?)
  case takeSnapshot(Int)
  case releaseSnapshot(Int)
  case openCursor(Int, tree: Int, ModelBounds, snapshot: Int?)
  case closeCursor(Int)
  case move(Int, ModelMove)
  case flush(tree: Int?)
  case compact(tree: Int?, from: Int?, to: Int?)
  /// Lets so many background jobs run, where they have no threads of their own.
  case work(Int)
  case sync
  case reopen(clean: Bool)
  case dropTree(Int)
  case createTree(Int)
}

/// A random case: the same operations are run under many options and must give the same answers.
///
/// The key space is small, so that overwrites, deletions and range deletions meet; keys share
/// prefixes, and some are one byte, long, or hold the bytes 0 and 255.
struct ModelPlan: Sendable {
  static let treeCount = 3
  static let slotCount = 4

  /// Sorted, without repeats.
  let keys: [[UInt8]]
  let values: [[UInt8]]
  let operations: [ModelOperation]

  init(_ random: inout SplitMix64, operationCount: Int) {
    var maker = PlanMaker(&random)
    operations = (0..<operationCount).map { _ in maker.operation(&random) }
    keys = maker.keys
    values = maker.values
  }
}

/// Draws keys, values and operations. Each kind of operation has a weight of its own in each case,
/// often zero, so that cases differ in character and not only in detail.
struct PlanMaker {
  let keys: [[UInt8]]
  private(set) var values: [[UInt8]] = []
  private let weights: [Int]
  private let totalWeight: Int
  private let valueProfile: Int
  private let hotKeys: Int

  private enum Kind: Int, CaseIterable {
    case put, delete, deleteRange, batch, get, withValue, multiGet, scan, takeSnapshot,
      releaseSnapshot
    case openCursor, closeCursor, move, flush, flushTree, compact, compactRange, work, sync, reopen,
      dropTree
    case createTree, deleteLate
  }

  private static let usualWeights = [
    300, 60, 15, 40, 100, 20, 15, 8, 12, 10, 12, 8, 60, 3, 6, 2, 6, 40, 4, 2, 1, 10, 10,
  ]

  init(_ random: inout SplitMix64) {
    valueProfile = random.below(5)
    keys = Self.makeKeys(
      &random, count: valueProfile == 4 ? 250 : [6, 25, 80, 250][random.below(4)])
    weights = Self.usualWeights.enumerated().map { index, weight in
      switch random.below(6) {
      case 0 where index != 0: 0
      case 1: weight * 4
      case 2: weight * 2
      default: weight
      }
    }
    totalWeight = weights.reduce(0, +)
    hotKeys = valueProfile == 4 || random.below(2) == 0 ? keys.count : max(1, keys.count / 8)
  }

  static func makeKeys(_ random: inout SplitMix64, count: Int) -> [[UInt8]] {
    let alphabet: [UInt8] = [0, 1, 97, 98, 99, 255]
    let prefixes = (0..<(1 + random.below(5))).map { _ in
      (0..<random.below(13)).map { _ in alphabet[random.below(6)] }
    }
    let hasLongKeys = random.below(3) == 0
    var keys: Set<[UInt8]> = []
    for _ in 0..<count {
      switch random.below(40) {
      case 0...3: keys.insert([alphabet[random.below(6)]])
      case 4 where hasLongKeys:
        let length = random.below(50) == 0 ? 65_535 : 200 + random.below(1500)
        keys.insert(
          [UInt8](repeating: alphabet[random.below(6)], count: length - 1) + [
            alphabet[random.below(6)]
          ])
      case 5...9: keys.insert(random.bytes(1 + random.below(20)))
      default:
        let suffix = (0..<(1 + random.below(5))).map { _ in alphabet[random.below(6)] }
        keys.insert(prefixes[random.below(prefixes.count)] + suffix)
      }
    }
    return keys.sorted { $0.lexicographicallyPrecedes($1) }
  }

  mutating func value(_ random: inout SplitMix64) -> Int {
    let length =
      switch (valueProfile, random.below(50)) {
      case (_, 0): 0
      case (0, 1), (1, 1...4): 2000 + random.below(4000)
      case (2, 1...25): 200 + random.below(1500)
      case (4, 1...40): 500 + random.below(4000)
      default: random.below(60)
      }
    // Half of the bytes compress, but for those that are to fill several levels.
    var bytes = littleEndian(UInt64(values.count))
    while bytes.count < length {
      let compresses = valueProfile != 4 && bytes.count & 16 == 0
      bytes.append(compresses ? 7 : UInt8(truncatingIfNeeded: random.next()))
    }
    // Each differs from all others, and shows which it is.
    values.append(length == 0 ? [] : Array(bytes.prefix(max(length, 8))))
    return values.count - 1
  }

  private func littleEndian(_ number: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
  }

  func key(_ random: inout SplitMix64) -> Int {
    random.below(4) == 0 ? random.below(keys.count) : random.below(hotKeys)
  }

  private func tree(_ random: inout SplitMix64) -> Int {
    random.below(3) == 0 ? random.below(ModelPlan.treeCount) : 0
  }

  private func slot(_ random: inout SplitMix64) -> Int { random.below(ModelPlan.slotCount) }

  private func maybeSlot(_ random: inout SplitMix64) -> Int? {
    random.below(3) == 0 ? slot(&random) : nil
  }

  mutating func change(_ random: inout SplitMix64, tree: Int, deletes: Int = 25) -> ModelChange {
    switch random.below(100) {
    case 0..<deletes: return .delete(tree: tree, key: key(&random))
    case deletes..<(deletes + 6): return deleteRange(&random, tree: tree)
    default:
      let key = key(&random)
      return .put(tree: tree, key: key, value: value(&random))
    }
  }

  func deleteRange(_ random: inout SplitMix64, tree: Int) -> ModelChange {
    let from = random.below(keys.count)
    let to =
      switch random.below(8) {
      case 0: random.below(keys.count)
      case 1: keys.count - 1
      default: min(keys.count - 1, from + random.below(1 + keys.count / 8))
      }
    return .deleteRange(tree: tree, from: from, to: to)
  }

  mutating func batch(_ random: inout SplitMix64) -> [ModelChange] {
    (0..<random.below(9)).map { _ in
      change(&random, tree: random.below(ModelPlan.treeCount))
    }
  }

  /// A put in one tree, and in another, or the same, a put in the place of a key or of nothing.
  mutating func list(_ random: inout SplitMix64) -> [ModelChange] {
    let (tree, other) = (random.below(ModelPlan.treeCount), random.below(ModelPlan.treeCount))
    var changes = [ModelChange.put(tree: tree, key: key(&random), value: value(&random))]
    if random.below(3) > 0 { changes.append(.deleteLate(tree: other, key: key(&random))) }
    changes.append(.put(tree: other, key: key(&random), value: value(&random)))
    return changes
  }

  private func bounds(_ random: inout SplitMix64) -> ModelBounds {
    switch random.below(6) {
    case 0, 1: return .all
    case 2:
      let key = keys[random.below(keys.count)]
      return .prefix(Array(key.prefix(random.below(key.count + 1))))
    case 3: return .from(key(&random))
    case 4: return .to(key(&random))
    default: return .range(from: random.below(keys.count), to: random.below(keys.count))
    }
  }

  private func move(_ random: inout SplitMix64) -> ModelMove {
    switch random.below(12) {
    case 0...4: .next(1 + random.below(random.below(2) == 0 ? 3 : 40))
    case 5...7: .previous(1 + random.below(random.below(2) == 0 ? 3 : 40))
    case 8: .seek(key(&random))
    case 9: .seekBefore(key(&random))
    case 10: .first
    default: .last
    }
  }

  mutating func operation(_ random: inout SplitMix64) -> ModelOperation {
    var draw = random.below(totalWeight)
    var index = 0
    while draw >= weights[index] {
      draw -= weights[index]
      index += 1
    }
    let tree = tree(&random)
    switch Kind(rawValue: index)! {
    case .put:
      let key = key(&random)
      return .change(.put(tree: tree, key: key, value: value(&random)))
    case .delete: return .change(.delete(tree: tree, key: key(&random)))
    case .deleteRange: return .change(deleteRange(&random, tree: tree))
    case .batch: return .batch(batch(&random))
    case .get: return .get(tree: tree, key: key(&random), snapshot: maybeSlot(&random))
    case .withValue: return .withValue(tree: tree, key: key(&random), snapshot: maybeSlot(&random))
    case .multiGet:
      let keys = (0..<random.below(8)).map { _ in key(&random) }
      return .multiGet(tree: tree, keys: keys, snapshot: maybeSlot(&random))
    case .scan:
      let bounds = bounds(&random)
      return .scan(tree: tree, bounds, backward: random.below(2) == 0, snapshot: maybeSlot(&random))
    case .takeSnapshot: return .takeSnapshot(slot(&random))
    case .releaseSnapshot: return .releaseSnapshot(slot(&random))
    case .openCursor:
      return .openCursor(slot(&random), tree: tree, bounds(&random), snapshot: maybeSlot(&random))
    case .closeCursor: return .closeCursor(slot(&random))
    case .move: return .move(slot(&random), move(&random))
    case .flush: return .flush(tree: nil)
    case .flushTree: return .flush(tree: tree)
    case .compact: return .compact(tree: nil, from: nil, to: nil)
    case .compactRange:
      let from = random.below(4) == 0 ? nil : random.below(keys.count)
      let to = random.below(4) == 0 ? nil : random.below(keys.count)
      return .compact(tree: tree, from: from, to: to)
    case .work: return .work(1 + random.below(4))
    case .sync: return .sync
    case .reopen: return .reopen(clean: random.below(2) == 0)
    case .dropTree: return .dropTree(random.below(ModelPlan.treeCount))
    case .createTree: return .createTree(random.below(ModelPlan.treeCount))
    case .deleteLate: return .change(.deleteLate(tree: tree, key: key(&random)))
    }
  }
}
