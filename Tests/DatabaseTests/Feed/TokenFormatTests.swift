import Roost
import TestSupport
import Testing

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
