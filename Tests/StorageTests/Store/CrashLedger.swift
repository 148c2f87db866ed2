import RoostEnvironment
import TestSupport

@testable import RoostStorage

/// What a store was asked to write, in order, and how much of it was acknowledged: what must be
/// there after a crash, and what may be.
///
/// State k is what the trees hold after the first k commits. A recovered store must be in one of
/// the states from the last one acknowledged (as synced, where the power was lost) to the last one
/// issued: so commits survive in order, whole, across trees. States are kept as one hash a tree. A
/// plain value: a crash point keeps a copy.
struct CrashLedger: Sendable {
  enum Life: Sendable { case creating, live, dropping, dropped }

  /// One tree of its name, from its creation to its end.
  struct Incarnation: Sendable {
    var tree: Int
    /// Unknown until the creation has returned.
    var id: UInt64?
    var life: Life
    var contents: [[UInt8]?]
    var hash: UInt64 = 0
    /// By key, values that were deleted late: to be found until the memtable is flushed or the store opened
    /// again. Those of all that was issued, and of what was acknowledged.
    var issuedLate: [Int: [UInt8]] = [:]
    var late: [Int: [UInt8]] = [:]
  }

  enum Loss: Sendable {
    /// The process ended: what it wrote is with the operating system.
    case process
    /// The machine stopped: what was not synced may be gone.
    case power
  }

  private(set) var incarnations: [Incarnation] = []
  /// `states[k][i]`: the hash of incarnation i after k commits; later incarnations were empty.
  private(set) var states: [[UInt64]] = [[]]
  /// How many commits were acknowledged, and how many as synced.
  private(set) var acknowledged = 0
  private(set) var synced = 0

  static func hash(_ incarnation: Int, _ key: Int, _ value: [UInt8]) -> UInt64 {
    value.withByteView {
      XXH64.hash(
        $0, seed: UInt64(incarnation + 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(key + 1) &* 0xC2B2_AE3D)
    }
  }

  /// The incarnation that writes to a tree go to now.
  func current(_ tree: Int) -> Int? {
    incarnations.lastIndex { $0.tree == tree && $0.life == .live }
  }

  // MARK: - What is done

  /// Notes that a commit begins: from now on it may be there after a crash.
  mutating func issue(_ changes: [ModelChange], _ plan: CrashPlan) {
    for change in changes {
      guard let index = current(change.tree) else { continue }
      switch change {
      case .put(_, let key, let value): set(index, key, plan.values[value])
      case .delete(_, let key): set(index, key, nil)
      case .deleteLate(_, let key):
        let late = incarnations[index].contents[key] ?? incarnations[index].issuedLate[key]
        set(index, key, nil)
        incarnations[index].issuedLate[key] = late
      case .deleteRange(_, let from, let to):
        if from < to { for key in from..<to { set(index, key, nil) } }
      }
    }
    states.append(incarnations.map(\.hash))
  }

  private mutating func set(_ index: Int, _ key: Int, _ value: [UInt8]?) {
    if let old = incarnations[index].contents[key] {
      incarnations[index].hash ^= Self.hash(index, key, old)
    }
    if let value { incarnations[index].hash ^= Self.hash(index, key, value) }
    incarnations[index].contents[key] = value
    incarnations[index].issuedLate[key] = nil
  }

  mutating func acknowledge(synced isSynced: Bool) {
    acknowledged = states.count - 1
    if isSynced { synced = acknowledged }
    for index in incarnations.indices { incarnations[index].late = incarnations[index].issuedLate }
  }

  /// Everything acknowledged is on disk.
  mutating func noteSynced() { synced = acknowledged }

  mutating func beginCreation(_ tree: Int, keyCount: Int) {
    incarnations.append(
      Incarnation(tree: tree, life: .creating, contents: Array(repeating: nil, count: keyCount)))
  }

  mutating func endCreation(_ id: UInt64) {
    incarnations[incarnations.count - 1].id = id
    incarnations[incarnations.count - 1].life = .live
  }

  mutating func setLife(of index: Int, _ life: Life) { incarnations[index].life = life }

  /// As if nothing had been issued but what was acknowledged: what readers see.
  var visible: CrashLedger {
    var visible = self
    visible.states.removeLast(states.count - 1 - acknowledged)
    return visible
  }

  // MARK: - What is found

  /// What a recovered store holds: one entry a tree.
  struct Found {
    var tree: Int
    var id: UInt64
    var contents: [[UInt8]?]
  }

  /// Which state the trees are in.
  ///
  /// - Parameter orLateDeleted: whether values that were deleted late may still be there.
  /// - Throws: ``Mismatch`` where it is none that the loss allows.
  func match(_ found: [Found], after loss: Loss, orLateDeleted: Bool = false) throws -> Int {
    var hashes: [Int: UInt64] = [:]
    for tree in found {
      let index = incarnations.lastIndex {
        $0.tree == tree.tree && ($0.id == nil || $0.id == tree.id) && $0.life != .dropped
      }
      guard let index else {
        throw Mismatch("tree \(tree.tree) with id \(tree.id) was dropped or never created")
      }
      var hash: UInt64 = 0
      for (key, value) in tree.contents.enumerated() {
        guard let value, !(orLateDeleted && incarnations[index].late[key] == value) else { continue }
        hash ^= Self.hash(index, key, value)
      }
      hashes[index] = hash
    }
    for (index, incarnation) in incarnations.enumerated() where incarnation.life == .live {
      try require(hashes[index] != nil, "tree \(incarnation.tree) is missing")
    }
    func isState(_ number: Int) -> Bool {
      hashes.allSatisfy { index, hash in
        (index < states[number].count ? states[number][index] : 0) == hash
      }
    }
    let least = loss == .process ? acknowledged : synced
    if let match = (least..<states.count).last(where: isState) { return match }
    let other = states.indices.last(where: isState)
    let text =
      other.map { "state \($0) came back" }
      ?? "what came back is no state: "
      + hashes.sorted { $0.key < $1.key }.map { index, hash in
        let alone = states.indices.last {
          (index < states[$0].count ? states[$0][index] : 0) == hash
        }
        return "tree \(incarnations[index].tree) in state \(alone.map(String.init) ?? "none")"
      }.joined(separator: ", ")
    throw Mismatch(
      text
        + "; acknowledged \(acknowledged), synced \(synced), issued \(states.count - 1), "
        + "after loss of \(loss)"
    )
  }

  /// A ledger that begins with what was found: all of it is on disk.
  func rebased(on found: [Found]) -> CrashLedger {
    var next = CrashLedger()
    for tree in found {
      var incarnation = Incarnation(
        tree: tree.tree, id: tree.id, life: .live, contents: tree.contents)
      for (key, value) in tree.contents.enumerated() {
        if let value { incarnation.hash ^= Self.hash(next.incarnations.count, key, value) }
      }
      next.incarnations.append(incarnation)
    }
    next.states = [next.incarnations.map(\.hash)]
    return next
  }
}
