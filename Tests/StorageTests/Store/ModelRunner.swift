import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport

@testable import RoostStorage

/// What the store answered, where that is not what the model says.
struct Mismatch: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func require(_ isRight: Bool, _ text: @autoclosure () -> String) throws {
  if !isRight { throw Mismatch(text()) }
}

/// What a tree should hold: by rank of the key, the index of its value, or -1.
struct ModelTree: Sendable, Equatable {
  /// Counts up with each tree that is created, so that a snapshot knows a tree of the same name for
  /// another.
  var incarnation: Int
  var values: [Int32]

  init(incarnation: Int, keyCount: Int) {
    self.incarnation = incarnation
    values = Array(repeating: -1, count: keyCount)
  }

  mutating func apply(_ change: ModelChange) {
    switch change {
    case .put(_, let key, let value): values[key] = Int32(value)
    case .delete(_, let key), .deleteLate(_, let key): values[key] = -1
    case .deleteRange(_, let from, let to):
      if from < to { for key in from..<to { values[key] = -1 } }
    }
  }
}

/// Runs a plan against a store and holds every answer against the model.
final class ModelRunner {
  static let treeNames = ["a", "b", "c"]

  final class HeldSnapshot {
    let snapshot: Snapshot
    let trees: [ModelTree?]
    init(_ snapshot: consuming Snapshot, _ trees: [ModelTree?]) {
      self.snapshot = snapshot
      self.trees = trees
    }
  }

  private let plan: ModelPlan
  private let options: ModelOptions
  private let path: String
  private let environment: Environment
  private let simulated: SimulatedEnvironment?

  private var store: Store?
  private var trees: [Tree?] = []
  private var model: [ModelTree?] = Array(repeating: nil, count: ModelPlan.treeCount)
  private var incarnations = 0
  /// The most levels below 0 that a tree had tables in when the plan ended.
  private(set) var levelCount = 0
  private var snapshots: [HeldSnapshot?] = Array(repeating: nil, count: ModelPlan.slotCount)
  private var cursors: [HeldCursor?] = Array(repeating: nil, count: ModelPlan.slotCount)

  /// In a simulated world, where one thread does everything.
  init(_ plan: ModelPlan, _ options: ModelOptions, seed: UInt64) {
    self.plan = plan
    self.options = options
    path = "/store"
    let simulated = SimulatedEnvironment(seed: seed, laneSeed: options.laneSeed)
    simulated.fileSystem.setOverwritesInPlace(options.overwritesInPlace)
    self.simulated = simulated
    environment = simulated.environment
  }

  /// On the real file system, with real threads.
  init(_ plan: ModelPlan, _ options: ModelOptions, directory: FilePath) {
    self.plan = plan
    self.options = options
    path = directory.appending("store").string
    simulated = nil
    environment = .posix()
  }

  /// - Throws: ``Mismatch``, which names the step.
  func run() throws {
    var step = -1
    do {
      try open()
      for tree in 0..<ModelPlan.treeCount { try create(tree) }
      for operation in plan.operations {
        step += 1
        try perform(operation)
      }
      step += 1
      try finish()
    } catch {
      let operation =
        step >= 0 && step < plan.operations.count ? "\(plan.operations[step])" : "the end"
      throw Mismatch("step \(step), \(operation), options \(options): \(error)")
    }
  }

  private func open() throws {
    let store = try Store.open(at: path, options.store, environment: environment)
    self.store = store
    trees = Self.treeNames.map { store.existingTree($0) }
    for tree in 0..<ModelPlan.treeCount {
      try require(
        (trees[tree] == nil) == (model[tree] == nil), "tree \(tree) is there: \(trees[tree] != nil)"
      )
      if options.keepsFilter { try trees[tree]?.keepKeyFilter() }
    }
  }

  private func create(_ tree: Int) throws {
    guard model[tree] == nil else { return }
    trees[tree] = try store!.tree(Self.treeNames[tree], options.tree)
    if options.keepsFilter { try trees[tree]!.keepKeyFilter() }
    incarnations += 1
    model[tree] = ModelTree(incarnation: incarnations, keyCount: plan.keys.count)
  }

  private func drop(_ tree: Int) throws {
    guard model[tree] != nil, let handle = trees[tree] else { return }
    try store!.dropTree(Self.treeNames[tree])
    model[tree] = nil
    trees[tree] = nil
    try expect(.treeDropped, "get") { _ = try handle.get(plan.keys[0]) }
    try expect(.treeDropped, "put") { try handle.put(plan.keys[0], "x") }
    try expect(.treeDropped, "cursor") { _ = try handle.cursor().isPositioned }
  }

  private func expect(_ code: StoreError.Code, _ what: String, _ body: () throws -> Void) throws {
    do { try body() } catch let error as StoreError {
      return try require(error.code == code, "\(what) threw \(error), not \(code)")
    }
    throw Mismatch("\(what) did not throw \(code)")
  }

  // MARK: - Operations

  private func perform(_ operation: ModelOperation) throws {
    // Without another reference to the store.
    if case .reopen(let clean) = operation { return try reopen(clean: clean || simulated == nil) }
    let store = store!
    switch operation {
    case .change(let change): try perform(change)
    case .batch(let changes):
      let live = changes.filter { trees[$0.tree] != nil }
      try store.write { batch in
        for change in live { add(change, to: &batch) }
      }
      for change in live { model[change.tree]!.apply(change) }
    case .get(let tree, let key, let slot):
      guard let handle = trees[tree] else { return }
      let held = held(slot)
      let found =
        if let held { try handle.get(plan.keys[key], at: held.snapshot) } else {
          try handle.get(plan.keys[key])
        }
      try check(found, tree, key, held)
    case .withValue(let tree, let key, let slot):
      guard let handle = trees[tree] else { return }
      let held = held(slot)
      let found =
        if let held {
          try handle.withValue(forKey: plan.keys[key], at: held.snapshot) { ByteView($0).array }
        } else {
          try handle.withValue(forKey: plan.keys[key]) { ByteView($0).array }
        }
      try check(found, tree, key, held)
      if held == nil {
        try require(
          try handle.contains(plan.keys[key]) == (found != nil), "contains differs from withValue")
      }
    case .multiGet(let tree, let keys, let slot):
      guard let handle = trees[tree] else { return }
      let held = held(slot)
      let bytes = keys.map { plan.keys[$0] }
      let found =
        if let held { try handle.multiGet(bytes, at: held.snapshot) } else {
          try handle.multiGet(bytes)
        }
      try require(found.count == keys.count, "multiGet gave \(found.count) of \(keys.count)")
      for (key, value) in zip(keys, found) { try check(value, tree, key, held) }
    case .scan(let tree, let bounds, let backward, let slot):
      guard trees[tree] != nil else { return }
      let cursor = try openCursor(tree, bounds, held(slot))
      try cursor.move(backward ? .previous(.max) : .next(.max), plan)
    case .takeSnapshot(let slot): snapshots[slot] = HeldSnapshot(store.snapshot(), model)
    case .releaseSnapshot(let slot): snapshots[slot] = nil
    case .openCursor(let slot, let tree, let bounds, let snapshot):
      guard trees[tree] != nil else { return }
      cursors[slot] = try openCursor(tree, bounds, held(snapshot))
    case .closeCursor(let slot): cursors[slot] = nil
    case .move(let slot, let move): try cursors[slot]?.move(move, plan)
    case .flush(let tree):
      if let tree { try trees[tree]?.flush() } else { try store.flush() }
    case .compact(nil, _, _): try store.compact()
    case .compact(let tree?, let from, let to):
      try trees[tree]?.compact(from: from.map { plan.keys[$0] }, to: to.map { plan.keys[$0] })
    case .work(let count): work(count)
    case .sync: try store.sync()
    case .reopen: break
    case .dropTree(let tree): try drop(tree)
    case .createTree(let tree): try create(tree)
    }
  }

  private func perform(_ change: ModelChange) throws {
    guard let tree = trees[change.tree] else { return }
    switch change {
    case .put(_, let key, let value): try tree.put(plan.keys[key], plan.values[value])
    case .delete(_, let key): try tree.delete(plan.keys[key])
    case .deleteLate(_, let key):
      // What may be read between the two is `LateDeleteTests`'. Afterwards the key is gone, by a deletion
      // of its own or by the flush.
      try store!.write { $0.deleteLate(plan.keys[key], in: tree) }
      if key % 2 == 0 { try tree.flush() } else { try tree.delete(plan.keys[key]) }
    case .deleteRange(_, let from, let to):
      try tree.deleteRange(from: plan.keys[from], to: plan.keys[to])
    }
    model[change.tree]!.apply(change)
  }

  private func add(_ change: ModelChange, to batch: inout WriteBatch) {
    let tree = trees[change.tree]!
    switch change {
    case .put(_, let key, let value): batch.put(plan.keys[key], plan.values[value], in: tree)
    case .delete(_, let key): batch.delete(plan.keys[key], in: tree)
    case .deleteLate(_, let key): batch.deleteLate(plan.keys[key], in: tree)
    case .deleteRange(_, let from, let to):
      batch.deleteRange(from: plan.keys[from], to: plan.keys[to], in: tree)
    }
  }

  private func work(_ count: Int) {
    guard let workers = simulated?.workers else { return }
    for _ in 0..<count { if !workers.runOneHere() { return } }
  }

  private func reopen(clean: Bool) throws {
    for slot in snapshots.indices { snapshots[slot] = nil }
    for slot in cursors.indices { cursors[slot] = nil }
    if clean {
      try store!.close()
      if let old = trees.compactMap({ $0 }).first {
        try expect(.closed, "get") { _ = try old.get(plan.keys[0]) }
      }
      try checkFiles()
    }
    trees = []
    store = nil
    try open()
  }

  private func held(_ slot: Int?) -> HeldSnapshot? { slot.flatMap { snapshots[$0] } }

  private func expected(_ tree: Int, _ held: HeldSnapshot?) -> [Int32] {
    let now = model[tree]!
    guard let held else { return now.values }
    if let then = held.trees[tree], then.incarnation == now.incarnation { return then.values }
    return Array(repeating: -1, count: plan.keys.count)
  }

  private func check(_ found: [UInt8]?, _ tree: Int, _ key: Int, _ held: HeldSnapshot?) throws {
    let value = expected(tree, held)[key]
    let right = value < 0 ? found == nil : found == plan.values[Int(value)]
    if !right {
      throw Mismatch(
        "tree \(tree), key \(key): found \(plan.name(of: found)), expected value \(value)")
    }
  }

  private func openCursor(_ tree: Int, _ bounds: ModelBounds, _ held: HeldSnapshot?) throws
    -> HeldCursor
  {
    try HeldCursor(
      trees[tree]!, tree, bounds, expected(tree, held), plan, snapshot: held)
  }

  // MARK: - The end

  private func finish() throws {
    for (slot, held) in snapshots.enumerated() where held != nil {
      try compareAll(held, "snapshot \(slot)")
    }
    for cursor in cursors { try cursor?.move(.next(.max), plan) }
    try compareAll(nil, "now")
    for tree in store!.statistics.trees {
      levelCount = max(levelCount, tree.levels.count { $0.level > 0 && $0.tables > 0 })
    }
    try reopen(clean: true)
    try compareAll(nil, "reopened")
    simulated?.workers?.runAll()
    try checkTables(store!)
    try store!.compact()
    try compareAll(nil, "compacted")
    try checkTables(store!)
    cursors = []
    snapshots = []
    try store!.close()
  }

  private func compareAll(_ held: HeldSnapshot?, _ when: String) throws {
    do {
      for tree in 0..<ModelPlan.treeCount where trees[tree] != nil {
        try openCursor(tree, .all, held).move(.next(.max), plan)
        try openCursor(tree, .all, held).move(.previous(.max), plan)
        let values = expected(tree, held)
        for key in plan.keys.indices {
          let found =
            if let held {
              try trees[tree]!.get(plan.keys[key], at: held.snapshot)
            } else {
              try trees[tree]!.get(plan.keys[key])
            }
          let right = values[key] < 0 ? found == nil : found == plan.values[Int(values[key])]
          try require(
            right, "tree \(tree), key \(key): found \(plan.name(of: found)), not \(values[key])")
        }
      }
    } catch { throw Mismatch("comparing all, \(when): \(error)") }
  }

  /// After a clean close, nothing is in the directory that the manifest does not name.
  private func checkFiles() throws {
    let fileSystem = environment.fileSystem
    let directory = FilePath(path)
    let marker = try Marker.read(in: directory, fileSystem)
    let contents = try Manifest.read(marker, in: directory, fileSystem)
    var named: Set<String> = [
      FileNames.marker, FileNames.lock, FileNames.manifest(marker.manifestNumber),
    ]
    named.formUnion(contents.tableNumbers.map(FileNames.table))
    named.formUnion(contents.logs.map { FileNames.log($0.number) })
    let there = Set(try fileSystem.entries(of: directory))
    try require(
      there == named,
      "files not named: \(there.subtracting(named)), missing: \(named.subtracting(there))")
  }
}

/// What every level and table of a store must satisfy.
func checkTables(_ store: Store) throws {
  let trees = store.stateLock.withLock { Array(store.trees.values) }
  for tree in trees {
    for (depth, level) in tree.pin().levels.enumerated() {
      for (index, file) in level.files.enumerated() {
        var problems: [StoreError] = []
        try store.tables.reader(of: file).verify { problems.append($0) }
        try require(problems.isEmpty, "table \(file.number): \(problems)")
        if depth > 0, index > 0 {
          try require(
            level.files[index - 1].endsBefore(file.smallest),
            "level \(depth): table \(level.files[index - 1].number) reaches into \(file.number)")
        }
      }
    }
  }
}

extension ModelPlan {
  func name(of value: [UInt8]?) -> String {
    guard let value else { return "nothing" }
    if let index = values.firstIndex(of: value) { return "value \(index)" }
    return "\(value.count) bytes that nobody wrote"
  }

  /// The ranks of the keys that lie within the bounds.
  func ranks(_ bounds: ModelBounds) -> Range<Int> {
    switch bounds {
    case .all: return 0..<keys.count
    case .from(let from): return from..<keys.count
    case .to(let to): return 0..<to
    case .range(let from, let to): return from..<max(from, to)
    case .prefix(let prefix):
      let first = keys.firstIndex { $0.starts(with: prefix) } ?? 0
      let count = keys.lazy.filter { $0.starts(with: prefix) }.count
      return first..<(first + count)
    }
  }
}
