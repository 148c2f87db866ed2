import RoostCausality
import RoostSimulation
import Synchronization
import TestSupport
import Testing

@testable import RoostCluster

/// Readers of changes that were away while deletes were reaped, of which nothing is left to tell.
// Budget: 5 s
@Suite struct ReapedFeedTests {
  /// Whoever follows the feed at node 0, and what it takes to be there.
  private struct Reader {
    var there: Set<String> = []
    var token: ChangeToken?
    var resyncs = 0
    var pages = 0

    /// Reads pages, to the end where it is not told how many; tokens go through their bytes.
    mutating func read(_ world: NodeWorld, pages most: Int = .max) throws {
      let keyspace = try world[0].keyspace("k")
      var left = min(most, 2_000)
      while left > 0 {
        left -= 1
        pages += 1
        let page = try world.changes(since: token, limit: 8, at: 0).page
        for change in page.changes {
          switch change.event {
          case .resync(let partition):
            resyncs += 1
            for key in there where try keyspace.partition(of: Array(key.utf8)) == partition {
              there.remove(key)
            }
          case .changed(let key, let record):
            let name = String(decoding: key, as: UTF8.self)
            if record.isTombstone { there.remove(name) } else { there.insert(name) }
          }
        }
        // As if the program had ended behind each change.
        let last = page.changes.last?.token ?? page.token
        token = try ChangeToken(bytes: (page.isAtEnd ? page.token : last).bytes)
        if page.isAtEnd { return }
      }
      if most == .max { Issue.record("a feed without an end") }
    }
  }

  /// Keys of one partition.
  private static func keys(_ count: Int, _ world: NodeWorld) -> [String] {
    Array(
      (0..<10_000).lazy.map { "k\($0)" }.filter { world[0].partition(of: Array($0.utf8)) == 5 }.prefix(count))
  }

  private static func deleteAndReap(_ key: String, _ world: NodeWorld) throws {
    try ReapingTests.delete(key, world, at: 0)
    try world.beat(60)
    #expect(try ReapingTests.holders(key, world) == 0)
  }

  @Test(arguments: [false, true])
  func `whoever missed a delete that was reaped begins its partition anew`(restarts: Bool) throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(20, world)
    for key in keys + ["elsewhere"] { try world.put(key, "v", at: 0) }
    var reader = Reader()
    try reader.read(world)
    #expect(reader.there == Set(keys + ["elsewhere"]) && reader.resyncs == 0)
    try Self.deleteAndReap(keys[3], world)
    if restarts {
      try world.close(0)
      try world.restart(0)
    }
    try reader.read(world)
    #expect(reader.there == Set(keys + ["elsewhere"]).subtracting([keys[3]]) && reader.resyncs == 1)
    // It has told what there was to tell.
    try reader.read(world)
    try world.put(keys[4], "w", at: 0)
    try reader.read(world)
    #expect(reader.resyncs == 1)
  }

  @Test func `whoever was told of a delete goes on`() throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(5, world)
    for key in keys { try world.put(key, "v", at: 0) }
    var reader = Reader()
    try ReapingTests.delete(keys[1], world, at: 0)
    try reader.read(world)
    try world.beat(60)
    #expect(try ReapingTests.holders(keys[1], world) == 0)
    try world.put(keys[2], "w", at: 0)
    try reader.read(world)
    #expect(reader.resyncs == 0 && reader.there == Set(keys).subtracting([keys[1]]))
  }

  /// What it is told lies below what was reaped, page after page.
  @Test func `whoever reads from the beginning comes to the end`() throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(31, world)
    for key in keys { try world.put(key, "v", at: 0) }
    var late = Reader()
    try late.read(world)
    try Self.deleteAndReap(keys[30], world)
    var reader = Reader()
    try reader.read(world)
    #expect(reader.resyncs == 0 && reader.there == Set(keys.dropLast()))
    // A page has one change of each partition: there were many on the way.
    #expect(reader.pages > 20)
    try late.read(world)
    #expect(late.resyncs == 1 && late.there == reader.there && late.pages > 40)
  }

  @Test func `a delete that is reaped while its partition is being told from the beginning`() throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(31, world)
    for key in keys { try world.put(key, "v", at: 0) }
    try Self.deleteAndReap(keys[30], world)
    var reader = Reader()
    try reader.read(world, pages: 5)
    #expect(reader.there.contains(keys[0]) && !reader.there.contains(keys[29]) && reader.resyncs == 0)
    // One that it was told of, and one that it was not.
    try ReapingTests.delete(keys[29], world, at: 0)
    try Self.deleteAndReap(keys[0], world)
    #expect(try ReapingTests.holders(keys[29], world) == 0)
    try reader.read(world)
    #expect(reader.resyncs == 1 && reader.there == Set(keys[1..<29]))
  }

  /// A delete below the clock that is not in the store yet may be reaped later: its key is told until then.
  @Test func `a partition that is still to be told begins below what is on its way`() throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(3, world)
    for key in keys { try world.put(key, "v", at: 0) }
    try Self.deleteAndReap(keys[2], world)
    let keyspace = try world[0].keyspace("k")
    let before = keyspace.shared.clock.latest.rawValue
    // As whoever writes some other key says, between two words.
    let own = keyspace.shared.locks.number(unsafe Placement.hash(Array(keys[1].utf8).span.bytes))
    let stripe = keyspace.shared.locks.stripes[(own + 1) % KeyLocks.count]
    stripe.inFlight.store(before, ordering: .sequentiallyConsistent)
    try world.put(keys[1], "w", at: 1)
    #expect(keyspace.shared.clock.latest.rawValue > before)
    // The page before it has room for one partition only.
    let page = try keyspace.changesToEnd(since: nil, limit: ChangePageLimit(changes: 1, work: 1))
    stripe.inFlight.store(0, ordering: .sequentiallyConsistent)
    let place = page.token.position.places[5]
    #expect(!page.isAtEnd && place.tenure != nil && place.began == before)
  }

  /// What was reaped since it began lies above its end, for ever.
  @Test(arguments: [false, true])
  func `a reading that ends comes to its end, and tells each key once`(pauses: Bool) throws {
    let world = try ReapingTests.world()
    let keys = Self.keys(31, world)
    for key in keys { try world.put(key, "v", at: 0) }
    try Self.deleteAndReap(keys[30], world)
    let keyspace = try world[0].keyspace("k")
    var (token, told, pages) = (ChangeToken?.none, [[UInt8]](), 0)
    var isAtEnd = false
    while !isAtEnd, pages < 500 {
      let page = try keyspace.changesToEnd(since: token, limit: ChangePageLimit(changes: 8))
      for case .changed(let key, _) in page.changes.map(\.event) { told.append(key) }
      token = try ChangeToken(bytes: page.token.bytes)
      isAtEnd = page.isAtEnd
      pages += 1
      if pauses, pages == 5 {
        try Self.deleteAndReap(keys[0], world)
        // It begins the partition anew.
        told = []
      }
    }
    #expect(isAtEnd && told.count == (pauses ? 29 : 30) && Set(told).count == told.count)
  }
}
