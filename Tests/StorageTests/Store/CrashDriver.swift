import RoostEnvironment
import RoostSimulation
import SystemPackage

@testable import RoostStorage

/// Runs a plan against a store in a simulated world and keeps the ledger. Operations may fail where
/// the world is made to; what that means for what must be there is in the ledger.
///
/// One thread acts; the file system's hook, called within its calls, reads the ledger.
final class CrashDriver: @unchecked Sendable {
  static let path = "/store"

  let plan: CrashPlan
  let options: ModelOptions
  let world: SimulatedEnvironment
  private(set) var ledger: CrashLedger
  private var store: Store?
  private var trees: [Tree?] = []
  /// What failed, in order.
  private(set) var errors: [StoreError] = []
  private(set) var step = 0
  private var lookups = 0

  init(
    _ plan: CrashPlan, _ options: ModelOptions, _ world: SimulatedEnvironment, _ ledger: CrashLedger
  ) {
    self.plan = plan
    self.options = options
    self.world = world
    self.ledger = ledger
  }

  static func world(_ options: ModelOptions, seed: UInt64) -> SimulatedEnvironment {
    let world = SimulatedEnvironment(seed: seed, laneSeed: options.laneSeed)
    world.fileSystem.setOverwritesInPlace(options.overwritesInPlace)
    return world
  }

  /// Opens the store and holds what it has against the ledger, which then begins anew from there.
  ///
  /// - Returns: which state of the ledger it is.
  @discardableResult
  func open(after loss: CrashLedger.Loss) throws -> Int {
    let store = try Store.open(at: Self.path, options.store, environment: world.environment)
    self.store = store
    trees = ModelRunner.treeNames.map { store.existingTree($0) }
    if options.keepsFilter { for tree in trees { try tree?.keepKeyFilter() } }
    let found: [CrashLedger.Found]
    do { found = try contents() } catch {
      try? close(cleanly: false)
      throw error
    }
    let state: Int
    do { state = try ledger.match(found, after: loss) } catch {
      throw Mismatch("opened at step \(step): \(error)")
    }
    ledger = ledger.rebased(on: found)
    return state
  }

  func createTrees() throws {
    for tree in 0..<CrashPlan.treeCount { try attempt { try create(tree) } }
  }

  func run() throws {
    for operation in plan.operations { try perform(operation) }
  }

  func perform(_ operation: CrashOperation) throws {
    step += 1
    if case .reopen(let clean) = operation, store != nil {
      // Without another reference to the store.
      return try attempt {
        try close(cleanly: clean)
        try open(after: .process)
      }
    }
    guard let store else { return try attempt { try open(after: .process) } }
    switch operation {
    case .commit(let changes, let synced): try commit(changes, synced: synced)
    case .list(let changes):
      // Where one of its trees is gone, it is some other write.
      let isWhole = changes.allSatisfy { trees[$0.tree] != nil }
      try commit(changes, synced: false, asList: isWhole)
    case .sync:
      try attempt {
        try store.sync()
        ledger.noteSynced()
      }
    case .flush(let tree):
      try attempt { if let tree { try trees[tree]?.flush() } else { try store.flush() } }
    case .compact: try attempt { try store.compact() }
    case .work(let count):
      for _ in 0..<count { if world.workers?.runOneHere() != true { return } }
    case .dropTree(let tree): try attempt { try drop(tree) }
    case .createTree(let tree): try attempt { try create(tree) }
    case .reopen: break
    }
  }

  /// What fails is noted, unless it is the test that fails.
  private func attempt(_ body: () throws -> Void) throws {
    do { try body() } catch let error as StoreError { errors.append(error) }
  }

  private func commit(_ changes: [ModelChange], synced: Bool, asList: Bool = false) throws {
    let live = changes.filter { trees[$0.tree] != nil }
    // What changes nothing says nothing of what came before it, unless it is synced.
    guard live.contains(where: { !$0.isEmpty }) else {
      return try attempt {
        try write(live, synced ? .synced : .applied)
        if synced { ledger.noteSynced() }
      }
    }
    let before = ledger
    ledger.issue(live, plan)
    do {
      if asList { try list(live) } else { try write(live, synced ? .synced : .applied) }
      ledger.acknowledge(synced: synced)
    } catch let error as StoreError {
      errors.append(error)
      // Unless the error says that it does not know, nothing of the write is kept.
      if error.code != .outcomeUnknown { ledger = before }
    }
  }

  private func write(_ changes: [ModelChange], _ durability: Durability) throws {
    if changes.count == 1 { return try single(changes[0], durability) }
    try store!.write(durability) { batch in
      for change in changes { add(change, to: &batch) }
    }
  }

  private func list(_ changes: [ModelChange]) throws {
    guard case .put(let tree, let key, let value) = changes[0],
      case .put(let other, let otherKey, let otherValue) = changes[changes.count - 1]
    else { throw Mismatch("\(changes) is no list") }
    var replaced: [UInt8]?
    if changes.count == 3, case .deleteLate(_, let key) = changes[1] { replaced = plan.keys[key] }
    try store!.commit(
      putting: plan.keys[key], plan.values[value], in: trees[tree]!,
      andPutting: plan.keys[otherKey], plan.values[otherValue], replacing: replaced, in: trees[other]!)
  }

  private func single(_ change: ModelChange, _ durability: Durability) throws {
    let tree = trees[change.tree]!
    switch change {
    case .put(_, let key, let value): try tree.put(plan.keys[key], plan.values[value], durability)
    case .delete(_, let key): try tree.delete(plan.keys[key], durability)
    case .deleteLate(_, let key): try store!.write(durability) { $0.deleteLate(plan.keys[key], in: tree) }
    case .deleteRange(_, let from, let to):
      try tree.deleteRange(from: plan.keys[from], to: plan.keys[to], durability)
    }
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

  private func create(_ tree: Int) throws {
    guard trees[tree] == nil else { return }
    let before = ledger
    ledger.beginCreation(tree, keyCount: plan.keys.count)
    do {
      let handle = try store!.tree(ModelRunner.treeNames[tree], options.tree)
      ledger.endCreation(handle.core.id)
      trees[tree] = handle
      if options.keepsFilter { try handle.keepKeyFilter() }
    } catch {
      if error.code != .outcomeUnknown { ledger = before }
      throw error
    }
  }

  private func drop(_ tree: Int) throws {
    guard trees[tree] != nil, let index = ledger.current(tree) else { return }
    ledger.setLife(of: index, .dropping)
    do { try store!.dropTree(ModelRunner.treeNames[tree]) } catch {
      // Unless the outcome is unknown, which ends all writing, the tree is there still.
      if error.code != .outcomeUnknown { ledger.setLife(of: index, .live) }
      throw error
    }
    ledger.setLife(of: index, .dropped)
    trees[tree] = nil
  }

  /// Lets go of the store; cleanly, everything acknowledged is on disk then.
  func close(cleanly: Bool) throws {
    defer {
      trees = []
      store = nil
    }
    if cleanly, let store {
      try store.close()
      ledger.noteSynced()
    }
  }

  // MARK: - Reading

  /// What the store holds, by cursor; every eighth key is looked up as well.
  func contents() throws -> [CrashLedger.Found] {
    var found: [CrashLedger.Found] = []
    for (number, tree) in trees.enumerated() {
      guard let tree else { continue }
      var contents: [[UInt8]?] = Array(repeating: nil, count: plan.keys.count)
      var cursor = try tree.cursor()
      while try cursor.next() {
        guard let rank = plan.ranks[cursor.keyBytes] else {
          throw Mismatch("tree \(number): key \(cursor.keyBytes), which nobody wrote")
        }
        contents[rank] = cursor.valueBytes
      }
      lookups += 1
      for key in stride(from: lookups % 8, to: plan.keys.count, by: 8) {
        let value = try tree.get(plan.keys[key])
        try require(value == contents[key], "tree \(number), key \(key): get and cursor differ")
      }
      found.append(CrashLedger.Found(tree: number, id: tree.core.id, contents: contents))
    }
    return found
  }

  /// Whether each key reads as it was acknowledged and nothing else is seen, where it can be read
  /// at all.
  ///
  /// - Returns: the error that reading met.
  func compareAcknowledged() throws -> StoreError? {
    guard store != nil else { return nil }
    do {
      let found = try contents()
      _ = try ledger.visible.match(found, after: .process, orLateDeleted: true)
      return nil
    } catch let error as StoreError {
      return error
    } catch { throw Mismatch("read at step \(step): \(error)") }
  }

  func checkStore() throws { try checkTables(store!) }
}
