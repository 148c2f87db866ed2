import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// What becomes of the hints of a node that goes for good.
// Budget: 5 s
@Suite struct LeavingHintTests {
  /// Five nodes, of which the first has no place in the ring any more, and is kept from deleting what it had.
  private static func departing(
    _ configure: @escaping (inout ClusterOptions) -> Void = { _ in }
  ) throws -> NodeWorld {
    let world = try NodeWorld(5, replicas: 3) {
      $0.repairInterval = nil
      configure(&$0)
    }
    try world.make()
    world.subvert([0]) {
      $0.stopsBefore = [.compare]
      // Else it would wait for one that is down.
      $0.dropsUncompared = true
    }
    let gone = world.id(0)
    _ = try world[1].changeMembers(MembersRequest([.remove(gone, isDead: false)]))
    for _ in 0..<60 where !world[0].view.isDeparting(gone) { try world.beat() }
    try #require(world[0].view.isDeparting(gone) && !world[0].view.isLeaving(gone))
    return world
  }

  private static func partition(_ key: String, _ world: NodeWorld) -> Int {
    world[1].partition(of: Array(key.utf8))
  }

  /// The first keys of which a node has a replica.
  private static func keys(_ count: Int, of index: Int, _ world: NodeWorld) -> [String] {
    let view = world[1].view
    let all = (0..<1_000).map { "k\($0)" }
    return Array(all.filter { view.isReplica(world.id(index), of: partition($0, world)) }.prefix(count))
  }

  /// Writes a key into one node's store alone.
  private static func write(
    _ key: String, _ value: String, at index: Int, _ world: NodeWorld
  ) throws -> Record {
    let put = KeyRequest.Operation.put(Array(value.utf8), timeToLiveMilliseconds: nil)
    _ = try world[index].keyspace("k").write(KeyRequest(put, Array(key.utf8), in: "k"))
    return try #require(try world.held(key, at: index))
  }

  private static func goAway(_ world: NodeWorld) throws {
    for _ in 0..<60 where !world[0].isDismissed { try world.beat() }
    #expect(world[0].isDismissed && world[0].hints.statistics.hints.isEmpty)
  }

  @Test func `a hint of a key that its target has no more waits for no replica that is down`() throws {
    let world = try Self.departing()
    let (view, down) = (world[1].view, world.id(4))
    let key = try #require(Self.keys(1, of: 4, world).first)
    let partition = Self.partition(key, world)
    let replicas = [1, 2, 3].filter { view.isReplica(world.id($0), of: partition) }
    let stranger = try #require([1, 2, 3].first { !view.isReplica(world.id($0), of: partition) })
    try #require(replicas.count == 2)
    let record = try Self.write(key, "v", at: replicas[0], world)
    world.crash(4, .keepAll)
    // Until its lease is over.
    try world.beat(12)
    try world[0].keepHint(for: world.id(stranger), try world[0].keyspace("k"), Array(key.utf8), record)
    world.subvert([0]) { $0.stopsBefore = [] }
    try Self.goAway(world)
    #expect(try world.held(key, at: replicas[1]) == record)
    #expect(world[stranger].hints.statistics.hints == [down: 1])
    try world.restart(4)
    try world.beat(3)
    #expect(try world.held(key, at: 4) == record)
    #expect(world[stranger].hints.statistics.hints.isEmpty)
  }

  @Test func `a member that is up and takes no hints holds up no node that leaves`() throws {
    let world = try Self.departing()
    let (view, full) = (world[1].view, world.id(4))
    let key = try #require(Self.keys(1, of: 4, world).first)
    let partition = Self.partition(key, world)
    let replica = try #require([1, 2, 3].first { view.isReplica(world.id($0), of: partition) })
    let stranger = try #require([1, 2, 3].first { !view.isReplica(world.id($0), of: partition) })
    let record = try Self.write(key, "v", at: replica, world)
    // Nor does the one with whom it would be left.
    let (last, other) = (world.numbers[4], world.numbers[stranger])
    world.wire.fate = { message, _, to in
      let isState = message.kind == NodeMessageKind.apply && to == last
      let isHint = message.kind == NodeMessageKind.hint && to == other
      guard isState || isHint else { return .arrives }
      return .refused(DatabaseError(.storage, "no space is left on the disk"))
    }
    try world[0].keepHint(for: full, try world[0].keyspace("k"), Array(key.utf8), record)
    world.subvert([0]) { $0.stopsBefore = [] }
    try Self.goAway(world)
    let keepers = (1...3).filter { world[$0].hints.statistics.hints == [full: 1] }
    #expect(keepers.count == 1 && keepers != [stranger])
    #expect(try world.held(key, at: 4) == nil)
    world.wire.fate = { _, _, _ in .arrives }
    try world.beat(3)
    #expect(try world.held(key, at: 4) == record)
    #expect((1...3).allSatisfy { world[$0].hints.statistics.hints.isEmpty })
  }

  @Test func `hints that are being handed over are not handed over beside that`() throws {
    let world = try Self.departing()
    let key = try #require(Self.keys(1, of: 1, world).first)
    let record = try Self.write(key, "v", at: 1, world)
    let (gone, first) = (world.id(0), world.numbers[0])
    try world[0].keepHint(for: world.id(1), try world[0].keyspace("k"), Array(key.utf8), record)
    var asked = 0
    world.wire.fate = { message, from, _ in
      guard message.kind == NodeMessageKind.apply, from == first else { return .arrives }
      asked += 1
      return .held
    }
    try world.beat()
    #expect(asked == 1)
    world.subvert([0]) { $0.stopsBefore = [] }
    for _ in 0..<60 where !world[0].view.isLeaving(gone) { try world.beat() }
    try world.beat(12)
    #expect(world[0].view.isLeaving(gone), "it waits for an answer")
    #expect(asked == 1)
    world.wire.fate = { _, _, _ in .arrives }
    world.wire.release()
    try Self.goAway(world)
  }

  @Test func `a node that leaves with an empty bucket goes once all is handed over at its rate`() throws {
    let rate = 4 << 10
    let world = try Self.departing { $0.hintBytesPerSecond = rate }
    let value = String(repeating: "x", count: 1_000)
    let keyspace = try world[0].keyspace("k")
    for key in Self.keys(40, of: 1, world) {
      let record = try Self.write(key, value, at: 1, world)
      try world[0].keepHint(for: world.id(1), keyspace, Array(key.utf8), record)
    }
    let bytes = world[0].hints.statistics.bytes
    let (pace, owed) = (world[0].paces.hints, 20_000)
    pace.note(owed, at: world[0].now)
    world.subvert([0]) { $0.stopsBefore = [] }
    let seconds = try PacedWorkTests.pass(world, atMost: 120, until: { world[0].isDismissed }, {})
    let least = Double(owed + bytes - 4_096 - 1_200) / Double(rate)
    #expect(least > 10 && seconds >= least, "\(seconds) s, at least \(least)")
    // What it is to delete, and what failed, is tried again each eight seconds at the least.
    #expect(seconds <= 1.2 * least + 30, "\(seconds) s, about \(least)")
    #expect(world[0].hints.statistics.hints.isEmpty)
    #expect(pace.noted == UInt64(owed + bytes), "each once")
    #expect(world[0].figures.hintBytesSent == UInt64(bytes))
  }
}
