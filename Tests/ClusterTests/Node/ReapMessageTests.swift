import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// What replicas say to each other about reaping: it comes back as it went, and damage is refused.
// Budget: 1 s
@Suite struct ReapMessageTests {
  private static let message = ReapMessage(
    MessageHead(database: DatabaseID(high: 1, low: 2), ring: RingPrint(revision: 3, print: 4), keyspace: 5),
    partition: 6, asked: Timestamp(milliseconds: 1_735_689_600_000), horizon: 864_000_000, seed: 7,
    keys: [HashedKey(key: Array("k".utf8), hash: 8)])

  @Test func `the document's message is the one that is sent`() throws {
    let shown = try FormatDocument.example("reap")
    #expect(Self.message.encoded() == shown)
    #expect(try ReapMessage(decoding: shown) == Self.message)
  }

  @Test func `damaged messages are refused`() throws {
    let bytes = Self.message.encoded()
    for count in 0..<bytes.count {
      #expect(code { _ = try ReapMessage(decoding: Array(bytes[..<count])) } == .invalidArgument)
    }
    #expect(code { _ = try ReapMessage(decoding: bytes + [0]) } == .invalidArgument)
    #expect(code { _ = try ReapMessage(decoding: [2] + bytes.dropFirst()) } == .newerFormat)
    var empty = Self.message
    empty.keys = [HashedKey(key: [], hash: 1)]
    #expect(code { _ = try ReapMessage(decoding: empty.encoded()) } == .invalidArgument)
  }

  @Test func `verdicts are one for each key`() throws {
    #expect(try ReapMessage.verdicts([0, 1, 2], count: 3) == [.nothing, .same, .other])
    #expect(code { _ = try ReapMessage.verdicts([0, 1], count: 3) } == .corruption)
    #expect(code { _ = try ReapMessage.verdicts([3], count: 1) } == .corruption)
  }

  @Test func `what a member has told of its reaping comes back`() throws {
    let before = Timestamp(milliseconds: 1_735_689_600_000, logical: 3)
    #expect(try ReapingEvidence.decode(ReapingEvidence.encode(before)) == before)
    #expect(code { _ = try ReapingEvidence.decode([1, 2]) } == .corruption)
    let newer = [2] + ReapingEvidence.encode(before).dropFirst()
    #expect(code { _ = try ReapingEvidence.decode(Array(newer)) } == .newerFormat)
  }

  @Test func `a state says when it was read, where tombstones are reaped`() throws {
    var message = ReplicaMessage(
      MessageHead(database: DatabaseID(high: 1, low: 2), ring: RingPrint(revision: 3, print: 4), keyspace: 5),
      key: [9])
    let plain = message.encoded()
    #expect(try ReplicaMessage(decoding: plain).asOf == nil)
    message.asOf = Timestamp(milliseconds: 12)
    message.isOld = true
    message.isSynced = true
    let bytes = message.encoded()
    #expect(bytes.count == plain.count + 8)
    let read = try ReplicaMessage(decoding: bytes)
    #expect(read.asOf == message.asOf && read.isOld && read.isSynced && read.key == [9])
  }
}
