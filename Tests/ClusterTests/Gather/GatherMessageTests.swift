import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Messages about many keys at once: they come back as they went, and damage is refused.
// Budget: 5 s
@Suite struct GatherMessageTests {
  private static let head = MessageHead(
    database: DatabaseID(high: 1, low: .max), ring: RingPrint(revision: 300, print: 7), keyspace: 2)

  private static func pageRequest(_ partitions: [Int]) throws -> PageRequest {
    let plan = try ScanPlan(.range(from: "a", to: "b"), .descending, after: nil, partitionCount: 16)
    return PageRequest(
      head, plan, .descending, entryLimit: 64, byteLimit: 1 << 18, partitions: partitions)
  }

  private static func record() throws -> Record {
    let world = try NodeWorld(1, replicas: 1)
    try world.make()
    try world.put("k", "v", at: 0)
    return try #require(try world.held("k", at: 0))
  }

  private static var position: FeedPosition {
    var position = FeedPosition(partitionCount: 16)
    position.next = 3
    let tenure = FeedPosition.Tenure(member: MemberID(rawValue: 7), tenancy: 300)
    position.places[3] = FeedPosition.Place(tenure: tenure, number: 70_000)
    return position
  }

  private static func feedRequest() -> FeedRequest {
    FeedRequest(
      head, seed: 9, position, [3, 4], isBounded: true, until: 99, changeLimit: 5, byteLimit: 1_000)
  }

  private static func part(_ record: Record) -> FeedPart {
    let tenure = FeedPosition.Tenure(member: MemberID(rawValue: 7), tenancy: 1)
    return FeedPart(
      partitions: [3, 4], steps: [FeedTrail.Step(partition: 4, tenure: tenure, number: 80, began: 300)],
      found: [
        FeedPart.Found(event: .resync(partition: 4), step: 0, number: 0),
        FeedPart.Found(event: .changed(key: [1], record), step: 0, number: 80),
      ], next: 5, isAtEnd: false, settled: 90)
  }

  @Test func `partitions are runs`() throws {
    for partitions in [[0], [5], [0, 1, 2], [0, 2, 4], [3, 4, 5, 9, 10, 32_767], Array(0..<512)] {
      var writer = FieldWriter()
      writer.write(partitions: partitions)
      var reader = FieldReader(writer.bytes, "test")
      #expect(try reader.readPartitions() == partitions)
      try reader.readEnd()
    }
    // None; a run of none; two runs that are one; beyond all rings; a length that overflows.
    for bytes: [UInt8] in [
      [0], [1, 0, 0], [2, 0, 1, 0, 1], [1, 0xFF, 0xFF, 0x01, 2], [1, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
    ] {
      #expect(
        code {
          var reader = FieldReader(bytes, "test"); _ = try reader.readPartitions()
        } == .corruption)
    }
  }

  @Test func `messages come back as they went`() throws {
    var page = try Self.pageRequest([0, 1, 7])
    #expect(try PageRequest(decoding: page.encoded()) == page)
    page.index = PageRequest.IndexName(name: "author", version: 1 << 40)
    #expect(try PageRequest(decoding: page.encoded()) == page)
    var records = RecordPage()
    #expect(try RecordPage(decoding: records.encoded()) == records)
    records.entries = [RecordPage.Entry(key: [1], record: [2, 3])]
    records.through = [1]
    #expect(try RecordPage(decoding: records.encoded()) == records)
    var scan = ScanRequest(.prefix("u:").tagged("t"), .descending, in: "posts", limit: 7)
    scan.quorum = 2
    scan.range.upper = [9]
    #expect(try ScanRequest(decoding: scan.encoded()) == scan)
    let record = try Self.record()
    let answer = ScanAnswer(
      policy: .lastWriterWins, entries: [ScanAnswer.Entry(key: [1, 2], record: record)])
    #expect(try ScanAnswer(decoding: answer.encoded()) == answer)
    let feed = try FeedRequest(decoding: Self.feedRequest().encoded())
    #expect(feed.encoded() == Self.feedRequest().encoded())
    #expect(feed.partitions == [3, 4] && feed.until == 99 && feed.position == Self.position)
    let part = try FeedPart(
      decoding: Self.part(record).encoded(MemberID(rawValue: 7)), of: [3, 4], count: 16)
    #expect(part.encoded(MemberID(rawValue: 7)) == Self.part(record).encoded(MemberID(rawValue: 7)))
    #expect(part.steps[0].began == 300)
    // An earlier release's does not say where a partition was begun.
    var plain = Self.part(record)
    plain.found = []
    plain.steps[0].began = 0
    var earlier = plain.encoded(MemberID(rawValue: 7))
    earlier[0] = 1
    earlier.remove(at: earlier.count - 2)
    let read = try FeedPart(decoding: earlier, of: [3, 4], count: 16)
    #expect(read.encoded(MemberID(rawValue: 7)) == plain.encoded(MemberID(rawValue: 7)))
    let token = ChangeToken(keyspace: 9, Self.position)
    let request = ChangesRequest(in: "posts", limit: 3, since: token)
    #expect(try ChangesRequest(decoding: request.encoded()) == request)
    let changes = ChangesAnswer(
      policy: .keep, ChangePage(keyspace: 9, after: token, Self.position, [Self.part(record)]))
    let again = try ChangesAnswer(decoding: changes.encoded())
    #expect(again.encoded() == changes.encoded() && again.events.count == 2)
  }

  @Test func `damage is refused or is another message`() throws {
    let record = try Self.record()
    var records = RecordPage()
    records.entries = [RecordPage.Entry(key: [1], record: [2, 3])]
    records.through = [1]
    let token = ChangeToken(keyspace: 9, Self.position)
    let bodies = [
      try Self.pageRequest([0, 1, 7]).encoded(), records.encoded(),
      ScanRequest(.prefix("u:"), in: "posts", limit: 7).encoded(),
      ScanAnswer(policy: .keep, entries: [ScanAnswer.Entry(key: [1], record: record)]).encoded(),
      Self.feedRequest().encoded(), Self.part(record).encoded(MemberID(rawValue: 7)),
      ChangesRequest(in: "posts", limit: 3, since: token).encoded(),
      ChangesAnswer(policy: .keep, ChangePage(keyspace: 9, after: token, Self.position, [Self.part(record)]))
        .encoded(),
    ]
    func decoders(_ bytes: [UInt8]) -> [() throws -> Void] {
      [
        { _ = try PageRequest(decoding: bytes) }, { _ = try RecordPage(decoding: bytes) },
        { _ = try ScanRequest(decoding: bytes) }, { _ = try ScanAnswer(decoding: bytes) },
        { _ = try FeedRequest(decoding: bytes) },
        {
          let part = try FeedPart(decoding: bytes, of: [3, 4], count: 16)
          // What is taken can be told.
          _ = ChangePage(keyspace: 9, after: nil, Self.position, [part]).changes.map(\.token.bytes)
        },
        { _ = try ChangesRequest(decoding: bytes) }, { _ = try ChangesAnswer(decoding: bytes) },
      ]
    }
    for (kind, body) in bodies.enumerated() {
      #expect(throws: Never.self) { try decoders(body)[kind]() }
      for count in 0..<body.count {
        #expect(throws: DatabaseError.self) { try decoders(Array(body.prefix(count)))[kind]() }
      }
      for index in body.indices {
        for bit in 0..<8 {
          var damaged = body
          damaged[index] ^= 1 << bit
          for decode in decoders(damaged) { try? decode() }
        }
      }
    }
  }

  @Test func `the document's requests are those that are sent`() throws {
    var scan = ScanRequest(.prefix("u:"), in: "posts", limit: 100)
    scan.quorum = 2
    #expect(scan.encoded() == (try FormatDocument.example("scan-request")))
    #expect(try FormatDocument.example("page-request") == Self.pageRequest([0, 1, 7]).encoded())
  }
}
