import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Stores that come, go and are weighed anew: who holds what afterwards, and what is refused.
// Budget: 3 s
@Suite struct RebalanceTests {
  static func fill(_ core: DatabaseCore, _ count: Int = 200) throws -> KeyspaceCore {
    let keyspace = try core.keyspace("values", .eventual)
    for number in 0..<count { try keyspace.put(text: "k\(number)", "v\(number)") }
    return keyspace
  }

  static func check(_ keyspace: KeyspaceCore, _ count: Int = 200) throws {
    for number in 0..<count {
      let values = try keyspace.values(text: "k\(number)")
      try require(values == ["v\(number)"], "k\(number) reads as \(values)")
    }
  }

  @Test(arguments: [1, 2])
  func `a store is added, weighed and removed, and every key is where the ring says`(
    replicas: Int
  ) throws {
    let world = TransferWorld(seed: 1)
    let core = try world.open([0, 1, 2], replicas: replicas)
    let keyspace = try Self.fill(core)
    let added = try core.addStore(TransferWorld.path(3), weight: 100, zone: "")
    #expect(!core.rebalance.isBalanced)
    #expect(core.rebalance.movesLeft > 0)
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.load(of: added).slots == 4 * replicas)
    #expect(core.rebalance.movesDone == 4 * replicas)
    try core.checkPlacement()
    try Self.check(keyspace)

    try core.changeStore(added, weight: 300, zone: nil)
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.load(of: added).slots == (replicas == 1 ? 8 : 16))
    try core.checkPlacement()
    try Self.check(keyspace)

    let first = try core.memberID(at: TransferWorld.path(0))
    try core.removeStore(first)
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.ringSnapshot.ring.member(first) == nil)
    #expect(core.presentMembers.count == 3)
    try core.checkPlacement()
    try Self.check(keyspace)
    try core.close()

    // Without it; and with it no more.
    let error = databaseError { _ = try world.open([0, 1, 2, 3], replicas: replicas) }
    #expect(error?.code == .notAMember)
    let reopened = try world.open([3, 2, 1], replicas: replicas)
    #expect(reopened.rebalance.isBalanced)
    try Self.check(try reopened.keyspace("values", nil))
    try reopened.close()
  }

  @Test func `a store that left comes back empty`() throws {
    let world = TransferWorld(seed: 2)
    let core = try world.open([0, 1])
    let keyspace = try Self.fill(core)
    let second = try core.memberID(at: TransferWorld.path(1))
    try core.removeStore(second)
    try core.waitUntilBalanced(.seconds(60))
    // Keys that the old store knew are deleted meanwhile.
    for number in 0..<100 { try keyspace.delete(text: "k\(number)") }
    let again = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    #expect(again != second)
    try core.waitUntilBalanced(.seconds(60))
    try core.checkPlacement()
    for number in 0..<200 {
      #expect(try keyspace.values(text: "k\(number)") == (number < 100 ? [] : ["v\(number)"]))
    }
    try core.close()
  }

  @Test func `a change while another is carried out is planned anew`() throws {
    let world = TransferWorld(seed: 3)
    let core = try world.open([0, 1])
    let keyspace = try Self.fill(core)
    let third = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
    world.run(9)
    let fourth = try core.addStore(TransferWorld.path(3), weight: 100, zone: "")
    world.run(5)
    try core.removeStore(third)
    world.run(7)
    try core.changeStore(fourth, weight: 50, zone: "attic")
    try core.waitUntilBalanced(.seconds(60))
    #expect(core.presentMembers.map(\.path).sorted() == [0, 1, 3].map(TransferWorld.path))
    #expect(core.ringSnapshot.ring.member(fourth)?.zone == "attic")
    try core.checkPlacement()
    try Self.check(keyspace)
    try core.close()
  }

  @Test func `a keyspace made while a partition moves is whole`() throws {
    let world = TransferWorld(seed: 4)
    let core = try world.open([0])
    _ = try Self.fill(core)
    _ = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    world.run(2)
    let late = try core.keyspace("late", .eventual)
    for number in 0..<200 {
      try late.put(text: "k\(number)", "v\(number)")
      if number % 20 == 0 { world.run(1) }
    }
    try core.waitUntilBalanced(.seconds(60))
    try Self.check(late)
    try core.checkPlacement()
    try core.close()
  }

  @Test func `a keyspace that nobody opened moves too`() throws {
    let world = TransferWorld(seed: 5)
    var core = try world.open([0])
    _ = try Self.fill(core)
    try core.close()
    core = try world.open([0])
    _ = try core.addStore(TransferWorld.path(1), weight: 100, zone: "")
    try core.waitUntilBalanced(.seconds(60))
    try core.checkPlacement()
    try Self.check(try core.keyspace("values", .eventual))
    try core.close()
  }

  @Test func `moves go on where they were when the database is opened again`() throws {
    let world = TransferWorld(seed: 6)
    var core = try world.open([0, 1])
    _ = try Self.fill(core)
    _ = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
    world.run(10)
    let left = core.rebalance.movesLeft
    #expect(left > 0)
    try core.close()
    core = try world.open([0, 1, 2])
    #expect(core.rebalance.movesLeft == left)
    try core.waitUntilBalanced(.seconds(60))
    try core.checkPlacement()
    try Self.check(try core.keyspace("values", nil))
    try core.close()
  }

  @Test func `what is refused says why`() throws {
    let world = TransferWorld(seed: 7)
    let core = try world.open([0, 1], replicas: 2)
    let first = try core.memberID(at: TransferWorld.path(0))
    func refused(_ code: DatabaseError.Code, _ word: String, _ body: () throws -> Void) {
      let error = databaseError(body)
      #expect(error?.code == code, "\(String(describing: error))")
      #expect(error?.message.contains(word) == true, "\(String(describing: error))")
    }
    refused(.invalidArgument, "weight") {
      _ = try core.addStore(TransferWorld.path(5), weight: 0, zone: "")
    }
    refused(.invalidArgument, "weight") { try core.changeStore(first, weight: 0, zone: nil) }
    refused(.invalidArgument, "weight") { try core.changeStore(first, weight: 1001, zone: nil) }
    refused(.invalidArgument, "already") {
      _ = try core.addStore(TransferWorld.path(0) + "/", weight: 1, zone: "")
    }
    refused(.tooManyReplicas, "2 replicas") { try core.removeStore(first) }
    refused(.notAMember, "s9") { _ = try core.memberID(at: TransferWorld.path(9)) }
    refused(.notAMember, "0000000000000001") { try core.checkMember(MemberID(rawValue: 1)) }

    let other = try world.open([7])
    try other.close()
    refused(.foreignStore, "another database") {
      _ = try core.addStore(TransferWorld.path(7), weight: 1, zone: "")
    }
    let plain = try Store.open(at: TransferWorld.path(8), environment: world.environment)
    _ = try plain.tree("users")
    try plain.close()
    refused(.foreignStore, "users") { _ = try core.addStore(TransferWorld.path(8), weight: 1, zone: "") }
    #expect(core.presentMembers.count == 2)
    #expect(core.rebalance.isBalanced)
    try core.close()
    refused(.closed, "closed") { _ = try core.addStore(TransferWorld.path(5), weight: 1, zone: "") }

    let single = try world.open([10])
    let only = try single.memberID(at: TransferWorld.path(10))
    refused(.tooManyReplicas, "at least one") { try single.removeStore(only) }
    try single.close()
  }

  @Test func `the ring stays while stores are missing`() throws {
    let world = TransferWorld(seed: 8)
    var core = try world.open([0, 1])
    _ = try Self.fill(core)
    _ = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
    world.run(5)
    try core.close()
    core = try world.open([0, 2]) { $0.allowsMissingStores = true }
    let error = databaseError { _ = try core.addStore(TransferWorld.path(3), weight: 1, zone: "") }
    #expect(error?.code == .missingStore)
    #expect(databaseError { try core.waitUntilBalanced(.seconds(1)) }?.code == .missingStore)
    let left = core.rebalance
    world.run()
    #expect(core.rebalance.movesLeft == left.movesLeft)
    try core.close()
    core = try world.open([0, 1, 2])
    try core.waitUntilBalanced(.seconds(60))
    try core.checkPlacement()
    try Self.check(try core.keyspace("values", nil))
    try core.close()
  }
}
