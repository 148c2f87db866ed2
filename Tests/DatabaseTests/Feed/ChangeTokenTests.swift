import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

/// Tokens of the change feed: their bytes, damaged ones and those of others.
// Budget: 3 s
@Suite struct ChangeTokenTests {
  @Test func `a token that is at the end everywhere is short`() throws {
    let database = try SynchronousDatabase(partitions: 512)
    for number in 0..<2_000 { try database.put("k\(number)", "v") }
    #expect(try database.changes().token.bytes.count < 60)
    let page = try database.posts.changes(since: nil)
    #expect(page.token.bytes.count < 6_000)
    #expect(try ChangeToken(bytes: page.token.bytes) == page.token)
  }

  @Test func `any damage to a token is found`() throws {
    let database = try SynchronousDatabase()
    for number in 0..<100 { try database.put("k\(number)", "v") }
    let page = try database.posts.changes(since: nil, limit: ChangePageLimit(changes: 20))
    let bytes = try #require(page.changes.last).token.bytes
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x10
      #expect(thrownCode { _ = try ChangeToken(bytes: damaged) } == .damagedToken)
      #expect(thrownCode { _ = try ChangeToken(bytes: Array(bytes.prefix(index))) } == .damagedToken)
    }
    #expect(thrownCode { _ = try ChangeToken(bytes: bytes + [0]) } == .damagedToken)
  }

  @Test func `what decodes under a good seal encodes to the same bytes`() throws {
    let database = try SynchronousDatabase()
    for number in 0..<100 { try database.put("k\(number)", "v") }
    let page = try database.posts.changes(since: nil, limit: ChangePageLimit(changes: 20))
    let payload = try SealedToken.open(.changes, page.token.bytes)
    var decoded = 0
    try withSeeds("what decodes under", count: TestSize.of(quick: 2_000, full: 50_000)) { _, random in
      var bytes = payload
      for _ in 0...random.below(3) {
        switch random.below(3) {
        case 0: bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.insert(UInt8(random.below(4)), at: random.below(bytes.count))
        default: bytes.remove(at: random.below(bytes.count))
        }
      }
      do {
        let token = try ChangeToken(bytes: SealedToken.seal(.changes, bytes))
        decoded += 1
        try #require(try SealedToken.open(.changes, token.bytes) == bytes)
        // It may be of this keyspace and say anything: reading ends in an error or in changes.
        _ = try? database.posts.changes(since: token)
      } catch let error as DatabaseError {
        try #require(error.code == .damagedToken)
      }
    }
    #expect(decoded > 0)
  }

  @Test func `a token of another keyspace or database is refused`() throws {
    let database = try SynchronousDatabase()
    try database.put("k", "v")
    let token = try database.changes().token
    let others = try database.core.keyspace("others", .eventual)
    #expect(thrownCode { _ = try others.changes(since: token) } == .foreignContext)
    let elsewhere = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    #expect(thrownCode { _ = try elsewhere.posts.changes(since: token) } == .foreignContext)
    // What it says would be good, but it is no such token.
    for kind in [SealedToken.Kind.context, .scan, .export, .index] {
      let strange = SealedToken.seal(kind, token.payload)
      #expect(thrownCode { _ = try ChangeToken(bytes: strange) } == .damagedToken, "\(kind)")
    }
    var newer = token.bytes
    newer[1] = 2
    newer = Array(newer.dropLast(8))
    let checksum = Checksum.xxh64(newer)
    newer += (0..<8).map { UInt8(truncatingIfNeeded: checksum >> (8 * UInt64($0))) }
    #expect(thrownCode { _ = try ChangeToken(bytes: newer) } == .newerFormat)
  }
}
