import RoostCausality
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// The feed while partitions move to another store: what moved is told anew, and nothing is lost.
// Budget: 2 s
@Suite struct FeedMoveTests {
  /// Applies what it is told.
  private struct Reader {
    var seen: [[UInt8]: Record] = [:]
    var resynced: Set<Int> = []
    var token: ChangeToken?

    /// - Returns: whether it is at the end.
    mutating func read(_ keyspace: KeyspaceCore) throws -> Bool {
      let page = try keyspace.changes(since: token, limit: ChangePageLimit(changes: 30))
      token = try ChangeToken(bytes: page.token.bytes)
      for change in page.changes {
        switch change.event {
        case .changed(let key, let record): seen[key] = record
        case .resync(let partition): resynced.insert(partition)
        }
      }
      return page.isAtEnd
    }

    mutating func readAll(_ keyspace: KeyspaceCore) throws {
      while try !read(keyspace) {}
    }
  }

  @Test func `partitions that moved are told anew, and no change is lost`() throws {
    try withSeeds("partitions that moved", count: TestSize.of(quick: 3, full: 40)) { seed, random in
      let world = TransferWorld(seed: seed)
      let core = try world.open([0, 1])
      let keyspace = try core.keyspace("values", .eventual)
      for number in 0..<100 { try keyspace.put(text: "k\(number)", "v") }
      var reader = Reader()
      try reader.readAll(keyspace)
      let before = core.ringSnapshot.ring
      _ = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
      for step in 0..<300 {
        switch random.below(4) {
        case 0: try keyspace.put(text: "k\(random.below(120))", "s\(step)")
        case 1: _ = try reader.read(keyspace)
        default: world.runOne(&random)
        }
      }
      try core.waitUntilBalanced(.seconds(60))
      for number in 0..<10 { try keyspace.put(text: "k\(number)", "after") }
      try reader.readAll(keyspace)
      let after = core.ringSnapshot.ring
      let moved = (0..<16).filter { before.replicas(of: $0) != after.replicas(of: $0) }
      try #require(!moved.isEmpty && reader.resynced == Set(moved))
      for number in 0..<120 {
        let key = Array("k\(number)".utf8)
        let record = try key.withKeyBytes { bytes throws(DatabaseError) in
          try keyspace.record(bytes)
        }
        try #require(reader.seen[key] == record, "k\(number)")
      }
      // Everything is told: once more, nothing is.
      reader.seen = [:]
      try reader.readAll(keyspace)
      try #require(reader.seen.isEmpty)
      try core.close()
    }
  }

  /// The store is the one that the reader knows, but what it holds came to it anew: a change number of before
  /// means nothing there.
  @Test func `a partition that left and came back is told anew`() throws {
    let world = TransferWorld(seed: 3)
    let core = try world.open([0, 1])
    let keyspace = try core.keyspace("values", .eventual)
    for number in 0..<100 { try keyspace.put(text: "k\(number)", "v") }
    var reader = Reader()
    try reader.readAll(keyspace)
    let members = try [0, 1].map { try core.memberID(at: TransferWorld.path($0)) }
    let partition = try #require((0..<16).first { core.ringSnapshot.ring.replicas(of: $0) == [members[0]] })
    let before = core.ringState.tenancy(partition, 0)
    for (from, to) in [(0, 1), (1, 0)] {
      let move = PartitionMove(partition: partition, slot: 0, from: members[from], to: members[to])
      core.transfers.withRecord { record in
        record.moves = [move]
        record.plan += 1
        record.renewed = []
      }
      core.scheduleTransfers()
      try core.waitUntilBalanced(.seconds(60))
    }
    #expect(core.ringState.tenancy(partition, 0) > before)
    reader.seen = [:]
    try reader.readAll(keyspace)
    #expect(reader.resynced == [partition])
    let moved = (0..<100).map { Array("k\($0)".utf8) }.filter { key in
      Placement.partition(ofHash: key.withKeyBytes { Placement.hash($0) }, count: 16) == partition
    }
    #expect(!moved.isEmpty && Set(reader.seen.keys) == Set(moved))
    try core.close()
  }

  @Test func `an export ends with all that was there, though partitions move between its pages`() throws {
    try withSeeds("an export ends with", count: TestSize.of(quick: 3, full: 40)) { seed, random in
      let world = TransferWorld(seed: seed)
      let core = try world.open([0, 1])
      let keyspace = try core.keyspace("values", .eventual)
      for number in 0..<100 { try keyspace.put(text: "k\(number)", "v") }
      let before = core.ringSnapshot.ring
      _ = try core.addStore(TransferWorld.path(2), weight: 100, zone: "")
      var exported: Set<[UInt8]> = []
      var token: ChangeToken?
      var pages = 0
      while true {
        let page = try keyspace.export(since: token, byteLimit: 300)
        pages += 1
        token = try ChangeToken(bytes: page.token.bytes)
        exported.formUnion(page.states.map(\.key))
        if page.isComplete { break }
        try #require(pages < 1_000)
        try keyspace.put(text: "n\(pages)", "beside")
        for _ in 0..<random.below(60) { world.runOne(&random) }
      }
      try #require(before != core.ringSnapshot.ring)
      for number in 0..<100 { try #require(exported.contains(Array("k\(number)".utf8)), "k\(number)") }
      try core.close()
    }
  }
}
