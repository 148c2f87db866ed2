import RoostCausality
import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostTransactions

/// What nodes send each other about transactions, as bytes.
// Budget: 2 s
@Suite struct RemoteMessageTests {
  private static let header = RemoteHeader(
    database: DatabaseID(high: 1, low: 2), member: member(3), clockBoundMilliseconds: 250,
    timestamp: Timestamp(milliseconds: 1_000, logical: 7), physicalMilliseconds: 999)

  private static func remote(_ body: Message.Body, to: Endpoint = .participant(member(9))) -> RemoteEnvelope {
    RemoteEnvelope(
      Envelope(
        from: here, to: to, timestamp: header.timestamp, physicalMilliseconds: header.physicalMilliseconds,
        Message(txn(5), body)),
      database: header.database, member: header.member,
      clockBoundMilliseconds: header.clockBoundMilliseconds)
  }

  private static let time = Timestamp(milliseconds: 77, logical: 3)

  static let bodies: [Message.Body] = {
    let refusals: [Refusal] = [
      .wounded, .deadline, .restarted, .notOwner, .moving, .refusedBefore, .expired, .clock, .failed("disk"),
    ]
    let locks: [LockTarget] = [
      .shared(key("a", partition: 3)), .exclusive(key("b")), .sharedRange(range("a", "f")),
      .sharedRange(range("", nil)),
    ]
    let reads: [TransactionRead?] = [
      nil, .keys([]), .keys([key("a"), key("b")]), .range(range("a", nil), limit: 10_000),
      .range(range("", "z"), limit: 1),
    ]
    let writes = [put("a", "1"), TransactionWrite(key("b", partition: 32_767), nil), put("c", "")]
    let effects: [EventualEffect.Change] = [
      .increment(.min), .put([1], context: nil), .put([], context: [7]), .delete(context: nil),
      .delete(context: [1, 2]),
    ]
    var bodies: [Message.Body] = reads.map {
      .acquire(
        AcquireRequest(request: 1, age: txn(2), locks: locks, read: $0, epoch: nil, waitMilliseconds: 5_000))
    }
    bodies.append(
      .acquire(
        AcquireRequest(request: .max, age: txn(2), locks: [], read: nil, epoch: .max, waitMilliseconds: 0)))
    bodies.append(
      .prepare(PrepareRequest(epoch: 7, writes: writes, writers: [member(1), member(2)], isSynced: true)))
    bodies.append(.prepare(PrepareRequest(epoch: 7, writes: [], writers: [], isSynced: false)))
    bodies.append(
      .commitAtOnce(
        CommitAtOnceRequest(
          request: 4, age: txn(2), epoch: 8, writes: writes, waitMilliseconds: 10, isSynced: true)))
    bodies += effects.enumerated().map { index, change in
      .effect(
        EventualEffect(keyspace: 2, key: [1, 2], change: change, target: member(4)), index: index,
        outcome: index == 0 ? time : nil)
    }
    bodies += refusals.map { .refused(request: 3, $0) }
    bodies += refusals.map { .vote(.no($0)) }
    bodies += [
      .commit(time), .abort, .forgetEffects, .wounded, .acknowledged, .inquire, .vote(.yes(time)),
      .vote(.readOnly(time, bound: time)), .committedAtOnce(request: 3, time), .effectDone(index: 3),
      .effectFailed(index: 0, "no counter"), .answer(.committed(time)), .answer(.aborted), .answer(.unknown),
      .acquired(request: 1, epoch: 2, ReadAnswer()),
      .acquired(
        request: 1, epoch: 2,
        ReadAnswer([ReadEntry(key("a"), [1, 2], at: time)], isComplete: false, next: Array("b".utf8))),
    ]
    return bodies
  }()

  @Test func `every message comes back as it went`() throws {
    for body in Self.bodies {
      let sent = Self.remote(body)
      #expect(try RemoteEnvelope(decoding: sent.encoded()) == sent, "\(body)")
    }
    let answer = Self.remote(.acknowledged, to: .coordinator(CoordinatorID(rawValue: .max)))
    #expect(try RemoteEnvelope(decoding: answer.encoded()) == answer)
    for read in [TransactionRead.keys([key("a")]), .range(range("a", "b"), limit: 5)] {
      let request = RemoteRead(Self.header, of: member(2), at: Self.time, read)
      #expect(try RemoteRead(decoding: request.encoded()) == request)
    }
    let found = ReadAnswer([ReadEntry(key("a"), [1, 2], at: Self.time)])
    for answer in [RemoteReadAnswer.found(ReadAnswer()), .found(found), .tooOld(clock: Self.time, "gone")] {
      #expect(try RemoteReadAnswer(decoding: answer.encoded()) == answer)
    }
    let question = OutcomeQuestion(Self.header, txn(1))
    #expect(try OutcomeQuestion(decoding: question.encoded()) == question)
  }

  @Test func `rubbish throws, and never traps`() throws {
    for body in Self.bodies {
      let bytes = Self.remote(body).encoded()
      for end in bytes.indices {
        #expect(throws: DatabaseError.self) { _ = try RemoteEnvelope(decoding: Array(bytes[..<end])) }
      }
      #expect(throws: DatabaseError.self) { _ = try RemoteEnvelope(decoding: bytes + [0]) }
    }
    try withSeeds("RemoteMessageTests", count: 20) { _, random in
      for body in Self.bodies {
        var bytes = Self.remote(body).encoded()
        for _ in 0...random.below(3) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
        // What can be read is what is written.
        guard let read = try? RemoteEnvelope(decoding: bytes) else { continue }
        #expect(read.encoded() == bytes)
      }
      let noise = random.bytes(random.below(200))
      _ = try? RemoteEnvelope(decoding: [1] + noise)
      _ = try? RemoteRead(decoding: [1] + noise)
      _ = try? OutcomeQuestion(decoding: [1] + noise)
      _ = try? OutcomeStanding(decoding: [1] + noise)
      _ = try? RemoteReadAnswer(decoding: noise)
      _ = try? RemoteReadAnswer(decoding: [4] + noise)
    }
  }

  @Test func `a message of a later version is named so`() {
    var bytes = Self.remote(.abort).encoded()
    bytes[0] = 2
    let error = #expect(throws: DatabaseError.self) { _ = try RemoteEnvelope(decoding: bytes) }
    #expect(error?.code == .newerFormat)
  }

  @Test func `the document's message is the one that is sent`() throws {
    let sent = RemoteEnvelope(
      Envelope(
        from: .coordinator(CoordinatorID(rawValue: 5)), to: .participant(member(6)),
        timestamp: Timestamp(rawValue: 0x0000_0000_03E8_0007), physicalMilliseconds: 999,
        Message(
          TransactionID(
            start: Timestamp(rawValue: 0x0000_0000_03E8_0001), coordinator: CoordinatorID(rawValue: 5)),
          .prepare(
            PrepareRequest(
              epoch: 9,
              writes: [
                TransactionWrite(
                  KeyReference(keyspace: 1, partition: 3, key: Array("A".utf8)), Array("1".utf8))
              ], writers: [member(6)], isSynced: true)))),
      database: DatabaseID(high: 1, low: 2), member: member(3), clockBoundMilliseconds: 250)
    let shown = try FormatDocument.example("transaction-message")
    #expect(sent.encoded() == shown)
    #expect(try RemoteEnvelope(decoding: shown) == sent)
  }

  @Test func `the document's questions and answers are those that are sent`() throws {
    func time(_ milliseconds: UInt64, _ event: UInt16) -> Timestamp {
      Timestamp(milliseconds: milliseconds, logical: event)
    }
    let target = KeyReference(keyspace: 1, partition: 3, key: Array("A".utf8))
    let read = RemoteRead(Self.header, of: member(6), at: time(1_000, 1), .keys([target]))
    let shownRead = try FormatDocument.example("transaction-read")
    #expect(read.encoded() == shownRead)
    #expect(try RemoteRead(decoding: shownRead) == read)
    let found = ReadAnswer([ReadEntry(target, Array("1".utf8), at: time(1_000, 0))])
    for (name, answer) in [
      ("transaction-read-answer", RemoteReadAnswer.found(found)),
      ("transaction-read-refusal", .tooOld(clock: time(2_000, 0), "gone")),
    ] {
      let shown = try FormatDocument.example(name)
      #expect(answer.encoded() == shown)
      #expect(try RemoteReadAnswer(decoding: shown) == answer)
    }
    let question = OutcomeQuestion(
      Self.header, TransactionID(start: time(1_000, 1), coordinator: CoordinatorID(rawValue: 5)))
    let shownQuestion = try FormatDocument.example("transaction-question")
    #expect(question.encoded() == shownQuestion)
    #expect(try OutcomeQuestion(decoding: shownQuestion) == question)
    let standing = OutcomeStanding(coordinator: .committed(time(1_000, 2)), record: nil, isSettled: false)
    let shownStanding = try FormatDocument.example("transaction-standing")
    #expect(standing.encoded() == shownStanding)
    #expect(try OutcomeStanding(decoding: shownStanding) == standing)
    #expect(NodeMessageKind.transactionRead == 21 && NodeMessageKind.transactionOutcome == 22)
  }

  @Test func `an answer that is too long goes in part, and says from where to go on`() {
    let entries = ["a", "b", "c"].map { ReadEntry(key($0), [UInt8](repeating: 0, count: 100), at: Self.time) }
    let answer = ReadAnswer(entries)
    #expect(answer.fitting(byteCount: 1_000) == answer)
    #expect(
      answer.fitting(byteCount: 300)
        == ReadAnswer(Array(entries[..<2]), isComplete: false, next: Array("c".utf8)))
    #expect(answer.fitting(byteCount: 100) == nil)
    #expect(ReadAnswer().fitting(byteCount: 10) == ReadAnswer())
  }
}

/// What several nodes know of a transaction together.
// Budget: 1 s
@Suite struct OutcomeStandingTests {
  private static let time = Timestamp(milliseconds: 5)

  private static func standing(
    _ coordinator: OutcomeStanding.Coordinator = .elsewhere, _ record: Outcome? = nil, isSettled: Bool = true
  ) -> OutcomeStanding {
    OutcomeStanding(coordinator: coordinator, record: record, isSettled: isSettled)
  }

  @Test func `each comes back as it went`() throws {
    let coordinators: [OutcomeStanding.Coordinator] = [
      .elsewhere, .undecided, .committed(Self.time), .aborted, .noRecord(presumesAbort: true),
      .noRecord(presumesAbort: false), .expired,
    ]
    for coordinator in coordinators {
      for record in [nil, Outcome.committed(Self.time), .aborted] {
        for isSettled in [false, true] {
          let standing = Self.standing(coordinator, record, isSettled: isSettled)
          #expect(try OutcomeStanding(decoding: standing.encoded()) == standing)
          for end in standing.encoded().indices {
            #expect(throws: DatabaseError.self) {
              _ = try OutcomeStanding(decoding: Array(standing.encoded()[..<end]))
            }
          }
        }
      }
    }
  }

  @Test func `a record decides, and absence only where nothing can come any more`() {
    let absent = Self.standing(.noRecord(presumesAbort: true))
    let join = OutcomeStanding.joined
    #expect(join([absent, Self.standing(.elsewhere, .committed(Self.time))], 1) == .committed(Self.time))
    #expect(
      join([Self.standing(.undecided), Self.standing(.elsewhere, .committed(Self.time))], 0)
        == .committed(Self.time))
    #expect(join([Self.standing(.elsewhere, .aborted)], 2) == .aborted(.recorded))
    #expect(join([absent, Self.standing()], 0) == .aborted(.recorded))
    #expect(join([absent, Self.standing()], 1) == .undecided, "the third may have committed it")
    #expect(join([absent, Self.standing(isSettled: false)], 0) == .undecided)
    #expect(join([Self.standing(.undecided), Self.standing()], 0) == .undecided)
    #expect(join([Self.standing(.noRecord(presumesAbort: false)), Self.standing()], 0) == .expired)
    #expect(join([Self.standing(), Self.standing()], 0) == .expired, "its coordinator is nowhere")
    #expect(join([Self.standing(.expired), Self.standing()], 0) == .expired)
  }
}

/// Clocks that differ from this node's.
// Budget: 1 s
@Suite struct ClockFenceTests {
  /// - Parameter heard: when, in milliseconds.
  private static func sign(
    _ there: UInt64, _ here: UInt64, trip: UInt64 = 0, heard: UInt64 = 0
  ) -> NodeSign {
    NodeSign(
      node: NodeID(rawValue: 1), physicalMilliseconds: there, localPhysicalMilliseconds: here,
      roundTripNanoseconds: trip * 1_000_000, heardNanoseconds: heard * 1_000_000)
  }

  @Test func `a node is fenced by most of the others, and let go of by them`() {
    let fence = ClockFence(boundMilliseconds: 100, lifeMilliseconds: 1_000, others: { 2 })
    #expect(fence.heard(Self.sign(1_080, 1_000), of: member(1), at: 0) == nil)
    #expect(!fence.isFenced(at: 0), "one of two")
    #expect(fence.heard(Self.sign(900, 1_000, heard: 10), of: member(2), at: 10) == true)
    #expect(fence.isFenced(at: 10))
    #expect(fence.heard(Self.sign(1_079, 1_000, heard: 20), of: member(1), at: 20) == false)
    #expect(!fence.isFenced(at: 20))
    #expect(fence.heard(Self.sign(1_500, 1_000, heard: 30), of: member(1), at: 30) == true)
    #expect(!fence.isFenced(at: 1_010), "the second has not been heard of for long")
  }

  /// A machine that is busy may tell of a sign long after it came.
  @Test func `a sign counts from when it was heard`() {
    let fence = ClockFence(boundMilliseconds: 100, lifeMilliseconds: 1_000, others: { 1 })
    #expect(fence.heard(Self.sign(900, 1_000, heard: 500), of: member(1), at: 1_400) == true)
    #expect(fence.isFenced(at: 1_499))
    #expect(!fence.isFenced(at: 1_500), "not a second from when it was told")
    // Too old: neither of one that is apart, nor of one that is not.
    let old = ClockFence(boundMilliseconds: 100, lifeMilliseconds: 1_000, others: { 1 })
    #expect(old.heard(Self.sign(900, 1_000, heard: 500), of: member(1), at: 1_500) == nil)
    #expect(!old.isFenced(at: 1_500))
    // Told in another order than heard.
    #expect(old.heard(Self.sign(1_000, 1_000, heard: 1_700), of: member(1), at: 1_800) == nil)
    #expect(old.heard(Self.sign(900, 1_000, heard: 1_600), of: member(1), at: 1_800) == nil)
    #expect(!old.isFenced(at: 1_800))
    #expect(old.heard(Self.sign(900, 1_000, heard: 1_800), of: member(1), at: 1_800) == true)
  }

  @Test func `what took long is no proof that a clock is behind`() {
    let fence = ClockFence(boundMilliseconds: 100, lifeMilliseconds: 1_000, others: { 1 })
    #expect(fence.heard(Self.sign(900, 1_000, trip: 30), of: member(1), at: 0) == nil)
    #expect(fence.heard(Self.sign(900, 1_000, trip: 10), of: member(1), at: 0) == true)
    let other = ClockFence(boundMilliseconds: 100, lifeMilliseconds: 1_000, others: { 1 })
    #expect(other.received(500, of: member(1), here: 1_000, at: 0) == nil)
    #expect(other.received(1_079, of: member(1), here: 1_000, at: 0) == nil)
    #expect(other.received(1_080, of: member(1), here: 1_000, at: 0) == true)
  }
}
