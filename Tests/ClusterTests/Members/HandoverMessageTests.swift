import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// What nodes say to each other so that transactional keys change their owner: it comes back as it went, and
/// damage is refused.
// Budget: 5 s
@Suite struct HandoverMessageTests {
  private static let database = DatabaseID(high: 1, low: 2)
  private static let move = PartitionMove(
    partition: 300, slot: 0, from: MemberID(rawValue: 3), to: MemberID(rawValue: .max))

  private static let steps: [HandoverRequest.Step] = [
    .begin, .page(keyspace: 7, .history, from: [1, 44, 0], byteLimit: 1 << 18),
    .page(keyspace: 1 << 40, .current, from: [], byteLimit: 1), .written(byteLimit: 0), .freeze, .thaw,
    .giveUp,
  ]

  private static let requests = steps.enumerated().map { index, step in
    HandoverRequest(
      database: database, revision: 9, move, session: .max, number: UInt64(index), step)
  }

  private static var page: VersionEntries {
    var page = VersionEntries()
    page.append(VersionEntries.Entry(keyspace: 2, tree: .current, key: [1, 44, 65], value: [1, 2]))
    page.append(VersionEntries.Entry(keyspace: 2, tree: .current, key: [1, 44, 66], value: nil))
    page.append(VersionEntries.Entry(keyspace: 300, tree: .history, key: [1, 44, 67, 0, 0], value: []))
    return page
  }

  private static var bequest: TransactionBequest {
    var bequest = TransactionBequest()
    bequest.records = [TransactionBequest.Record(key: [1, 2], value: []), .init(key: [3], value: [4])]
    bequest.ended = [5, .max]
    return bequest
  }

  private static let givenUp = HandoverAnswer.GivenUp(
    highest: Timestamp(milliseconds: 5, logical: 6),
    floors: [1: .zero, 900: Timestamp(milliseconds: 4)])

  @Test func `messages come back as they went`() throws {
    for request in Self.requests { #expect(try HandoverRequest(decoding: request.encoded()) == request) }
    let begun = HandoverAnswer.Begun(session: 7, keyspaces: [1, 300])
    #expect(try HandoverAnswer.Begun(decoding: begun.encoded()) == begun)
    for next in [nil, [7]] as [[UInt8]?] {
      let brought = HandoverAnswer.Brought(Self.page, next: next)
      #expect(try HandoverAnswer.Brought(decoding: brought.encoded()) == brought)
    }
    let written = HandoverAnswer.Written(Self.page, left: 300)
    #expect(try HandoverAnswer.Written(decoding: written.encoded()) == written)
    #expect(try HandoverAnswer.GivenUp(decoding: Self.givenUp.encoded()) == Self.givenUp)
    for isDrained in [false, true] {
      #expect(try HandoverAnswer.isDrained(HandoverAnswer.encode(isDrained: isDrained)) == isDrained)
    }
    for partition in [nil, 0, 32_767] {
      let naming = NamingRequest(
        database: Self.database, revision: 7, MemberID(rawValue: 8), partition: partition)
      #expect(try NamingRequest(decoding: naming.encoded()) == naming)
    }
    #expect(try NamingRequest.unfinished(NamingRequest.encode(unfinished: 300)) == 300)
    let bytes = Self.bequest.encoded(of: MemberID(rawValue: 4), Self.database)
    let decoded = try TransactionBequest.decode(bytes)
    #expect(decoded.bequest == Self.bequest && decoded.member == MemberID(rawValue: 4))
    #expect(decoded.database == Self.database)
  }

  /// The bytes are for good.
  @Test func `messages have the bytes that the format says`() throws {
    let request = HandoverRequest(
      database: Self.database, revision: 9, PartitionMove(
        partition: 300, slot: 0, from: MemberID(rawValue: 3), to: MemberID(rawValue: 4)),
      session: 5, number: 2, .page(keyspace: 1, .history, from: [], byteLimit: 1_000))
    #expect(request.encoded() == (try FormatDocument.example("handover-request")))
    #expect(NodeMessageKind.handover == 30 && NodeMessageKind.naming == 31 && NodeMessageKind.bequest == 32)
    let record = HandoverRecord(partition: 12, member: MemberID(rawValue: 3), highest: .zero)
    #expect(HandoverRecord.key(of: record.partition) == "handover/12")
  }

  @Test func `answers of a handover have the bytes that the format says`() throws {
    let begun = HandoverAnswer.Begun(session: 5, keyspaces: [1, 300])
    let shownBegun = try FormatDocument.example("handover-begun")
    #expect(begun.encoded() == shownBegun)
    #expect(try HandoverAnswer.Begun(decoding: shownBegun) == begun)
    var page = VersionEntries()
    let value = StoredVersion(Timestamp(milliseconds: 1_000, logical: 1), Array("1".utf8)).encoded()
    let stored: [(key: String, value: [UInt8]?)] = [("A", value), ("B", nil)]
    for (key, value) in stored {
      page.append(
        VersionEntries.Entry(
          keyspace: 1, tree: .current, key: VersionKey.current(300, Array(key.utf8)), value: value))
    }
    let brought = HandoverAnswer.Brought(page, next: nil)
    let shownPage = try FormatDocument.example("handover-page")
    #expect(brought.encoded() == shownPage)
    #expect(try HandoverAnswer.Brought(decoding: shownPage) == brought)
    let givenUp = HandoverAnswer.GivenUp(
      highest: Timestamp(milliseconds: 1_000, logical: 2),
      floors: [1: Timestamp(milliseconds: 1_000, logical: 1)])
    let shownEnd = try FormatDocument.example("handover-given-up")
    #expect(givenUp.encoded() == shownEnd)
    #expect(try HandoverAnswer.GivenUp(decoding: shownEnd) == givenUp)
  }

  @Test func `questions and bequests of members that leave have the bytes that the format says`() throws {
    let naming = NamingRequest(
      database: Self.database, revision: 9, MemberID(rawValue: 3), partition: 300)
    let shownNaming = try FormatDocument.example("naming-request")
    #expect(naming.encoded() == shownNaming)
    #expect(try NamingRequest(decoding: shownNaming) == naming)
    let answer = try FormatDocument.example("naming-answer")
    #expect(NamingRequest.encode(unfinished: 2) == answer)
    #expect(try NamingRequest.unfinished(answer) == 2)
    // The record is the document's outcome: its key, and what stands under it.
    let outcome = try FormatDocument.example("outcome")
    var bequest = TransactionBequest()
    bequest.records = [
      TransactionBequest.Record(key: Array(outcome.prefix(17)), value: Array(outcome.dropFirst(17)))
    ]
    bequest.ended = [0xC0FF_EE00_0000_0001]
    let shown = try FormatDocument.example("bequest")
    #expect(bequest.encoded(of: MemberID(rawValue: 3), Self.database) == shown)
    let decoded = try TransactionBequest.decode(shown)
    #expect(decoded.bequest == bequest && decoded.member == MemberID(rawValue: 3))
    #expect(decoded.database == Self.database)
  }

  @Test func `cut off or changed, each is refused or is another`() {
    let bodies =
      Self.requests.map { $0.encoded() } + [
        HandoverAnswer.Begun(session: 7, keyspaces: [1, 300]).encoded(),
        HandoverAnswer.Brought(Self.page, next: [7]).encoded(), Self.givenUp.encoded(),
        NamingRequest(database: Self.database, revision: 7, MemberID(rawValue: 8), partition: 3).encoded(),
        Self.bequest.encoded(of: MemberID(rawValue: 4), Self.database),
      ]
    func decodeAll(_ bytes: [UInt8]) {
      _ = try? HandoverRequest(decoding: bytes)
      _ = try? HandoverAnswer.Begun(decoding: bytes)
      _ = try? HandoverAnswer.Brought(decoding: bytes)
      _ = try? HandoverAnswer.Written(decoding: bytes)
      _ = try? HandoverAnswer.GivenUp(decoding: bytes)
      _ = try? HandoverAnswer.isDrained(bytes)
      _ = try? NamingRequest(decoding: bytes)
      _ = try? TransactionBequest.decode(bytes)
    }
    for body in bodies {
      for count in body.indices { decodeAll(Array(body[..<count])) }
      for bit in 0..<(8 * body.count) {
        var changed = body
        changed[bit / 8] ^= 1 << UInt8(bit % 8)
        decodeAll(changed)
      }
    }
    for request in Self.requests {
      let body = request.encoded()
      #expect(code { _ = try HandoverRequest(decoding: Array(body.dropLast())) } == .invalidArgument)
      #expect(code { _ = try HandoverRequest(decoding: [2] + body.dropFirst()) } == .newerFormat)
    }
  }
}
