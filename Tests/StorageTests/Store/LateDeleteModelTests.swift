import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Random writes with late deletes, held against a model that knows of each key what must be read and what
/// may be: a value that was deleted late until the next flush, and nothing of it from then on.
// Budget: 4 s
@Suite struct LateDeleteModelTests {
  /// What reads of one tree may find.
  private struct Contents {
    var live: [[UInt8]: [UInt8]] = [:]
    /// Deleted late, and not yet flushed for certain.
    var late: [[UInt8]: [UInt8]] = [:]

    mutating func put(_ key: [UInt8], _ value: [UInt8]) {
      live[key] = value
      late[key] = nil
    }

    mutating func delete(_ key: [UInt8]) {
      live[key] = nil
      late[key] = nil
    }

    mutating func deleteLate(_ key: [UInt8]) {
      late[key] = live[key] ?? late[key]
      live[key] = nil
    }

    func check(_ key: [UInt8], _ found: [UInt8]?) throws {
      if found == live[key] { return }
      try require(
        live[key] == nil && found == late[key],
        "key \(key): found \(found ?? []), live \(live[key] ?? []), late \(late[key] ?? [])")
    }
  }

  private final class Held {
    let snapshot: Snapshot
    var contents: Contents

    init(_ snapshot: consuming Snapshot, _ contents: Contents) {
      self.snapshot = snapshot
      self.contents = contents
    }
  }

  private final class Run {
    private let world: SimulatedStore
    private let options: StoreOptions
    private var treeOptions = TreeOptions()
    private let keepsFilter: Bool
    private let keys: [[UInt8]]
    private var store: Store?
    private var tree: Tree?
    private var contents = Contents()
    private var held: [Held] = []
    private var random: SplitMix64
    private var written = 0

    init(seed: UInt64, _ random: inout SplitMix64) throws {
      world = SimulatedStore(seed: seed)
      let access: StoreOptions.LogAccess = random.below(2) == 0 ? .mapped : .calls
      options = .small {
        $0.logAccess = access
        $0.logLimitBytes = 256 << 10
      }
      treeOptions.cutPrefixLength = random.below(3)
      treeOptions.tableBytes = 16 << 10
      keepsFilter = random.below(2) == 0
      var keys: Set<[UInt8]> = []
      for _ in 0..<(20 + random.below(200)) {
        keys.insert([0, UInt8(random.below(4))] + random.bytes(random.below(12)))
      }
      self.keys = keys.sorted { $0.lexicographicallyPrecedes($1) }
      self.random = SplitMix64(seed: random.next())
      try open()
    }

    private func open() throws {
      store = try world.open(options)
      tree = try store!.tree("t", treeOptions)
      if keepsFilter { try tree!.keepKeyFilter() }
    }

    private func key() -> [UInt8] { keys[random.below(keys.count)] }

    func run(_ steps: Int) throws {
      for _ in 0..<steps { try step() }
      try flush()
      try checkAll()
      try close()
    }

    private func step() throws {
      switch random.below(100) {
      case 0..<45:
        try store!.write { batch in
          for _ in 0...random.below(4) { change(&batch) }
        }
      case 45..<70: try check(key())
      case 70..<74: try checkAll()
      case 74..<78: try flush()
      case 78..<80: try tree!.compact()
      case 80..<90: _ = world.workers.runOneHere()
      case 90..<94 where held.count < 4: held.append(Held(store!.snapshot(), contents))
      case 94..<97 where !held.isEmpty: held.remove(at: random.below(held.count))
      case 97: try reopen()
      default: break
      }
    }

    private func change(_ batch: inout WriteBatch) {
      let key = key()
      switch random.below(10) {
      case 0..<5:
        written += 1
        let value = (0..<8).map { UInt8(truncatingIfNeeded: written >> ($0 * 8)) } + random.bytes(200)
        batch.put(key, value, in: tree!)
        contents.put(key, value)
      case 5:
        batch.delete(key, in: tree!)
        contents.delete(key)
      case 6 where random.below(4) == 0:
        let end = self.key()
        batch.deleteRange(from: key, to: end, in: tree!)
        for other in keys
        where !other.lexicographicallyPrecedes(key) && other.lexicographicallyPrecedes(end) {
          contents.delete(other)
        }
      default:
        batch.deleteLate(key, in: tree!)
        contents.deleteLate(key)
      }
    }

    /// From now on nothing that was deleted late is found, by whomever it should not be.
    private func flush() throws {
      try tree!.flush()
      contents.late = [:]
      for held in held { held.contents.late = [:] }
    }

    /// After a clean close, or as a kill left it.
    private func reopen() throws {
      held = []
      if random.below(2) == 0 {
        try close()
        try open()
      } else {
        // All that was written reads alike in what a kill leaves.
        let killed = try world.killed().open(options)
        var after = contents
        after.late = [:]
        try compare(try killed.tree("t", treeOptions).cursor(), after)
        try killed.close()
        return
      }
      contents.late = [:]
      try checkAll()
    }

    private func close() throws {
      held = []
      tree = nil
      let closing = store
      store = nil
      try closing?.close()
    }

    private func check(_ key: [UInt8]) throws {
      try contents.check(key, try tree!.get(key))
      for held in held { try held.contents.check(key, try tree!.get(key, at: held.snapshot)) }
    }

    private func checkAll() throws {
      try compare(try tree!.cursor(), contents)
      for held in held { try compare(try tree!.cursor(at: held.snapshot), held.contents) }
    }

    private func compare(_ cursor: consuming Cursor, _ contents: Contents) throws {
      var cursor = cursor
      var found: [[UInt8]: [UInt8]] = [:]
      while try cursor.next() { found[cursor.keyBytes] = cursor.valueBytes }
      for key in keys { try contents.check(key, found[key]) }
      try require(found.keys.allSatisfy { keys.contains($0) }, "a key that nobody wrote")
    }
  }

  @Test func `reads find what a late delete leaves, until the flush`() throws {
    let name = "StorageTests.LateDeleteModelTests"
    try withSeeds(name, count: TestSize.of(quick: 12, full: 200)) { seed, random in
      try Run(seed: seed, &random).run(300)
    }
  }
}
