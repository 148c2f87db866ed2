import RoostCausality
import RoostEnvironment
import RoostStorage

extension ClusterNode {
  /// Compares all that this node holds with the other replicas, by hash trees, and mends what differs.
  ///
  /// - Parameters:
  ///   - isFull: whether all records are read for it, here and there, and the leaves that are kept are
  ///     checked by them.
  ///   - reply: called once, by the deadline: with what was compared and what could not be; with `.closed`,
  ///     or what opening a keyspace throws.
  package func repair(
    until deadline: UInt64, isFull: Bool = false, _ reply: @escaping Answer<RepairReport>
  ) {
    run(.background, until: deadline, refused: { reply(.failure($0)) }) { [self] in
      let number = Guard<UInt64?>(nil)
      do throws(DatabaseError) {
        let repair = TreeRepair(
          self, try eventualKeyspaces(), deadline: deadline, pace: nil, fullEvery: isFull ? 1 : nil
        ) { [weak self] result in
          self?.ended(result)
          if let number = number.value { self?.strike(number) }
          reply(result)
        }
        number.value = enlist(repair)
        repair.begin()
      } catch { reply(.failure(error)) }
    }
  }

  private func ended(_ result: Result<RepairReport, DatabaseError>) {
    guard case .success(let report) = result else { return }
    repairs.ended(
      NodeStatus.RepairPass(ended: core.shared.clock.physicalMilliseconds, report: report))
  }

  /// The last whole comparison.
  var lastPass: NodeStatus.RepairPass? { repairs.lastPass }

  func eventualKeyspaces() throws(DatabaseError) -> [KeyspaceCore] {
    var keyspaces: [KeyspaceCore] = []
    for entry in core.keyspaceEntries where entry.kind != .transactional {
      keyspaces.append(try keyspace(entry.name))
    }
    return keyspaces
  }

  // MARK: - In the background

  /// Lets the pass that is under way go on by as much as is due, or begins the next.
  func repairInBackground() {
    guard let interval = options.repairInterval, core.ring.replicas > 1 else { return }
    repairs.beat(at: now, interval: interval.wholeNanoseconds) {
      guard let keyspaces = try? eventualKeyspaces(), !keyspaces.isEmpty else { return nil }
      let fullEvery = options.fullRepairEvery
      return TreeRepair(self, keyspaces, pace: paces.repairs, fullEvery: fullEvery) { [weak self] result in
        guard let self else { return }
        repairs.backgroundEnded(at: now)
        ended(result)
      }
    }
  }

  // MARK: - For other replicas

  /// Answers a question about a tree.
  ///
  /// - Throws: `.invalidArgument` (the message; a partition that there is not), `.newerFormat`,
  ///   `.foreignStore`, `.staleRing` (by another ring), `.unreachable` (no replica of the partition),
  ///   `.unknownKeyspace`, and what reading the partition throws.
  func compare(_ body: [UInt8], _ isCancelled: () -> Bool) throws(DatabaseError) -> [UInt8] {
    let request = try TreeRequest(decoding: body)
    try check(request.head, request.partition)
    let keyspace = try keyspace(request.head.keyspace)
    guard view.isReplica(local.id, of: request.partition, in: keyspace) else {
      throw DatabaseError(.unreachable, "\(local.path) is no replica of partition \(request.partition)")
    }
    if request.isSynced, request.question == .root {
      try storing("\(local.path) could not be synced") { () throws(StoreError) in
        try local.store.syncBesideWriters()
      }
    }
    if case .keys(let leaves, let after) = request.question {
      guard after.count <= StoredKey.longestKey else {
        throw DatabaseError(.invalidArgument, "a key of \(after.count) bytes")
      }
      let page = try keyspace.hashedKeys(
        of: request.partition, on: local, in: leaves, seed: request.seed, after: after,
        byteLimit: min(request.byteLimit, NodeRepairs.mostPageBytes), isCancelled: isCancelled)
      return TreeAnswer.keys(page).encoded(request.question)
    }
    // The questions of one comparison come shortly after each other, and mostly there is but the first.
    let name = NodeRepairs.TreeName(
      keyspace: request.head.keyspace, partition: request.partition, seed: request.seed)
    // Comparisons by kept leaves all have one seed: a new one begins with the root.
    let isNew = request.question == .root && request.seed == keyspace.leafSeed
    let tree: HashTree
    if let known = repairs.tree(name), !isNew {
      tree = known
    } else {
      let made = try keyspace.comparedTree(
        of: request.partition, on: local, seed: request.seed, isCancelled: isCancelled)
      repairs.count(made)
      tree = made.tree
      repairs.keep(tree, as: name)
    }
    let hashes: [UInt64] =
      switch request.question {
      case .root: [tree.root]
      case .groups: tree.groups
      case .leaves(let groups): groups.groups.flatMap { tree.leaves(ofGroup: $0) }
      case .keys: []
      }
    return TreeAnswer.hashes(hashes).encoded(request.question)
  }
}

/// What a node remembers of comparisons. Thread-safe.
final class NodeRepairs: @unchecked Sendable {
  /// Which tree.
  struct TreeName: Equatable {
    var keyspace: UInt64
    var partition: Int
    var seed: UInt64
  }

  /// The longest page of keys that another node is given, about.
  static let mostPageBytes = 256 << 10
  /// Trees that are kept for the next question: 12 KiB each.
  private static let mostTrees = 8

  private let lock = Lock()
  // Guarded by `lock`.
  private var known: [(name: TreeName, tree: HashTree)] = []
  private var last: NodeStatus.RepairPass?
  private var ended: (count: UInt64, mended: UInt64, notCompared: UInt64) = (0, 0, 0)
  private var byteCount: UInt64 = 0
  private var made: (kept: UInt64, scanned: UInt64, wrongLeaves: UInt64) = (0, 0, 0)
  private var schedule: RepairSchedule?
  private var background: TreeRepair?
  private var isClosed = false

  var lastPass: NodeStatus.RepairPass? { lock.withLock { last } }

  /// Of all passes that have ended.
  var totals: (count: UInt64, mended: UInt64, notCompared: UInt64) { lock.withLock { ended } }

  /// Of messages of this node's passes and their answers.
  var bytes: UInt64 { lock.withLock { byteCount } }

  /// Trees from kept leaves and from records, of this node's comparisons and others', and leaves found wrong.
  var trees: (kept: UInt64, scanned: UInt64, wrongLeaves: UInt64) { lock.withLock { made } }

  func count(_ tree: MadeTree) {
    lock.withLock {
      if tree.isScanned { made.scanned += 1 } else { made.kept += 1 }
      made.wrongLeaves += UInt64(tree.wrongLeaves)
    }
  }

  func count(bytes: Int) { lock.withLock { byteCount += UInt64(bytes) } }

  func ended(_ pass: NodeStatus.RepairPass) {
    lock.withLock {
      last = pass
      ended.count += 1
      ended.mended += pass.report.mended
      ended.notCompared += pass.report.notCompared
    }
  }

  func tree(_ name: TreeName) -> HashTree? { lock.withLock { known.first { $0.name == name }?.tree } }

  func keep(_ tree: HashTree, as name: TreeName) {
    lock.withLock {
      known.removeAll { $0.name == name }
      if known.count == Self.mostTrees { known.removeFirst() }
      known.append((name, tree))
    }
  }

  /// Lets the background's pass go on.
  ///
  /// - Parameter begin: makes the next pass, where one is due; `nil` where there is nothing to compare.
  func beat(at now: UInt64, interval: UInt64, _ begin: () -> TreeRepair?) {
    let mayBegin = lock.withLock { () -> Bool in
      if isClosed { return false }
      if schedule == nil { schedule = RepairSchedule(interval: interval, at: now) }
      return background == nil && schedule.map { $0.start <= now } == true
    }
    // Outside the lock: it may ask the directory.
    let next = mayBegin ? begin() : nil
    let (pass, due) = lock.withLock { () -> (TreeRepair?, Int) in
      if isClosed { return (nil, 0) }
      if background == nil, mayBegin {
        background = next
        // Nothing to compare: what there will be is spread over an interval of its own.
        if next == nil { schedule = RepairSchedule(interval: interval, at: now) }
      }
      guard let background, let schedule else { return (nil, 0) }
      return (background, schedule.due(of: background.partitionCount, at: now))
    }
    if due > 0 { pass?.allow(partitions: due) }
  }

  /// The background's pass has ended: the next one begins when it is due.
  func backgroundEnded(at now: UInt64) {
    lock.withLock {
      background = nil
      schedule?.passEnded(at: now)
    }
  }

  /// The node closes.
  func end() {
    let pass = lock.withLock {
      isClosed = true
      defer { background = nil }
      return background
    }
    pass?.end()
  }
}

/// A value behind a lock. Thread-safe.
private final class Guard<Value>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var held: Value

  init(_ value: Value) { held = value }

  var value: Value {
    get { lock.withLock { held } }
    set { lock.withLock { held = newValue } }
  }
}
