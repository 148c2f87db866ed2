import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// What a session remembers, how it forgets, and its token.
// Budget: 2 s
@Suite struct SessionMemoryTests {
  private let database = DatabaseID(high: 0x0809_0A0B_0C0D_0E0F, low: 0x1011_1213_1415_1617)

  private func mark(_ binding: UInt64, _ counter: UInt64, by replica: UInt64 = 1) -> SessionMark {
    let dot = Dot(replica: ReplicaID(rawValue: replica), counter: counter)
    return SessionMark(
      database: database, seen: CausalContext(binding: binding, vector: VersionVector([dot])))
  }

  private func remembers(_ memory: SessionMemory, _ key: UInt64) -> Bool {
    memory.use(key).demand.seen != nil
  }

  @Test func `what is noted adds up, and each key is for itself`() throws {
    var memory = try SessionMemory(capacity: 8)
    #expect(memory.use(1).demand == SessionDemand())
    try memory.note(memory.use(1), mark(10, 5))
    try memory.note(memory.use(1), mark(10, 3, by: 2))
    try memory.note(memory.use(1), mark(10, 4))
    let demand = memory.use(1).demand
    #expect(demand.database == database && !demand.asksAll)
    #expect(demand.vector == VersionVector([1, 2].map { replica in
      Dot(replica: ReplicaID(rawValue: replica), counter: replica == 1 ? 5 : 3)
    }))
    #expect(memory.use(2).demand == SessionDemand(database: database))
    // A write beside siblings that were not read: whoever has it has what its store had before it.
    let dot = Dot(replica: ReplicaID(rawValue: 9), counter: 7)
    let beside = CausalContext(binding: 20, vector: VersionVector(), dot: dot)
    try memory.note(memory.use(2), SessionMark(database: database, seen: beside))
    #expect(memory.use(2).demand.vector == VersionVector([dot]))
    #expect(!memory.use(2).demand.isCovered(by: VersionVector()))
    #expect(memory.use(2).demand.isCovered(by: VersionVector([Dot(replica: dot.replica, counter: 8)])))
  }

  @Test func `keys used least recently are forgotten, and then all replicas are asked`() throws {
    var memory = try SessionMemory(capacity: 16)
    for key in 0..<UInt64(16) { try memory.note(memory.use(key), mark(key, 1)) }
    try memory.note(memory.use(0), mark(0, 2))
    #expect(!memory.hasForgotten && !memory.use(99).demand.asksAll)
    try memory.note(memory.use(16), mark(16, 1))
    #expect(memory.hasForgotten && memory.count == 14)
    #expect((0..<17).filter { !remembers(memory, $0) } == [1, 2, 3])
    #expect(memory.use(1).demand.asksAll && memory.use(99).demand.asksAll && !memory.use(0).demand.asksAll)
    // Read from all of them, it is remembered again.
    try memory.note(memory.use(1), mark(1, 4))
    #expect(!memory.use(1).demand.asksAll)
    // Bounded also where many stores wrote a key.
    let many = VersionVector((1...300).map { Dot(replica: ReplicaID(rawValue: $0), counter: 1) })
    let large = SessionMark(database: database, seen: CausalContext(binding: 7, vector: many))
    try memory.note(memory.use(7), large)
    #expect(memory.use(7).demand.asksAll && memory.count == 0, "it has more entries than all may have")
  }

  @Test func `an operation under way does not bring back less than was forgotten`() throws {
    var memory = try SessionMemory(capacity: 2)
    let slow = memory.use(1)
    try memory.note(memory.use(1), mark(1, 9))
    for key in 2...4 as ClosedRange<UInt64> { try memory.note(memory.use(key), mark(key, 1)) }
    #expect(!remembers(memory, 1))
    try memory.note(slow, mark(1, 3))
    #expect(!remembers(memory, 1) && memory.use(1).demand.asksAll)
  }

  @Test func `what is wrong is refused`() throws {
    for capacity in [0, -1, 65_537] {
      #expect(code { _ = try SessionMemory(capacity: capacity) } == .invalidOption)
    }
    var memory = try SessionMemory(capacity: 4, database: database)
    let other = DatabaseID(high: 1, low: 2)
    let foreign = SessionMark(database: other, seen: mark(1, 1).seen)
    #expect(code { try memory.note(memory.use(1), foreign) } == .foreignToken)
    let token = memory.token
    #expect(code { _ = try SessionMemory(token: token, capacity: 4, for: other) } == .foreignToken)
    #expect(try SessionMemory(token: token, capacity: 4, for: database).count == 0)
    // Of no database yet: any may go on with it.
    let empty = try SessionMemory(capacity: 4).token
    #expect(try SessionMemory(token: empty, capacity: 4, for: other).database == other)
  }

  @Test func `what a cluster says to be reaped gives way`() throws {
    var memory = try SessionMemory(capacity: 4)
    func timed(_ counter: UInt64?, at milliseconds: UInt64) -> SessionMark {
      var timed = mark(10, counter ?? 1)
      timed.since = Timestamp(milliseconds: milliseconds)
      if counter == nil { timed.seen = CausalContext(binding: 10, vector: VersionVector()) }
      timed.replaces = counter == nil
      return timed
    }
    func resumed() throws -> SessionMemory { try SessionMemory(token: memory.token, capacity: 4) }
    try memory.note(memory.use(1), timed(5, at: 100))
    try memory.note(memory.use(1), timed(4, at: 90))
    #expect(memory.use(1).demand.since == Timestamp(milliseconds: 100))
    #expect(try resumed().use(1).demand == memory.use(1).demand)
    // Beside one of a cluster that reaped nothing then.
    try memory.note(memory.use(2), mark(20, 1))
    for key in [1, 2] as [UInt64] { #expect(try resumed().use(key).demand == memory.use(key).demand) }
    let slow = memory.use(1)
    try memory.note(memory.use(1), timed(nil, at: 300))
    #expect(memory.use(1).demand.vector == VersionVector())
    #expect(memory.use(1).demand.since == Timestamp(milliseconds: 300))
    // What another operation has seen since it was asked for does not.
    try memory.note(memory.use(1), timed(9, at: 310))
    try memory.note(slow, timed(nil, at: 320))
    #expect(memory.use(1).demand.vector == mark(10, 9).seen.vector)
  }

  // MARK: - The token

  private func example() throws -> SessionMemory {
    var memory = try SessionMemory(capacity: 4)
    let key = SessionMemory.hash("default", Array("likes".utf8))
    let dot = Dot(replica: ReplicaID(rawValue: 0x00A1_0000_0000_0001), counter: 300)
    let seen = CausalContext(binding: 0x1122_3344_5566_7788, vector: VersionVector([dot]))
    try memory.note(memory.use(key), SessionMark(database: database, seen: seen))
    return memory
  }

  @Test func `the document's session token is the one that is made`() throws {
    let shown = try FormatDocument.example("session-token")
    #expect(try example().token == shown)
    let resumed = try SessionMemory(token: shown, capacity: 4)
    #expect(resumed.token == shown && resumed.count == 1 && !resumed.hasForgotten)
  }

  @Test func `tokens bring back what they were made of, the order of use too`() throws {
    try withSeeds("SessionMemoryTests", count: TestSize.of(quick: 50, full: 1_000)) { seed, random in
      let capacity = 1 + random.below(30)
      var memory = try SessionMemory(capacity: capacity, database: database)
      for _ in 0..<random.below(80) {
        let key = UInt64(random.below(40))
        let counter = UInt64(1 + random.below(9))
        try memory.note(memory.use(key), mark(key, counter, by: UInt64(1 + random.below(3))))
        try #require(memory.count <= capacity, "seed \(seed)")
      }
      var resumed = try SessionMemory(token: memory.token, capacity: capacity)
      try #require(resumed.token == memory.token && resumed.hasForgotten == memory.hasForgotten)
      for key in 40..<44 as Range<UInt64> {
        try memory.note(memory.use(key), mark(key, 1))
        try resumed.note(resumed.use(key), mark(key, 1))
      }
      // Once it has forgotten, a key that it does not know is noted by either.
      for key in 0..<44 as Range<UInt64> {
        try #require(resumed.use(key).demand == memory.use(key).demand, "seed \(seed)")
      }
      let fewer = try SessionMemory(token: memory.token, capacity: 1)
      try #require(fewer.count <= 1 && (fewer.hasForgotten || memory.count <= 1))
    }
  }

  @Test func `a damaged token is refused`() throws {
    let token = try example().token
    for index in token.indices {
      var bytes = token
      bytes[index] ^= 0x55
      #expect(code { _ = try SessionMemory(token: bytes, capacity: 4) } == .damagedToken)
      let part = Array(token[..<index])
      #expect(code { _ = try SessionMemory(token: part, capacity: 4) } == .damagedToken)
    }
    // Sealed, and no session's all the same.
    let payload = Array(token[2..<(token.count - 8)])
    for count in 0..<payload.count {
      let sealed = SealedToken.seal(.session, Array(payload[..<count]))
      #expect(code { _ = try SessionMemory(token: sealed, capacity: 4) } == .damagedToken)
    }
    var twice = payload + payload[18...]
    twice[17] = 2
    // Times that there are not, and a flag of no release.
    var (timed, strange) = (payload + [UInt8](repeating: 0, count: 8), payload)
    timed[16] = 2
    strange[16] = 4
    for bytes in [twice, payload + [0], timed, strange] {
      let sealed = SealedToken.seal(.session, bytes)
      #expect(code { _ = try SessionMemory(token: sealed, capacity: 4) } == .damagedToken)
    }
    let context = SealedToken.seal(.context, payload)
    #expect(code { _ = try SessionMemory(token: context, capacity: 4) } == .damagedToken)
  }
}
