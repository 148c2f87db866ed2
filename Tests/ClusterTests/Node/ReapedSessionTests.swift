import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Sessions that saw keys whose tombstones are gone, and with them all that says what the keys cover.
// Budget: 3 s
@Suite struct ReapedSessionTests {
  @discardableResult
  private static func perform(
    _ operation: KeyRequest.Operation, in session: DatabaseSession, at index: Int, quorum: Int = 1,
    _ world: NodeWorld
  ) throws -> [String] {
    var request = KeyRequest(operation, Array("n".utf8), in: "k")
    request.quorum = quorum
    let use = session.use("k", request.key)
    request.session = use.demand
    // As it travels.
    let answer = try world.perform(try KeyRequest(decoding: request.encoded()), at: index)
    try session.note(use, try KeyAnswer(decoding: answer.encoded()))
    return (answer.record?.siblings.elements ?? []).map { String(decoding: $0.value, as: UTF8.self) }
  }

  private static func put(_ value: String) -> KeyRequest.Operation {
    .put(Array(value.utf8), timeToLiveMilliseconds: nil)
  }

  /// A world in which a session has written and deleted a key that is reaped by now.
  private static func reaped() throws -> (NodeWorld, token: [UInt8]) {
    let world = try ReapingTests.world()
    let session = DatabaseSession(try SessionMemory(capacity: 8))
    try perform(put("v"), in: session, at: 0, quorum: 3, world)
    try perform(.delete, in: session, at: 0, quorum: 3, world)
    try world.beat(60)
    #expect(try ReapingTests.holders("n", world) == 0)
    return (world, session.token)
  }

  private static func session(_ token: [UInt8]) throws -> DatabaseSession {
    DatabaseSession(try SessionMemory(token: token, capacity: 8))
  }

  @Test func `a session goes on with a key whose tombstone is reaped`() throws {
    let (world, token) = try Self.reaped()
    for index in 0..<3 {
      let session = try Self.session(token)
      #expect(try Self.perform(.get, in: session, at: index, world) == [])
      // It remembers nothing more of it: so it needs no more than any other now.
      world.cut(index, (index + 1) % 3)
      #expect(try Self.perform(.get, in: session, at: index, world) == [])
      world.heal()
    }
    // What others made of the key since is shown, and written on.
    try world.put("n", "another's", at: 1, quorum: 3)
    let session = try Self.session(token)
    #expect(try Self.perform(.get, in: session, at: 2, world) == ["another's"])
    let writer = try Self.session(token)
    try Self.perform(.delete, in: writer, at: 2, quorum: 3, world)
    #expect(try Self.perform(.get, in: writer, at: 0, world) == [])
    try Self.perform(Self.put("its own"), in: writer, at: 0, quorum: 3, world)
    #expect(try Self.perform(.get, in: writer, at: 1, world) == ["its own"])
    #expect(try Self.perform(.get, in: session, at: 1, world) == ["its own"])
  }

  /// Its reads see nothing new: the time that counts is that of the delete.
  @Test func `a session that goes on reading a key goes on once its tombstone is reaped`() throws {
    let world = try ReapingTests.world()
    let session = DatabaseSession(try SessionMemory(capacity: 8))
    try Self.perform(Self.put("v"), in: session, at: 0, quorum: 3, world)
    try Self.perform(.delete, in: session, at: 0, quorum: 3, world)
    for index in 0..<9 {
      try world.beat(4)
      #expect(try Self.perform(.get, in: session, at: index % 3, world) == [])
    }
    #expect(try ReapingTests.holders("n", world) == 3)
    // The horizon is 40 s, and clocks may differ by 5.5: until then it is missed.
    try world.beat(14)
    #expect(try ReapingTests.holders("n", world) == 0)
    #expect(try Self.perform(.get, in: session, at: 0, world) == [])
    try Self.perform(Self.put("w"), in: session, at: 1, quorum: 3, world)
    #expect(try Self.perform(.get, in: session, at: 2, world) == ["w"])
  }

  @Test func `the time is when what was seen last grew`() throws {
    var memory = try SessionMemory(capacity: 8)
    func mark(_ counter: UInt64, at milliseconds: UInt64, replaces: Bool = false) -> SessionMark {
      let dots = counter == 0 ? [] : [Dot(replica: ReplicaID(rawValue: 1), counter: counter)]
      return SessionMark(
        database: DatabaseID(high: 1, low: 2),
        seen: CausalContext(binding: 3, vector: VersionVector(dots)),
        since: Timestamp(milliseconds: milliseconds), replaces: replaces)
    }
    func since(_ mark: SessionMark) throws -> UInt64? {
      try memory.note(memory.use(4), mark)
      return memory.use(4).demand.since?.milliseconds
    }
    #expect(try since(mark(5, at: 100)) == 100)
    // As much, and less, as another replica may have.
    #expect(try since(mark(5, at: 200)) == 100)
    #expect(try since(mark(4, at: 300)) == 100)
    #expect(try since(mark(6, at: 400)) == 400)
    // What came earlier by its node's clock is no reason to go back.
    #expect(try since(mark(7, at: 350)) == 400)
    #expect(try since(mark(0, at: 500, replaces: true)) == 500)
    #expect(memory.use(4).demand.vector == VersionVector())
  }

  @Test func `only where all replicas say so`() throws {
    let (world, token) = try Self.reaped()
    world.cut(1, 2)
    let session = try Self.session(token)
    #expect(code { try Self.perform(.get, in: session, at: 1, world) } == .behindSession)
    #expect(code { try Self.perform(Self.put("w"), in: session, at: 1, world) } == .behindSession)
    #expect(try Self.perform(.get, in: session, at: 0, world) == [])
  }

  /// One replica alone may have a write for longer than a horizon: its age proves nothing.
  @Test func `a write that others miss is shown, however old`() throws {
    let world = try ReapingTests.world()
    world.cut(0, 1)
    world.cut(0, 2)
    let session = DatabaseSession(try SessionMemory(capacity: 8))
    try Self.perform(Self.put("v"), in: session, at: 0, world)
    try world.beat(80)
    #expect(code { try Self.perform(.get, in: session, at: 1, world) } == .behindSession)
    world.heal()
    #expect(try Self.perform(.get, in: session, at: 1, world) == ["v"])
  }

  @Test func `a write that was lost is missed until it might have been reaped`() throws {
    let world = try ReapingTests.world()
    world.cut(0, 1)
    world.cut(0, 2)
    let disk = world.snapshot(0)
    let session = DatabaseSession(try SessionMemory(capacity: 8))
    try Self.perform(Self.put("v"), in: session, at: 0, world)
    world.rollBack(0, to: disk)
    world.heal()
    try world.restart(0)
    try world.beat(30)
    #expect(code { try Self.perform(.get, in: session, at: 1, world) } == .behindSession)
    try world.beat(30)
    #expect(try Self.perform(.get, in: session, at: 1, world) == [])
  }

  @Test func `the document's request is the one that is sent`() throws {
    let dot = Dot(replica: ReplicaID(rawValue: 0x00A1_0000_0000_0001), counter: 300)
    let seen = CausalContext(binding: 0x1122_3344_5566_7788, vector: VersionVector([dot]))
    var request = KeyRequest(.get, Array("likes".utf8), in: "default")
    request.session = SessionDemand(
      database: DatabaseID(high: 0x0809_0A0B_0C0D_0E0F, low: 0x1011_1213_1415_1617), seen: seen,
      since: Timestamp(milliseconds: 1_735_689_600_000))
    let shown = try FormatDocument.example("key-request-session-reaping")
    #expect(request.encoded() == shown)
    #expect(try KeyRequest(decoding: shown) == request)
    // An earlier release's has no such flag.
    var earlier = shown
    earlier[0] = 2
    #expect(code { _ = try KeyRequest(decoding: earlier) } == .invalidArgument)
  }
}
