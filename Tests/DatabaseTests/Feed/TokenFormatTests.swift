import Roost
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// The examples of FORMAT.md's sections on the feed, tokens and exports, read and written again.
// Budget: 1 s
@Suite struct TokenFormatTests {
  private let binding: UInt64 = 0x1122_3344_5566_7788
  private let first = ReplicaID(rawValue: 0x00a1_0000_0000_0001)
  private let second = ReplicaID(rawValue: 0x3f02_0000_0000_0002)
  private let later = Timestamp(milliseconds: 1_735_689_600_000, logical: 7).rawValue
  private let earlier = Timestamp(milliseconds: 1_735_689_600_000).rawValue

  @Test func `a change's entry`() throws {
    let example = try FormatDocument.example("change")
    #expect(FeedKey.make(5, later) + Array("bio".utf8) == example)
  }

  @Test func `a context`() throws {
    let example = try FormatDocument.example("context-token")
    let vector = VersionVector([
      Dot(replica: first, counter: 300), Dot(replica: second, counter: 4),
    ])
    let context = CausalContext(
      binding: binding, vector: vector, dot: Dot(replica: second, counter: 9))
    #expect(context.bytes == example)
    #expect(try CausalContext(bytes: example) == context)
  }

  @Test func `a change token`() throws {
    let example = try FormatDocument.example("change-token")
    let early = FeedPosition.Tenure(member: MemberID(rawValue: 10), tenancy: 1)
    let moved = FeedPosition.Tenure(member: MemberID(rawValue: 10), tenancy: 3)
    var position = FeedPosition(partitionCount: 8)
    position.next = 2
    for partition in 0..<5 {
      position.places[partition].tenure = early
      position.places[partition].number = later
    }
    position.places[5].tenure = moved
    position.places[5].number = earlier
    #expect(SealedToken.seal(.changes, position.encoded(binding)) == example)
    let token = try ChangeToken(bytes: example)
    #expect(token.keyspace == binding && token.position == position)
    #expect(token.bytes == example)
    // An export that is not done says at its end where it ends.
    let bounded = try ChangeToken(
      bytes: SealedToken.seal(.changes, position.encoded(binding) + [0x87, 0x01]))
    #expect(bounded.position == position && bounded.bound == 135 && bounded != token)
    #expect(try ChangeToken(bytes: bounded.bytes) == bounded)
    let zero = SealedToken.seal(.changes, position.encoded(binding) + [0])
    #expect(thrownCode { _ = try ChangeToken(bytes: zero) } == .damagedToken)
  }

  @Test func `a token of a partition that is being told anew`() throws {
    let example = try FormatDocument.example("change-token-beginnings")
    var position = try ChangeToken(bytes: FormatDocument.example("change-token")).position
    let whole = position.encoded(binding)
    position.places[5] = FeedPosition.Place(tenure: position.places[5].tenure, number: earlier, began: later)
    #expect(position.encoded(binding) == whole + example)
    let token = try ChangeToken(bytes: SealedToken.seal(.changes, whole + example))
    #expect(token.position == position && token.position.places[5].began == later && token.bound == nil)
    // With a bound behind it.
    let bounded = try ChangeToken(bytes: SealedToken.seal(.changes, position.encoded(binding, until: 135)))
    #expect(bounded.position == position && bounded.bound == 135)
    // Once it has come so far there is nothing to say.
    position.places[5].number = later
    #expect(position.places[5].began == 0)
    // No beginning at all, one that lies behind the reader, and one that is cut off.
    for rubbish in [[0, 6, 0, 0], [0, 5, 0, 1, 9, 0], Array(example.dropLast()), example + [0]] as [[UInt8]] {
      let bytes = SealedToken.seal(.changes, whole + rubbish)
      #expect(thrownCode { _ = try ChangeToken(bytes: bytes) } == .damagedToken)
    }
  }

  @Test func `the mark of what was reaped`() throws {
    let example = try FormatDocument.example("reaped-mark")
    #expect(ReapedMark.key(5) + ReapedMark.encode(later) == example)
    #expect(try ReapedMark.decode(Array(example[10...])) == later)
    #expect(thrownCode { _ = try ReapedMark.decode(Array(example[10...17])) } == .corruption)
    #expect(thrownCode { _ = try ReapedMark.decode([2] + example[11...]) } == .newerFormat)
  }

  @Test func `a scan token`() throws {
    let example = try FormatDocument.example("scan-token")
    let bounds = ScanToken.bounds(.prefix("song:"), .ascending)
    let token = ScanToken(keyspace: binding, bounds: bounds, key: Array("song:42".utf8))
    #expect(token.bytes == example)
    #expect(try ScanToken(bytes: example) == token)
    // What the document says its bounds are.
    let shown = [0, 0, 0, 5] + Array("song:".utf8) + [0]
    #expect(Checksum.xxh64(shown) == bounds)
  }

  @Test func `an index token`() throws {
    let example = try FormatDocument.example("index-token")
    let bounds = IndexToken.bounds("author", .equals(Array("ada".utf8)))
    let suffix = IndexKey.suffix(Array("ada".utf8), Array("p:1".utf8))
    let token = IndexToken(keyspace: binding, bounds: bounds, suffix: suffix)
    #expect(token.bytes == example)
    #expect(try IndexToken(bytes: example) == token)
    let shown = [6] + Array("author".utf8) + [1, 1, 3] + Array("ada".utf8) + [0]
    #expect(Checksum.xxh64(shown) == bounds)
  }

  @Test func `an export`() throws {
    let example = try FormatDocument.example("states-export")
    let page = try ExportPage(bytes: example)
    #expect(page.keyspace == "posts" && page.kind == .keep && page.isComplete && page.count == 1)
    #expect(page.token.position.places.allSatisfy { $0.number == later })
    let state = try #require(page.states.first)
    #expect(state.key == Array("likes".utf8))
    #expect(try state.record.state(as: PNCounter.self).value() == 2)
    #expect(state.record.context[first] == 2)
    #expect(page.bytes == example)
  }
}
