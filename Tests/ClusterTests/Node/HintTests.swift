import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Hints between nodes: who takes them, and what becomes of those that their target refuses.
// Budget: 5 s
@Suite struct HintTests {
  /// Three nodes, of which the last was away for some writes, `k0` and so on; the first keeps hints of them.
  private static func world(_ count: Int) throws -> NodeWorld {
    let world = try NodeWorld(3) { $0.repairInterval = nil }
    try world.make()
    world.crash(2, .keepAll)
    for number in 0..<count { try world.put("k\(number)", "v", at: 0) }
    try world.restart(2)
    #expect(world[0].hints.statistics.hints[world.id(2)] == count)
    return world
  }

  /// Has the last node refuse states: `refusal` says with what, if at all.
  private static func refuse(
    _ world: NodeWorld, _ refusal: @escaping (ReplicaMessage) -> DatabaseError?
  ) {
    let last = world.numbers[2]
    world.wire.fate = { message, _, to in
      guard message.kind == NodeMessageKind.apply, to == last,
        let state = try? ReplicaMessage(decoding: message.body), let error = refusal(state)
      else { return .arrives }
      return .refused(error)
    }
  }

  private static func left(_ world: NodeWorld) -> Int {
    world[0].hints.statistics.hints[world.id(2), default: 0]
  }

  @Test func `a target whose disk is full is left alone for a while, and holds up no other`() throws {
    let world = try Self.world(20)
    var asked = 0
    Self.refuse(world) { _ in
      asked += 1
      return DatabaseError(.storage, "no space is left on the disk")
    }
    let keyspace = try world[0].keyspace("k")
    let record = try #require(try world.held("k0", at: 0))
    try world[0].keepHint(for: world.id(1), keyspace, Array("k0".utf8), record)
    for beat in 1...3 {
      try world.beat()
      #expect(asked == beat, "one hint is tried each time")
    }
    #expect(Self.left(world) == 20)
    #expect(world[0].hints.statistics.hints[world.id(1)] == nil)
    world.wire.fate = { _, _, _ in .arrives }
    try world.beat(2)
    #expect(Self.left(world) == 0)
    for number in 0..<20 { #expect(try world.held("k\(number)", at: 2) != nil) }
  }

  @Test func `a hint that is refused for what it is holds up none behind it`() throws {
    let world = try Self.world(20)
    var asked = 0
    Self.refuse(world) { message in
      guard message.key == Array("k7".utf8) else { return nil }
      asked += 1
      return DatabaseError(.clockOutOfBound, "it is from the future")
    }
    try world.beat(2)
    #expect(Self.left(world) == 1 && asked >= 1)
    for number in 0..<20 { #expect(try (world.held("k\(number)", at: 2) == nil) == (number == 7)) }
    world.wire.fate = { _, _, _ in .arrives }
    try world.beat(2)
    #expect(Self.left(world) == 0)
    #expect(try world.held("k7", at: 2) != nil)
  }

  @Test func `hints that are all refused are each tried once in a beat, and kept`() throws {
    let world = try Self.world(20)
    var asked: [[UInt8]] = []
    Self.refuse(world) { message in
      asked.append(message.key)
      return DatabaseError(.clockOutOfBound, "it is from the future")
    }
    for beat in 1...3 {
      try world.beat()
      #expect(asked.count == 20 * beat && Set(asked).count == 20)
    }
    #expect(Self.left(world) == 20)
  }

  @Test func `what one replica does not take holds up no hint behind it`() throws {
    let world = try NodeWorld(4, replicas: 2) { $0.repairInterval = nil }
    try world.make()
    // It has no partition any more: all replicas get what is kept for it.
    let (unknown, down) = (MemberID(rawValue: 12_345), world.id(3))
    let keyspace = try world[0].keyspace("k")
    var (waiting, others): ([Int], [Int]) = ([], [])
    for number in 0..<40 {
      let key = "k\(number)"
      try world.put(key, "v", at: 0)
      let holder = try #require(try (0..<4).first { try world.held(key, at: $0) != nil })
      let record = try #require(try world.held(key, at: holder))
      try world[0].keepHint(for: unknown, keyspace, Array(key.utf8), record)
      let partition = world[0].partition(of: Array(key.utf8))
      if world[0].view.isReplica(down, of: partition) {
        waiting.append(partition)
      } else {
        others.append(partition)
      }
    }
    // They are handed over in the order of partitions.
    try #require((waiting.min() ?? .max) < (others.max() ?? 0))
    world.crash(3, .keepAll)
    try world.beat(2)
    #expect(world[0].hints.statistics.hints == [unknown: waiting.count])
    // Also where it is known to be down, by the end of its lease.
    try world.beat(12)
    #expect(world[0].hints.statistics.hints == [unknown: waiting.count])
    try world.restart(3)
    try world.beat(3)
    #expect(world[0].hints.statistics.hints.isEmpty)
  }

  @Test func `hints of one target that cannot be read hold up no other target's`() throws {
    let world = try NodeWorld(3) { $0.repairInterval = nil }
    try world.make()
    try world.put("k", "v", at: 0)
    let record = try #require(try world.held("k", at: 0))
    let keyspace = try world[0].keyspace("k")
    // It is the first one's turn.
    let targets = [world.id(1), world.id(2)].sorted()
    for target in targets { try world[0].keepHint(for: target, keyspace, Array("k".utf8), record) }
    let tree = try world[0].local.store.tree(HintStore.treeName)
    let damaged = Hint.key(targets[0], 0, 0, Array("damaged".utf8))
    try tree.put(damaged, [9] as [UInt8])
    try world.beat(2)
    #expect(world[0].hints.statistics.hints == [targets[0]: 1])
    try tree.delete(damaged)
    try world.beat(2)
    #expect(world[0].hints.statistics.hints.isEmpty)
  }

  @Test func `bytes of hints are counted that leave the node`() throws {
    let world = try NodeWorld(3) { $0.repairInterval = nil }
    try world.make()
    try world.put("k", "v", at: 0)
    let record = try #require(try world.held("k", at: 0))
    // It has no partition any more: all replicas get it, of which the node's own store is one.
    let unknown = MemberID(rawValue: 12_345)
    try world[0].keepHint(for: unknown, try world[0].keyspace("k"), Array("k".utf8), record)
    let bytes = world[0].hints.statistics.bytes
    try world.beat()
    #expect(world[0].hints.statistics.hints.isEmpty && bytes > 0)
    #expect(world[0].figures.hintBytesSent == UInt64(2 * bytes))
  }

  @Test func `a target that answers takes several hints at a time`() throws {
    let world = try Self.world(30)
    let last = world.numbers[2]
    world.wire.fate = { message, _, to in
      message.kind == NodeMessageKind.apply && to == last ? .held : .arrives
    }
    try world.beat()
    #expect(world.wire.heldCount == 1, "it has not answered yet")
    world.wire.fate = { _, _, _ in .arrives }
    world.wire.release()
    // The first of the next arrives.
    var asked = 0
    world.wire.fate = { message, _, to in
      guard message.kind == NodeMessageKind.apply, to == last else { return .arrives }
      asked += 1
      return asked == 1 ? .arrives : .held
    }
    try world.beat()
    #expect(world.wire.heldCount == 8)
    world.wire.fate = { _, _, _ in .arrives }
    world.wire.release()
    try world.beat(2)
    #expect(Self.left(world) == 0)
  }

  /// It looks at its hints once more before it goes, and one that came after that would be lost.
  @Test func `a node that is about to leave takes no hint`() throws {
    let world = try NodeWorld(4, replicas: 2) { $0.repairInterval = nil }
    try world.make()
    try world.put("k", "v", at: 0)
    let gone = world.id(1)
    world.subvert { $0.stopsBefore = [.compare] }
    _ = try world[0].changeMembers(MembersRequest([.remove(gone, isDead: false)]))
    for _ in 0..<40 where !world[1].view.isDeparting(gone) { try world.beat() }
    try #require(world[1].view.isDeparting(gone))
    let holder = try #require(try [0, 2, 3].first { try world.held("k", at: $0) != nil })
    let staying = [0, 2, 3].filter { $0 != holder }
    let keyspace = try world[holder].keyspace("k")
    var message = try world[holder].place(keyspace, Array("k".utf8), quorum: nil, isSynced: false).message
    message.record = try world.held("k", at: holder)
    message.target = world.id(staying[0])
    let body = message.encoded()
    #expect(code { try world[staying[1]].takeHint(body) { _ in } } == nil)
    let error = #expect(throws: DatabaseError.self) { try world[1].takeHint(body) { _ in } }
    #expect(error?.code == .staleRing)
    #expect(error?.message.contains("about to leave") == true)
  }

  /// Its caller is answered before a hint is kept: nothing else bounds how many wait for that.
  @Test func `hints that wait to be kept are bounded in bytes`() throws {
    let world = try NodeWorld(3) {
      $0.repairInterval = nil
      $0.waitingHintBytes = 4_000
    }
    try world.make()
    let background = HeldBackground()
    world.makeWorkers[0] = { HeldWorkers(background) }
    try world.close(0)
    try world.restart(0)
    let last = world.id(2)
    world.crash(2, .keepAll)
    func kept() -> Int { world[0].hints.statistics.hints[last, default: 0] }
    let value = String(repeating: "v", count: 1_000)
    background.isHeld = true
    for number in 0..<12 { try world.put("k\(number)", value, at: 0) }
    // Each takes its value and less than 300 bytes beside it: three find room.
    #expect(kept() == 0 && world[0].figures.hintsRefused == 9)
    background.isHeld = false
    world[0].runHere()
    #expect(kept() == 3)
    #expect(world[0].figures.hintsRefused == 9 && world[0].status.counters.hintsRefused == 9)
    // There is room again.
    for number in 12..<20 { try world.put("k\(number)", value, at: 0) }
    #expect(kept() == 11 && world[0].figures.hintsRefused == 9)
  }

  /// Else a write would be over, without a hint, when a silent replica is given up.
  @Test func `a replica is given up while there is time for a hint, whatever the timeout`() throws {
    let world = try NodeWorld(4, replicas: 3) { $0.replicaTimeout = .seconds(60) }
    try world.make()
    let key = try #require(
      (0..<200).map { "k\($0)" }.first { key in
        let replicas = world[0].core.ring.replicas(of: world[0].partition(of: Array(key.utf8)))
        return (0..<3).allSatisfy { replicas.contains(world.id($0)) }
      })
    let silent = [world.numbers[1], world.numbers[2]]
    world.wire.fate = { message, _, to in
      message.kind == NodeMessageKind.apply && silent.contains(to) ? .held : .arrives
    }
    let answer = Guarded<Result<KeyAnswer, DatabaseError>?>(nil)
    world[0].perform(
      KeyRequest(.put(Array("v".utf8), timeToLiveMilliseconds: nil), Array(key.utf8), in: "k"),
      deadline: world.time.monotonicNanoseconds + 4_000_000_000
    ) { result in answer.withLock { $0 = result } }
    #expect(world.wire.heldCount == 2)
    world.time.advance(byNanoseconds: 1_999_999_999)
    world.wire.expire(at: world.time.monotonicNanoseconds)
    #expect(answer.withLock { $0 == nil } && world.wire.heldCount == 2)
    world.time.advance(byNanoseconds: 1)
    world.wire.expire(at: world.time.monotonicNanoseconds)
    #expect(world[3].hints.statistics.hints.values.reduce(0, +) == 1)
    _ = try #require(answer.withLock { $0 }, "the hint did not count").get()
  }

  @Test func `where no other node can keep a hint, a replica has all the time that is left`() throws {
    let world = try NodeWorld(3) { $0.replicaTimeout = .seconds(60) }
    try world.make()
    let silent = [world.numbers[1], world.numbers[2]]
    world.wire.fate = { message, _, to in
      message.kind == NodeMessageKind.apply && silent.contains(to) ? .held : .arrives
    }
    let answer = Guarded<Result<KeyAnswer, DatabaseError>?>(nil)
    world[0].perform(
      KeyRequest(.put(Array("v".utf8), timeToLiveMilliseconds: nil), Array("k".utf8), in: "k"),
      deadline: world.time.monotonicNanoseconds + 4_000_000_000
    ) { result in answer.withLock { $0 = result } }
    #expect(world.wire.heldCount == 2)
    world.time.advance(byNanoseconds: 3_999_999_999)
    world.wire.expire(at: world.time.monotonicNanoseconds)
    #expect(answer.withLock { $0 == nil } && world.wire.heldCount == 2)
    world.time.advance(byNanoseconds: 1)
    world.wire.expire(at: world.time.monotonicNanoseconds)
    let result = try #require(answer.withLock { $0 }, "never answered")
    #expect(code { _ = try result.get() } == .indeterminate)
  }
}

/// Whether the background work of ``HeldWorkers`` stands still. Used by one thread.
private final class HeldBackground: @unchecked Sendable {
  var isHeld = false
}

/// The workers of a simulated node, whose background can stand still. Used by one thread.
private final class HeldWorkers: Workers, @unchecked Sendable {
  private let background: HeldBackground
  private let inner = ManualWorkers()
  private var held: [@Sendable () -> Void] = []

  init(_ background: HeldBackground) { self.background = background }

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    if background.isHeld, lane == .background { held.append(job) } else { inner.submit(lane, job) }
  }

  func runOneHere() -> Bool {
    if !background.isHeld {
      let jobs = held
      held = []
      for job in jobs { inner.submit(.background, job) }
    }
    return inner.runOneHere()
  }

  func shutdown() {
    held = []
    inner.shutdown()
  }
}
