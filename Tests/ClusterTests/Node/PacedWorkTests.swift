import TestSupport
import Testing

@testable import RoostCluster

/// What nodes do in the background keeps to its rate, in simulated time, and gets done between the beats.
// Budget: 10 s
@Suite struct PacedWorkTests {
  /// What a pace had noted when.
  private struct Samples {
    let pace: BytePace
    let rate: Int
    private(set) var all: [(at: UInt64, noted: UInt64)] = []

    init(_ pace: BytePace, rate: Int, at nanoseconds: UInt64) {
      self.pace = pace
      self.rate = rate
      take(at: nanoseconds)
    }

    mutating func take(at nanoseconds: UInt64) {
      if all.last?.noted != pace.noted { all.append((nanoseconds, pace.noted)) }
    }

    var noted: UInt64 { pace.noted - all[0].noted }

    /// That over no interval more went than the rate allows, a burst, and what was in flight.
    func check(inFlight: Int) {
      let burst = max(4_096, rate / 8)
      for i in all.indices {
        for j in i..<all.count {
          let seconds = Double(all[j].at - all[i].at) / 1e9
          let most = Double(burst + inFlight) + Double(rate) * seconds
          let gone = all[j].noted - all[i].noted
          guard Double(gone) > most else { continue }
          Issue.record("\(gone) bytes in \(seconds) s, at most \(most)")
          return
        }
      }
    }
  }

  /// Lets time pass as it does for nodes that run: a tick each 10 ms, a beat each second.
  ///
  /// - Returns: how many seconds went by until `condition` held, looked at each 100 ms.
  static func pass(
    _ world: NodeWorld, atMost seconds: Int, until condition: () throws -> Bool,
    _ sample: () -> Void
  ) throws -> Double {
    for tick in 1...(seconds * 100) {
      world.time.advance(byNanoseconds: 10_000_000)
      for index in world.running { world[index].tick() }
      if tick % 100 == 0 { for index in world.running { try world[index].beat() } }
      guard tick % 10 == 0 else { continue }
      sample()
      if try condition() { return Double(tick) / 100 }
    }
    Issue.record("it goes on after \(seconds) s")
    return Double(seconds)
  }

  private static let value = String(repeating: "x", count: 1_000)

  /// Three nodes, of which the last was away for some writes of a thousand bytes and is there again; the
  /// first keeps hints of them.
  private static func hinted(_ count: Int, rate: Int) throws -> NodeWorld {
    let world = try NodeWorld(3) {
      $0.repairInterval = nil
      $0.hintBytesPerSecond = rate
    }
    try world.make()
    world.crash(2, .keepAll)
    for number in 0..<count { try world.put("k\(number)", value, at: 0) }
    try world.restart(2)
    #expect(world[0].hints.statistics.hints[world.id(2)] == count)
    return world
  }

  @Test func `hints are handed over at their rate, and without waiting for beats`() throws {
    let rate = 16 << 10
    let world = try Self.hinted(100, rate: rate)
    let bytes = world[0].hints.statistics.bytes
    var samples = Samples(world[0].paces.hints, rate: rate, at: world.time.monotonicNanoseconds)
    let seconds = try Self.pass(
      world, atMost: 60, until: { world[0].hints.statistics.hints.isEmpty },
      { samples.take(at: world.time.monotonicNanoseconds) })
    #expect(samples.noted == UInt64(bytes))
    let least = Double(bytes - 4_096 - 1_200) / Double(rate)
    #expect(least > 5 && seconds >= least, "\(seconds) s, at least \(least)")
    // A beat may pass before it begins; then a tick more each time at the most.
    #expect(seconds <= 1.2 * least + 2, "\(seconds) s, about \(least)")
    samples.check(inFlight: 1_200)
    for number in 0..<100 { #expect(try world.held("k\(number)", at: 2) != nil) }
    #expect(world[0].figures.hintBytesSent == UInt64(bytes))
  }

  @Test func `a hint longer than a second's bytes is handed over all the same`() throws {
    let world = try NodeWorld(3) {
      $0.repairInterval = nil
      $0.hintBytesPerSecond = 1_024
    }
    try world.make()
    world.crash(2, .keepAll)
    try world.put("long", String(repeating: "x", count: 20_000), at: 0)
    try world.put("z", "behind it", at: 0)
    try world.restart(2)
    let held: (String) throws -> Bool = { try world.held($0, at: 2) != nil }
    let seconds = try Self.pass(
      world, atMost: 120, until: { try held("long") && held("z") }, {})
    // The one goes with what the bucket has; the other once that is paid back, whichever is first.
    #expect(world[0].hints.statistics.hints.isEmpty)
    let later = try Self.pass(world, atMost: 120, until: { world[0].paces.hints.mayGo(at: world[0].now) }, {})
    #expect(seconds + later >= Double(20_000 - 4_096) / 1_024, "\(seconds) and \(later) s")
  }

  @Test func `those that hints are kept for take turns, and who comes back has its own`() throws {
    let (count, rate) = (60, 16 << 10)
    let world = try NodeWorld(4, replicas: 4) {
      $0.repairInterval = nil
      $0.hintBytesPerSecond = rate
    }
    try world.make()
    for number in 0..<count { try world.put("k\(number)", Self.value, at: 0) }
    let (ids, keyspace) = ((0..<4).map { world.id($0) }, try world[0].keyspace("k"))
    world.crash(3, .keepAll)
    // Until its lease is over.
    try world.beat(12)
    try #require(world[0].hints.statistics.hints.isEmpty)
    for number in 0..<count {
      let key = "k\(number)"
      let record = try #require(try world.held(key, at: 0))
      for index in 1...3 { try world[0].keepHint(for: ids[index], keyspace, Array(key.utf8), record) }
    }
    func left(_ index: Int) -> Int { world[0].hints.statistics.hints[ids[index], default: 0] }
    _ = try Self.pass(world, atMost: 60, until: { left(1) + left(2) < 2 * count - 4 }, {})
    #expect(left(3) == count)
    try world.restart(3)
    _ = try Self.pass(world, atMost: 120, until: { (1...3).contains { left($0) == 0 } }, {})
    // It came a second or two later than the others, in which about thirty were handed over.
    #expect((1...3).allSatisfy { left($0) <= count / 2 }, "\((1...3).map { left($0) })")
    _ = try Self.pass(world, atMost: 120, until: { world[0].hints.statistics.hints.isEmpty }, {})
  }

  /// It waits for its pace when the process is gone: nothing keeps it.
  @Test func `a node that is gone while it waits is gone`() throws {
    let world = try Self.hinted(20, rate: 1_024)
    _ = try Self.pass(world, atMost: 5, until: { world[0].paces.hints.noted > 0 }, {})
    #expect(!world[0].paces.hints.mayGo(at: world[0].now))
    weak let node = world.nodes[0]
    try #require(node != nil)
    world.crash(0, .keepAll)
    #expect(node == nil)
    try world.restart(0)
    #expect(world[0].hints.statistics.hints[world.id(2), default: 0] > 0)
    _ = try Self.pass(world, atMost: 60, until: { world[0].hints.statistics.hints.isEmpty }, {})
  }

  @Test func `partitions move at their rate`() throws {
    let rate = 8 << 10
    let world = try NodeWorld(3, replicas: 2) {
      $0.repairInterval = nil
      $0.moveBytesPerSecond = rate
    }
    try world.make()
    for number in 0..<160 { try world.put("k\(number)", Self.value, at: number % 3) }
    let new = try world.join()
    var samples = Samples(world[new].paces.moves, rate: rate, at: world.time.monotonicNanoseconds)
    var wasUnderWay = false
    let seconds = try Self.pass(
      world, atMost: 300,
      until: {
        let record = try world.database()
        return record.change == nil && record.ring.copies.isEmpty && record.ring.drops.isEmpty
      },
      {
        samples.take(at: world.time.monotonicNanoseconds)
        if world[new].figures.movesUnderWay > 0 { wasUnderWay = true }
      })
    // Eight keys at a time are fetched, of a thousand bytes and a little.
    samples.check(inFlight: 8 * 1_300)
    let least = Double(Int(samples.noted) - 4_096 - 8 * 1_300) / Double(rate)
    #expect(least > 4 && seconds >= least, "\(seconds) s, at least \(least)")
    let figures = world[new].figures
    #expect(wasUnderWay && figures.movesUnderWay == 0)
    #expect(figures.movesDone > 0 && figures.movedKeys > 40)
    #expect(figures.movedBytes == world[new].paces.moves.noted)
    #expect(world.running.allSatisfy { world[$0].figures.dropsLeft == 0 })
  }

  @Test func `who gives a partition away sends what others lack at its rate`() throws {
    let rate = 8 << 10
    let world = try NodeWorld(2, replicas: 2) {
      $0.repairInterval = nil
      $0.moveBytesPerSecond = rate
    }
    try world.make()
    // At the first node alone, all in one partition.
    let all = (0..<4_000).map { "k\($0)" }
    let keys = Array(all.filter { world[0].partition(of: Array($0.utf8)) == 3 }.prefix(60))
    try #require(keys.count == 60)
    let keyspace = try world[0].keyspace("k")
    for key in keys {
      let put = KeyRequest.Operation.put(Array(Self.value.utf8), timeToLiveMilliseconds: nil)
      _ = try keyspace.write(KeyRequest(put, Array(key.utf8), in: "k"))
    }
    var samples = Samples(world[0].paces.moves, rate: rate, at: world.time.monotonicNanoseconds)
    let outcome = Guarded<Result<Void, DatabaseError>?>(nil)
    world[0].moves.compare(3, with: world.id(1), [keyspace], .push, world[0]) { result in
      outcome.withLock { $0 = result }
    }
    let seconds = try Self.pass(
      world, atMost: 120, until: { outcome.withLock { $0 != nil } },
      { samples.take(at: world.time.monotonicNanoseconds) })
    try #require(outcome.withLock { $0 }).get()
    samples.check(inFlight: 8 * 1_300)
    let least = Double(Int(samples.noted) - 4_096 - 8 * 1_300) / Double(rate)
    #expect(least > 4 && seconds >= least, "\(seconds) s, at least \(least)")
    for key in keys { #expect(try world.held(key, at: 1) != nil) }
    #expect(world[0].figures.movedBytes == world[0].paces.moves.noted)
  }

  @Test func `the background's comparisons keep to their rate`() throws {
    let rate = 2 << 10
    let world = try NodeWorld(2, replicas: 2) {
      $0.repairInterval = .seconds(60)
      $0.repairBytesPerSecond = rate
    }
    try world.make()
    // At the first node alone. A pass begins a partition each four seconds, and so would bring all in 60 s.
    for number in 0..<200 {
      let put = KeyRequest.Operation.put(Array(Self.value.utf8), timeToLiveMilliseconds: nil)
      _ = try world[0].keyspace("k").write(KeyRequest(put, Array("k\(number)".utf8), in: "k"))
    }
    var samples = Samples(world[0].paces.repairs, rate: rate, at: world.time.monotonicNanoseconds)
    _ = try Self.pass(
      world, atMost: 400, until: { try (0..<200).allSatisfy { try world.held("k\($0)", at: 1) != nil } },
      { samples.take(at: world.time.monotonicNanoseconds) })
    #expect(samples.noted > 60_000)
    samples.check(inFlight: 8 * 1_300)
    #expect(world[0].figures.treeBytes == world[0].paces.repairs.noted)
  }
}
