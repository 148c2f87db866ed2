import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Sessions in a cluster, with quorums of one: what one node was told, another shows, or says that it cannot.
// Budget: 5 s
@Suite struct NodeSessionTests {
  private func session(_ capacity: Int = 64) throws -> DatabaseSession {
    DatabaseSession(try SessionMemory(capacity: capacity))
  }

  /// - Parameter session: `nil` for a call of none, which shows that the test would fail without.
  @discardableResult
  private func perform(
    _ operation: KeyRequest.Operation, _ key: String, in session: DatabaseSession?, at index: Int,
    quorum: Int? = 1, _ world: NodeWorld
  ) throws -> KeyAnswer {
    var request = KeyRequest(operation, Array(key.utf8), in: "k")
    request.quorum = quorum
    let use = session?.use("k", request.key)
    request.session = use?.demand
    let answer = try world.perform(request, at: index)
    if let session, let use { try session.note(use, answer) }
    return answer
  }

  private func put(_ value: String) -> KeyRequest.Operation {
    .put(Array(value.utf8), timeToLiveMilliseconds: nil)
  }

  private func values(
    _ key: String, in session: DatabaseSession?, at index: Int, _ world: NodeWorld
  ) throws -> [String] {
    let record = try perform(.get, key, in: session, at: index, world).record
    return (record?.siblings.elements ?? []).map { String(decoding: $0.value, as: UTF8.self) }.sorted()
  }

  /// Three nodes with a key that all have, and a newer value that only the first has, written by a session.
  private func divided() throws -> (NodeWorld, DatabaseSession) {
    let world = try NodeWorld(3)
    try world.make("k", .lastWriterWins)
    try world.put("n", "old", at: 1, quorum: 3)
    world.cut(0, 1)
    world.cut(0, 2)
    let session = try session()
    try perform(put("new"), "n", in: session, at: 0, world)
    return (world, session)
  }

  @Test func `a session reads what it wrote elsewhere, or is told what is missing`() throws {
    let (world, session) = try divided()
    for index in [1, 2] {
      #expect(try values("n", in: nil, at: index, world) == ["old"], "what is shown without a session")
    }
    do {
      let found = try values("n", in: session, at: 1, world)
      Issue.record("\(found) was shown")
    } catch let error as DatabaseError {
      #expect(error.code == .behindSession)
      let dot = try #require(try world.held("n", at: 0)?.siblings.latest?.dot)
      #expect(error.message.contains("2 of 3 replicas") && error.message.contains("\(dot)"), "\(error)")
    }
    #expect(try values("n", in: session, at: 0, world) == ["new"])
  }

  @Test func `others are asked beyond the quorum, and who had less learns of it`() throws {
    let (world, session) = try divided()
    world.heal()
    #expect(try values("n", in: nil, at: 1, world) == ["old"])
    #expect(try values("n", in: session, at: 1, world) == ["new"])
    #expect(try values("n", in: nil, at: 1, world) == ["new"], "read repair")
  }

  @Test func `what comes while it waits is shown`() throws {
    let (world, session) = try divided()
    var request = KeyRequest(.get, Array("n".utf8), in: "k")
    request.quorum = 1
    request.session = session.use("k", request.key).demand
    let answer = Guarded<Result<KeyAnswer, DatabaseError>?>(nil)
    world[2].perform(request, deadline: world.time.monotonicNanoseconds + 5_000_000_000) { result in
      answer.withLock { $0 = result }
    }
    for _ in 0..<3 {
      world.time.advance(byNanoseconds: 500_000_000)
      world[2].tick()
      #expect(answer.withLock { $0 == nil })
    }
    world.heal()
    world.time.advance(byNanoseconds: 500_000_000)
    world[2].tick()
    let record = try #require(answer.withLock { $0 }, "never answered").get().record
    #expect(record?.siblings.latest?.value == Array("new".utf8))
  }

  @Test func `reads never go back`() throws {
    let world = try NodeWorld(2, replicas: 2)
    try world.make("k", .lastWriterWins)
    try world.put("n", "old", at: 0, quorum: 2)
    world.cut(0, 1)
    // Another's write, which the session has only read.
    try world.put("n", "new", at: 0, quorum: 1)
    let session = try session()
    #expect(try values("n", in: session, at: 1, world) == ["old"])
    #expect(try values("n", in: session, at: 0, world) == ["new"])
    #expect(try values("n", in: nil, at: 1, world) == ["old"])
    #expect(code { _ = try values("n", in: session, at: 1, world) } == .behindSession)
    world.heal()
    #expect(try values("n", in: session, at: 1, world) == ["new"])
  }

  @Test func `a write is made on what the session saw`() throws {
    let (world, session) = try divided()
    for operation in [put("newer"), .delete] {
      #expect(code { try perform(operation, "n", in: session, at: 1, world) } == .behindSession)
      #expect(try world.values("n", at: 1, quorum: 1) == ["old"], "nothing was done")
    }
    world.heal()
    try perform(.delete, "n", in: session, at: 1, world)
    for index in 0..<3 { #expect(try values("n", in: session, at: index, world) == []) }
  }

  @Test func `counters and sets too`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 1)
    world.cut(0, 2)
    let session = try session()
    try perform(.increment(3), "n", in: session, at: 0, world)
    try perform(.add([7]), "s", in: session, at: 0, world)
    for key in ["n", "s"] {
      #expect(code { try perform(.get, key, in: session, at: 1, world) } == .behindSession)
    }
    #expect(code { try perform(.remove([7]), "s", in: session, at: 1, world) } == .behindSession)
    try world.beat(2)
    world.heal()
    try perform(.increment(1), "n", in: session, at: 1, world)
    try perform(.remove([7]), "s", in: session, at: 2, world)
    let counter = try #require(try perform(.get, "n", in: session, at: 2, world).record)
    #expect(try counter.state(as: PNCounter.self).value() == 4)
    #expect(try perform(.get, "s", in: session, at: 0, world).record?.isTombstone == true)
  }

  @Test func `nodes that are no replicas hand it on`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    let session = try session()
    for key in 0..<8 {
      for index in 0..<5 {
        try perform(.increment(1), "k\(key)", in: session, at: index, world)
        let read = try perform(.get, "k\(key)", in: session, at: (index + 2) % 5, world)
        #expect(try read.record?.state(as: PNCounter.self).value() == Int64(index) + 1)
      }
    }
  }

  @Test func `a token goes on in another process`() throws {
    let (world, session) = try divided()
    let resumed = DatabaseSession(
      try SessionMemory(token: session.token, capacity: 8, for: world[1].core.id))
    #expect(code { _ = try values("n", in: resumed, at: 1, world) } == .behindSession)
    world.heal()
    #expect(try values("n", in: resumed, at: 1, world) == ["new"])
  }

  @Test func `a session that has forgotten keys asks all replicas`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 1)
    world.cut(0, 2)
    let session = try session(2)
    for key in 0..<3 { try perform(put("v"), "k\(key)", in: session, at: 0, world) }
    #expect(session.hasForgotten)
    world.heal()
    #expect(try values("k0", in: nil, at: 1, world) == [], "what is shown without a session")
    world.cut(1, 2)
    #expect(code { _ = try values("k0", in: session, at: 1, world) } == .unreachable)
    #expect(code { try perform(put("w"), "never", in: session, at: 1, world) } == .unreachable)
    world.heal()
    #expect(try values("k0", in: session, at: 1, world) == ["v"])
    #expect(try values("never", in: session, at: 1, world) == [])
    // What it still remembers needs no more than one that has it.
    world.cut(1, 2)
    #expect(try values("k0", in: session, at: 1, world) == ["v"])
  }

  @Test func `a write that is lost for good is missed, and never covered up`() throws {
    let world = try NodeWorld(3)
    try world.make("k", .lastWriterWins)
    try world.put("n", "old", at: 1, quorum: 3)
    world.cut(0, 1)
    world.cut(0, 2)
    let disk = world.snapshot(0)
    let session = try session()
    try perform(put("new"), "n", in: session, at: 0, world)
    world.rollBack(0, to: disk)
    world.heal()
    try world.restart(0)
    try world.beat(2)
    for index in 0..<3 {
      #expect(try values("n", in: nil, at: index, world) == ["old"])
      #expect(code { _ = try values("n", in: session, at: index, world) } == .behindSession)
      try world.beat()
    }
  }

  @Test func `sessions of others are refused`() throws {
    let world = try NodeWorld(1, replicas: 1)
    try world.make()
    try world.put("n", "v", at: 0)
    let other = DatabaseID(high: 1, low: 2)
    let foreign = DatabaseSession(try SessionMemory(capacity: 4, database: other))
    var request = KeyRequest(.get, Array("n".utf8), in: "k")
    request.session = SessionDemand(seen: try world.get("m", at: 0).context)
    for operation in [KeyRequest.Operation.get, put("w"), .increment(1)] {
      #expect(code { try perform(operation, "n", in: foreign, at: 0, world) } == .foreignToken)
      request.operation = operation
      let asked = request
      #expect(code { _ = try world.perform(asked, at: 0) } == .foreignContext)
    }
    #expect(try world.values("n", at: 0) == ["v"])
  }

  /// A session that goes from node to node while connections come and go, beside others' writes.
  ///
  /// - Returns: how often it was shown less than it had seen or written, and how many reads there were.
  private func wander(_ random: inout SplitMix64, hasSession: Bool) throws -> (older: Int, reads: Int) {
    let world = try NodeWorld(3)
    try world.make()
    let session = hasSession ? try session(8) : nil
    var floors: [String: Int64] = ["a": 0, "b": 0]
    var (older, reads) = (0, 0)
    for _ in 0..<60 {
      let key = random.below(2) == 0 ? "a" : "b"
      let index = random.below(3)
      do {
        switch random.below(12) {
        case 0: world.heal()
        case 1: world.cut(index, (index + 1 + random.below(2)) % 3)
        case 2, 3: try world.beat()
        case 4, 5: try perform(.increment(1), key, in: nil, at: index, world)
        case 6...8:
          try perform(.increment(1), key, in: session, at: index, world)
          floors[key]! += 1
        default:
          let record = try perform(.get, key, in: session, at: index, world).record
          let value = try record?.state(as: PNCounter.self).value() ?? 0
          if value < floors[key]! { older += 1 }
          floors[key]! = max(floors[key]!, value)
          reads += 1
        }
      } catch let error as DatabaseError {
        #expect([.behindSession, .unreachable, .indeterminate, .deadlineExceeded].contains(error.code))
        try world.beat()
      }
    }
    return (older, reads)
  }

  @Test func `wandering from node to node it never sees less than before`() throws {
    var (withoutSession, reads) = (0, 0)
    try withSeeds("NodeSessionTests", count: TestSize.of(quick: 10, full: 300)) { seed, random in
      var same = random
      let seen = try wander(&random, hasSession: true)
      try #require(seen.older == 0, "it went back: seed \(seed)")
      reads += seen.reads
      withoutSession += try wander(&same, hasSession: false).older
    }
    #expect(reads > 20, "most reads fail")
    #expect(withoutSession > 0, "the worlds are too quiet to tell anything")
  }
}
