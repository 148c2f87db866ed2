import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Transactional keys come to another node at the rate of moves.
// Budget: 10 s
@Suite struct RemotePaceTests {
  @Test func `a node that joins is brought transactional keys at its rate`() throws {
    let (rate, valueBytes) = (2 << 10, 20_000)
    let (world, names) = try RemoteMoveTests.world(3, replicas: 1)
    let value = String(repeating: "x", count: valueBytes)
    for (number, name) in names.enumerated() {
      try RemoteMoveTests.write(world, [name: value], at: number % 3)
    }
    world.takesPart = { $0.moveBytesPerSecond = rate }
    let new = try world.join()
    let pace = try world.node(new).paces.moves
    // What was noted, whenever that had changed.
    var samples = [(at: world.time.monotonicNanoseconds, noted: pace.noted)]
    var wasUnderWay = false
    for _ in 0..<20_000 {
      world.step()
      if samples.last?.noted != pace.noted { samples.append((world.time.monotonicNanoseconds, pace.noted)) }
      if try world.node(new).figures.movesUnderWay > 0 { wasUnderWay = true }
      let record = try world.database()
      if record.change == nil, record.ring.copies.isEmpty, record.ring.drops.isEmpty { break }
    }
    try world.settleMembers(1)
    // What came last may be owed: a page, which has one key's value and a little.
    let atOnce = Double(4_096 + valueBytes + 1_000)
    for i in samples.indices {
      for j in i..<samples.count {
        let seconds = Double(samples[j].at - samples[i].at) / 1e9
        let bytes = Double(samples[j].noted - samples[i].noted)
        if bytes <= atOnce + Double(rate) * seconds { continue }
        Issue.record("\(bytes) bytes in \(seconds) s")
        return
      }
    }
    let figures = try world.node(new).figures
    #expect(figures.movedBytes > 3 * UInt64(valueBytes), "or nothing was to be waited for")
    #expect(wasUnderWay && figures.movesUnderWay == 0 && figures.movesDone >= 3)
    try RemoteMoveTests.check(world, names, value)
  }

  @Test func `a node that waits for its pace for longer than a silence may be is not given up`() throws {
    let valueBytes = 20_000
    let (world, _) = try RemoteMoveTests.world(3, replicas: 1)
    // Of the node that joins: the others know nothing of it.
    world.takesPart = { $0.moveBytesPerSecond = 1 << 10 }
    try world.subvert { $0.stopsBefore = [.catchUp] }
    let new = try world.join()
    for _ in 0..<200 { world.step() }
    let (move, owner) = try RemoteMoveTests.underWay(world)
    // A page that keeps it waiting for more than a minute and a half.
    let all = (0..<2_000).map { "account\($0)" }
    let names = Array(all.filter { world.partition($0) == move.partition }.prefix(5))
    let value = String(repeating: "x", count: valueBytes)
    for name in names { try RemoteMoveTests.write(world, [name: value], at: owner) }
    try world.subvert { $0.stopsBefore = [] }
    let begun = world.time.monotonicNanoseconds
    for _ in 0..<60_000 {
      let seconds = (world.time.monotonicNanoseconds - begun) / 1_000_000_000
      if try seconds > 400 || world.node(new).figures.movesDone > 0 { break }
      world.step()
    }
    #expect(world.time.monotonicNanoseconds - begun > 80_000_000_000, "or nothing was to be waited for")
    #expect(try world.node(new).figures.movesDone > 0)
    #expect(try world.owner(names[0]) == new)
    try world.settleMembers()
    #expect(try world.values(names, at: new) == names.map { _ in value })
  }
}
