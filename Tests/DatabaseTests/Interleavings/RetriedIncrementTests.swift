import Roost
import RoostSimulation
import TestSupport
import Testing

/// An increment whose outcome nobody knows is tried again, at another replica that has not heard of the first
/// attempt. Without an id both count. With one they count once, also after the id was forgotten.
// Budget: 2 s
@Suite struct RetriedIncrementTests {
  private let directories = Databases.directories(2)
  private let keys = (0..<16).map { "k\($0)" }

  /// A database of two replicas, with one of them open.
  private func open(_ world: SimulatedEnvironment, only present: Int) throws -> SynchronousDatabase {
    try SynchronousDatabase(world, at: [directories[present]]) { $0.allowsMissingStores = true }
  }

  @Test func `an increment that is tried again at another replica counts once`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    let operation = database.core.shared.newOperation()
    try database.core.close()
    for present in [0, 1] {
      database = try open(world, only: present)
      for key in keys {
        #expect(try database.increment(key, by: 5, operation: operation))
        #expect(try !database.increment(key, by: 5, operation: operation))
        // What both attempts would have done without an id.
        try database.increment("plain" + key, by: 5)
      }
      try database.core.close()
    }
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    for key in keys {
      #expect(try database.count("plain" + key) == 10)
      #expect(try database.count(key) == 5)
      #expect(try !database.increment(key, by: 5, operation: operation))
    }
    // Forgotten by now, where the coordinator took the attempt that counts; the other one stays as it is.
    world.time.advance(byNanoseconds: 700_000_000_000)
    for key in keys {
      #expect(try database.increment(key, by: 1, operation: database.core.shared.newOperation()))
      #expect(try database.count(key) == 6)
      let records = try directories.compactMap { try database.record(key, inStore: $0) }
      #expect(records.count == 2 && Set(records).count == 1)
      #expect([1, 3].contains(records[0].state(as: PNCounter.self).operations.count))
    }
    let forgotten = try keys.count { key in
      try database.record(key)?.state(as: PNCounter.self).operations.count == 1
    }
    #expect(forgotten > 0, "none was")
    #expect(thrownCode { try keys.forEach { try database.increment($0, by: 5, operation: operation) } }
      == .operationExpired)
    for key in keys { #expect(try database.count(key) == 6) }
  }

  /// A replica that was away may have taken an attempt: nothing is forgotten without it.
  @Test func `nothing is forgotten while a replica is away`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    let operation = database.core.shared.newOperation()
    try database.core.close()
    for present in [0, 1] {
      database = try open(world, only: present)
      for key in keys { try database.increment(key, by: 5, operation: operation) }
      try database.core.close()
    }
    for present in [0, 1] {
      world.time.advance(byNanoseconds: 700_000_000_000)
      database = try open(world, only: present)
      for key in keys {
        try database.increment(key, by: 1, operation: database.core.shared.newOperation())
        #expect(try database.record(key)?.state(as: PNCounter.self).operations.count == 2)
      }
      try database.core.close()
    }
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    for key in keys { #expect(try database.count(key) == 7, "5 once, and 1 twice") }
  }

  @Test func `one that comes late is refused, unless it is remembered`() throws {
    let world = SimulatedEnvironment()
    let database = try SynchronousDatabase(world)
    let operation = database.core.shared.newOperation()
    let unused = database.core.shared.newOperation()
    let early = OperationID(high: operation.high + 501 << 16, low: 1)
    #expect(thrownCode { try database.increment("k", operation: early) } == .clockOutOfBound)
    try database.increment("k", operation: operation)
    world.time.advance(byNanoseconds: 299_000_000_000)
    try database.increment("k", operation: unused)
    world.time.advance(byNanoseconds: 2_000_000_000)
    let never = OperationID(high: operation.high, low: ~operation.low)
    #expect(thrownCode { try database.increment("k", operation: never) } == .operationExpired)
    #expect(try !database.increment("k", operation: operation))
    #expect(try database.count("k") == 2)
    world.time.advance(byNanoseconds: 400_000_000_000)
    try database.increment("k", operation: database.core.shared.newOperation())
    #expect(thrownCode { try database.increment("k", operation: operation) } == .operationExpired)
    #expect(try database.count("k") == 3)
  }

  @Test func `what a counter remembers is bounded, over restarts too`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world)
    for number in 1...60 {
      let operation = database.core.shared.newOperation()
      #expect(try database.increment("k", operation: operation))
      world.time.advance(byNanoseconds: 30_000_000_000)
      let remembered = try #require(try database.record("k")).state(as: PNCounter.self).operations.count
      #expect(remembered <= 22, "\(remembered)")
      #expect(try database.count("k") == Int64(number))
      if number % 20 == 0 { database = try database.reopened() }
    }
  }

  @Test func `what was remembered survives a kill`() throws {
    let world = SimulatedEnvironment()
    let database = try SynchronousDatabase(world)
    let operation = database.core.shared.newOperation()
    try database.increment("k", operation: operation)
    "k".withKeyBytes { try? database.posts.sync($0) }
    let again = try database.after(world.crashed(.dropAll, seed: 3))
    #expect(try !again.increment("k", operation: operation))
    again.world.time.advance(byNanoseconds: 900_000_000_000)
    try again.increment("k", operation: again.core.shared.newOperation())
    #expect(try again.count("k") == 2)
  }

  @Test func `fields of maps, and keys that hold something else`() throws {
    let database = try SynchronousDatabase()
    let operation = database.core.shared.newOperation()
    for _ in 0..<3 {
      for field in ["plays", "skips"] {
        try database.increment("map", by: 2, field: field, operation: operation)
      }
    }
    let map = try #require(try database.record("map")).state(as: ORMap.self)
    for field in ["plays", "skips"] {
      #expect(try map.field(Array(field.utf8), as: PNCounter.self).value() == 2)
    }
    #expect(thrownCode { try database.increment("map", operation: operation) } == .wrongKind)
    try database.put("value", "v")
    #expect(thrownCode { try database.increment("value", operation: operation) } == .wrongKind)
    #expect(thrownCode { try database.increment("value", field: "f", operation: operation) } == .wrongKind)
  }

  @Test func `handles count once`() async throws {
    let database = try await Databases.open(stores: 2, replicas: 2)
    let posts = try await database.keyspace("posts", .eventual)
    let operation = database.newOperation()
    for _ in 0..<3 {
      try await posts.counter("likes").increment(operation: operation)
      try await posts.map("song").counter("plays").increment(by: -4, operation: operation, .synced)
    }
    #expect(try await posts.counter("likes").value() == 1)
    #expect(try await posts.map("song").counter("plays").value() == -4)
    try await database.close()
  }
}

extension SynchronousDatabase {
  @discardableResult
  fileprivate func increment(
    _ key: String, by amount: Int64 = 1, field: String? = nil, operation: OperationID
  ) throws -> Bool {
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try posts.increment(bytes, field: field.map { Array($0.utf8) }, by: amount, operation: operation)
    }
  }
}
