import Roost
import RoostSimulation
import TestSupport
import Testing

/// Two stores of one process write one key while the other is away. Had they one identity between
/// them, both would mint the same dots for it, and joining would drop one of the writes.
// Budget: 1 s
@Suite struct Interleaving01OneIdentityTests {
  @Test func `stores that wrote one key without each other keep both values`() throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(2)
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    #expect(Set(database.core.presentMembers.map(\.replica)).count == 2)
    try database.core.close()
    for (index, directory) in directories.enumerated() {
      database = try SynchronousDatabase(world, at: [directory]) { $0.allowsMissingStores = true }
      for number in 0..<20 { try database.put("k\(number)", "store\(index)") }
      try database.core.close()
    }
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    for number in 0..<20 { #expect(try database.values("k\(number)") == ["store0", "store1"]) }
  }

  @Test func `two databases that wrote one key keep both values`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    try a.put("k", "a")
    try b.put("k", "b")
    try a.exchange(with: b)
    #expect(try a.values("k") == ["a", "b"])
    #expect(try b.values("k") == ["a", "b"])
  }
}
