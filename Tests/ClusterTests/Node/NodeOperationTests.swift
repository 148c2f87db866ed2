import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Increments with ids in a cluster: tried again at other nodes they count once.
// Budget: 3 s
@Suite struct NodeOperationTests {
  private func count(
    _ key: String, by amount: Int64 = 1, _ operation: OperationID, at index: Int, in world: NodeWorld
  ) throws {
    let once = KeyRequest.Operation.countOnce(amount, operation, field: nil)
    _ = try world.perform(KeyRequest(once, Array(key.utf8), in: "k"), at: index)
  }

  private func remembered(_ key: String, at index: Int, in world: NodeWorld) throws -> Int {
    try world.held(key, at: index)?.state(as: PNCounter.self).operations.count ?? 0
  }

  @Test func `an increment in doubt that is tried again at another node counts once`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let operation = world[0].core.shared.newOperation()
    try world.increment("n", at: 0)
    // It is at a quorum of nodes before anybody is cut off.
    try count("before", operation, at: 0, in: world)
    world.cut(0, 1)
    world.cut(0, 2)
    // A node alone cannot look whether another has counted: it does nothing.
    #expect(code { try count("n", by: 5, operation, at: 0, in: world) } == .unreachable)
    #expect(try world.held("n", at: 0)?.state(as: PNCounter.self).value() == 1)
    try count("n", by: 5, operation, at: 1, in: world)
    try count("before", operation, at: 2, in: world)
    world.heal()
    for index in 0..<3 { try count("n", by: 5, operation, at: index, in: world) }
    #expect(try world.count("n", at: 0, quorum: 3) == 6)
    #expect(try world.count("before", at: 0, quorum: 3) == 1)
    #expect(try world.agree(on: "n"))
  }

  /// Taken by one replica alone, which then is cut off, and by another that has not heard of it.
  @Test func `attempts at two nodes that had not heard of each other count once`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let operation = world[0].core.shared.newOperation()
    var alone = KeyRequest(.countOnce(5, operation, field: nil), Array("n".utf8), in: "k")
    alone.quorum = 1
    world.cut(0, 1)
    world.cut(0, 2)
    _ = try world.perform(alone, at: 0)
    try count("n", by: 5, operation, at: 1, in: world)
    #expect(try world.count("n", at: 2) == 5)
    world.heal()
    #expect(try world.count("n", at: 2, quorum: 3) == 5)
    #expect(try world.agree(on: "n"))
    #expect(try remembered("n", at: 0, in: world) == 2)
    for index in 0..<3 { try count("n", by: 5, operation, at: index, in: world) }
    #expect(try world.count("n", at: 0) == 5)
  }

  @Test func `a node that is no replica hands them on, with the fields of maps`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    for key in 0..<10 {
      let operation = world[0].core.shared.newOperation()
      for index in 0..<5 {
        try count("k\(key)", by: 3, operation, at: index, in: world)
        let field = KeyRequest.Operation.countOnce(-2, operation, field: [1, 2])
        _ = try world.perform(KeyRequest(field, Array("m\(key)".utf8), in: "k"), at: index)
      }
      #expect(try world.count("k\(key)", at: key % 5) == 3)
      let map = try #require(try world.get("m\(key)", at: 1).record).state(as: ORMap.self)
      #expect(try map.field([1, 2], as: PNCounter.self).value() == -2)
    }
  }

  @Test func `ids are forgotten once all replicas have answered, and not before`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let due = OperationWindow.dueAtLeast
    let first = world[0].core.shared.newOperation()
    try count("n", first, at: 0, in: world)
    for _ in 1..<due { try count("n", world[0].core.shared.newOperation(), at: 0, in: world) }
    #expect(try remembered("n", at: 0, in: world) == due)
    world.crash(2, .keepAll)
    world.time.advance(byNanoseconds: 601_000_000_000)
    try world.beat(2)
    try count("n", world[0].core.shared.newOperation(), at: 0, in: world)
    #expect(try remembered("n", at: 0, in: world) == due + 1, "one replica is away")
    try world.restart(2)
    try world.beat(2)
    try count("n", world[0].core.shared.newOperation(), at: 0, in: world)
    #expect(try remembered("n", at: 0, in: world) == 2)
    for index in 0..<3 {
      #expect(code { try count("n", first, at: index, in: world) } == .operationExpired)
      #expect(try world.count("n", at: index) == Int64(due) + 2)
    }
  }
}
