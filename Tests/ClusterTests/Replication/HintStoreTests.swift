import RoostCausality
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// What a store keeps for another: joined, bounded in bytes and age, durable, dropped once handed over.
// Budget: 3 s
@Suite struct HintStoreTests {
  private final class World {
    var simulated: SimulatedEnvironment
    var store: Store
    var hints: HintStore
    let limits: HintStore.Limits

    init(_ change: (inout HintStore.Limits) -> Void = { _ in }) throws {
      var limits = HintStore.Limits()
      change(&limits)
      self.limits = limits
      simulated = SimulatedEnvironment()
      store = try Store.open(at: "/s", StoreOptions(), environment: simulated.environment)
      hints = try HintStore(store, limits)
    }

    func crash() throws {
      simulated = simulated.crashed(.dropAll, seed: 3)
      store = try Store.open(at: "/s", StoreOptions(), environment: simulated.environment)
      hints = try HintStore(store, limits)
    }

    func all(for target: MemberID, at now: Timestamp = HintStoreTests.now) throws -> [Hint] {
      var all: [Hint] = []
      while true {
        let page = try hints.page(for: target, after: all.last?.key, byteLimit: 200, at: now)
        if page.isEmpty { return all }
        all += page
      }
    }
  }

  private static let now = Timestamp(milliseconds: 1_735_689_600_000)
  private static let (a, b) = (MemberID(rawValue: 1), MemberID(rawValue: .max))

  private static func later(_ milliseconds: UInt64) -> Timestamp {
    Timestamp(milliseconds: now.milliseconds + milliseconds)
  }

  private static func state(_ replica: UInt64, _ counter: UInt64, _ value: String) throws -> Record {
    var record = Record()
    try record.put(
      Array(value.utf8), expiry: 0, replacing: VersionVector(), and: nil,
      dot: Dot(replica: ReplicaID(rawValue: replica), counter: counter), timestamp: now)
    return record
  }

  private static func values(_ record: Record) -> [String] {
    record.siblings.elements.map { String(decoding: $0.value, as: UTF8.self) }.sorted()
  }

  @Test func `hints are kept by target, in order, and are there after a power loss`() throws {
    let world = try World()
    for number in 0..<50 as Range<UInt64> {
      let target = number % 2 == 0 ? Self.a : Self.b
      try world.hints.keep(
        for: target, keyspace: 7, partition: Int(number) * 600, Array("k\(number)".utf8),
        try Self.state(1, number + 1, "v\(number)"), at: Self.now)
    }
    let before = world.hints.statistics
    try world.crash()
    #expect(world.hints.statistics == before && before.hints == [Self.a: 25, Self.b: 25])
    for (target, rest) in [(Self.a, 0), (Self.b, 1)] {
      let hints = try world.all(for: target)
      #expect(hints.count == 25 && hints.map(\.partition) == hints.map(\.partition).sorted())
      for hint in hints {
        let number = hint.partition / 600
        #expect(number % 2 == rest && hint.target == target && hint.keyspace == 7 && hint.since == Self.now)
        #expect(hint.userKey == Array("k\(number)".utf8) && Self.values(hint.state) == ["v\(number)"])
        #expect(try world.hints.handedOver(hint))
        #expect(try !world.hints.handedOver(hint))
      }
    }
    #expect(world.hints.statistics.hints.isEmpty && world.hints.statistics.bytes == 0)
    #expect(world.hints.statistics.handedOver == 50)
    try world.store.close()
  }

  /// Later writes join into the hint that is there; what was read before then may not remove it.
  @Test func `a later hint of a key is joined, and stays when the earlier was handed over`() throws {
    let world = try World()
    func keep(_ state: Record, _ time: Timestamp) throws {
      try world.hints.keep(for: Self.a, keyspace: 1, partition: 2, [9], state, at: time)
    }
    try keep(try Self.state(1, 1, "x"), Self.now)
    let read = try #require(try world.all(for: Self.a).first)
    try keep(try Self.state(2, 1, "y"), Self.later(1_000))
    let bytes = world.hints.statistics.bytes
    #expect(try !world.hints.handedOver(read))
    let joined = try #require(try world.all(for: Self.a).first)
    #expect(Self.values(joined.state) == ["x", "y"] && joined.since == Self.now)
    // The same again changes nothing.
    try keep(try Self.state(1, 1, "x"), Self.later(2_000))
    #expect(world.hints.statistics.bytes == bytes && bytes == joined.byteCount)
    #expect(try world.hints.handedOver(joined))
    #expect(try world.all(for: Self.a).isEmpty && world.hints.statistics.bytes == 0)
    try world.store.close()
  }

  /// By then the others may have reaped the tombstone that replaced it.
  @Test func `a hint that is too old is never handed over, whatever was joined into it`() throws {
    let world = try World { $0.age = .seconds(60) }
    func keep(_ replica: UInt64, _ key: UInt8, _ time: Timestamp) throws {
      try world.hints.keep(
        for: Self.a, keyspace: 1, partition: 2, [key], try Self.state(replica, 1, "\(replica)"), at: time)
    }
    try keep(1, 1, Self.now)
    try keep(1, 2, Self.later(30_000))
    try keep(2, 1, Self.later(59_000))
    #expect(try world.all(for: Self.a, at: Self.later(59_999)).count == 2)
    #expect(try world.all(for: Self.a, at: Self.later(60_000)).map(\.userKey) == [[2]])
    // One that comes now begins anew, without what was too old.
    try keep(3, 1, Self.later(61_000))
    let hints = try world.all(for: Self.a, at: Self.later(61_000))
    #expect(hints.map(\.userKey) == [[1], [2]] && Self.values(hints[0].state) == ["3"])
    #expect(try world.hints.dropExpired(at: Self.later(90_000)) == 1)
    #expect(world.hints.statistics.hints == [Self.a: 1] && world.hints.statistics.expired == 1)
    #expect(try world.hints.dropExpired(at: Self.later(200_000)) == 1)
    #expect(world.hints.statistics.bytes == 0)
    try world.store.close()
  }

  @Test func `what waits to be kept is bounded, but for one alone`() throws {
    let world = try World { $0.waitingBytes = 100 }
    let hints = world.hints
    #expect(hints.enter(1_000), "nothing else waits")
    #expect(!hints.enter(1))
    hints.leave(1_000)
    #expect(hints.enter(60) && hints.enter(40) && !hints.enter(1))
    hints.leave(60)
    #expect(hints.enter(60) && hints.statistics.refused == 2)
    try world.store.close()
  }

  @Test func `a full store keeps no more, says so, and loses nothing`() throws {
    let world = try World { $0.bytes = 1_000 }
    var kept = 0
    var refusal: DatabaseError?
    while refusal == nil {
      refusal = databaseErrorOf {
        try world.hints.keep(
          for: Self.a, keyspace: 1, partition: kept, [1], try Self.state(1, 1, "value"), at: Self.now)
      }
      if refusal == nil { kept += 1 }
    }
    #expect(refusal?.code == .busy && kept > 5)
    #expect(world.hints.statistics.bytes <= 1_000 && world.hints.statistics.refused == 1)
    #expect(try world.all(for: Self.a).count == kept)
    // What is there already may come again.
    try world.hints.keep(
      for: Self.a, keyspace: 1, partition: 0, [1], try Self.state(1, 1, "value"), at: Self.now)
    #expect(try world.hints.forget(Self.a) == kept)
    try world.hints.keep(
      for: Self.a, keyspace: 1, partition: kept, [1], try Self.state(1, 1, "value"), at: Self.now)
    try world.store.close()
  }

  @Test func `the encoding is the one that FORMAT tells, and damage is told`() throws {
    let world = try World()
    try world.hints.keep(
      for: Self.a, keyspace: 7, partition: 3, Array("k".utf8), try Self.state(5, 6, "v"), at: Self.now)
    let hint = try #require(try world.all(for: Self.a).first)
    #expect(hint.key + hint.value == (try FormatDocument.example("hint")))
    for place in hint.value.indices {
      var damaged = hint.value
      damaged[place] ^= 0x80
      // The time is any number; all else is refused, or another record that is none of ours.
      if let read = try? Hint(hint.key, damaged) { #expect(read.value == damaged) }
      #expect(throws: DatabaseError.self) { _ = try Hint(hint.key, Array(hint.value[..<place])) }
    }
    #expect(throws: DatabaseError.self) { _ = try Hint(Array(hint.key.prefix(18)), hint.value) }
    let tree = try world.store.tree(HintStore.treeName)
    try tree.put(hint.key, [2])
    let error = databaseErrorOf { _ = try HintStore(world.store) }
    #expect(error?.code == .newerFormat && error?.message.contains("hint") == true)
    try world.store.close()
  }

  private func databaseErrorOf(_ body: () throws -> Void) -> DatabaseError? {
    do { try body() } catch { return error as? DatabaseError }
    return nil
  }
}
