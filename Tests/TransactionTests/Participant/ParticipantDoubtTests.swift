import RoostCausality
import RoostTransactions
import Testing

/// Decisions that do not come, and those that an operator makes.
// Budget: 1 s
@Suite("Participant in doubt")
struct ParticipantDoubtTests {
  var bench = ParticipantBench()

  @Test("it asks the coordinator, then the writers too, less and less often, for ever")
  mutating func asks() {
    _ = bench.makePrepared(txn(1), "a")
    #expect(bench.participant.inDoubt.isEmpty)
    bench.advance(199)
    #expect(bench.sent.isEmpty)
    bench.advance(1)
    #expect(bench.effects == [.send(to: here, Message(txn(1), .inquire))])
    bench.receive(txn(1), .answer(.unknown))
    bench.advance(400)
    #expect(
      bench.effects == [
        .send(to: here, Message(txn(1), .inquire)),
        .send(to: .participant(member(2)), Message(txn(1), .inquire)),
      ])
    bench.advance(799)
    #expect(bench.sent.isEmpty)
    bench.advance(1)
    #expect(bench.sent.count == 2)
    let waitsFor: [Endpoint] = [here, .participant(member(2))]
    #expect(bench.participant.inDoubt.map(\.waitsFor) == [waitsFor])
    for _ in 0..<20 {
      bench.advance(10_000)
      #expect(bench.sent.count == 2, "never less often than the longest retry")
    }
    #expect(bench.participant.counts.undecided == 1)
  }

  @Test("an answer decides, whoever gives it; the coordinator gets the acknowledgement")
  mutating func answers() {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.receive(txn(1), .answer(.committed(prepared)), from: .participant(member(2)))
    #expect(bench.effects.contains(.send(to: here, Message(txn(1), .acknowledged))))
    #expect(bench.outcomes[txn(1)] == .committed(prepared))
    _ = bench.makePrepared(txn(2), "a")
    bench.receive(txn(2), .answer(.aborted))
    #expect(bench.participant.isIdle && bench.prepared.isEmpty)
  }

  @Test("after a restart it holds the locks again and asks at once")
  mutating func recovery() {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.restart(epoch: 78)
    #expect(bench.sent == [.inquire])
    #expect(bench.participant.inDoubt.map(\.since) == [prepared])
    bench.acquire(txn(0), .shared(key("a")))
    #expect(bench.sent.isEmpty)
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.sent == [.acknowledged, .acquired(request: 1, epoch: 78, ReadAnswer())])
  }

  @Test("without writes it keeps its locks until it is told; alone, until its clock is past the bound")
  mutating func readOnlyAlone() throws {
    bench.acquire(txn(1), .shared(key("a")))
    bench.prepare(txn(1))
    guard case .readOnly(_, let bound)? = bench.votes.first else { return #expect(Bool(false)) }
    #expect(bench.pending.isEmpty, "nothing is forced")
    bench.advance(3_000)
    bench.acquire(txn(0), .exclusive(key("a")), wait: 60_000)
    #expect(bench.sent.isEmpty, "it is not wounded, and the vote stands")
    // Its clock stands still, as far as the bound goes.
    bench.clock.physical -= 3_000
    bench.clock.monotonic += 7_000
    bench.handle(.timer)
    #expect(bench.sent == [.inquire])
    bench.clock.observe(bound)
    bench.advance(1_000)
    #expect(bench.isAcquired())
    bench.receive(txn(1), .commit(bound))
    #expect(bench.sent == [.acknowledged])
  }

  @Test("an operator decides what is in doubt, and is refused else; both are said")
  mutating func force() throws {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.handle(.force(request: 5, txn(9), .aborted))
    guard case .forced(5, .failed)? = bench.effects.first else { return #expect(Bool(false)) }
    bench.handle(.force(request: 6, txn(1), .committed(Timestamp(rawValue: prepared.rawValue - 1))))
    guard case .forced(6, .failed)? = bench.effects.first else { return #expect(Bool(false)) }
    bench.handle(.force(request: 7, txn(1), .aborted))
    #expect(bench.effects.contains(.forced(request: 7, nil)))
    #expect(bench.effects.contains { if case .warn = $0 { true } else { false } })
    #expect(bench.outcomes[txn(1)] == .aborted && bench.participant.isIdle)
    // The coordinator's decision, too late: said aloud, and not sent for ever.
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.sent == [.acknowledged])
    #expect(bench.effects.contains { if case .warn = $0 { true } else { false } })
    // Also where the participant has restarted since, even long after.
    for _ in 0..<2 {
      bench.restart(epoch: 78)
      bench.receive(txn(1), .commit(prepared))
      #expect(bench.sent == [.acknowledged])
      #expect(bench.effects.contains { if case .warn = $0 { true } else { false } })
      bench.outcomes = [:]
    }
  }

  @Test("an abort that crosses an operator's commit is said aloud, and changes nothing")
  mutating func forcedCommitAgainstAbort() {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.isPrompt = false
    bench.handle(.force(request: 5, txn(1), .committed(prepared)))
    // While it is being written: the coordinator tells it, or answers what was asked before.
    for body in [Message.Body.abort, .answer(.aborted)] {
      bench.receive(txn(1), body)
      #expect(bench.warnings.count == 1 && bench.sent.isEmpty && bench.pending.count == 1, "\(body)")
    }
    bench.finishWrite()
    #expect(bench.effects.contains(.forced(request: 5, nil)))
    #expect(bench.outcomes[txn(1)] == .committed(prepared) && bench.participant.isIdle)
    // And once it is done, also after a restart.
    for epoch in [78, 79] as [UInt64] {
      for body in [Message.Body.abort, .answer(.aborted)] {
        bench.receive(txn(1), body)
        #expect(bench.warnings.count == 1 && bench.pending.isEmpty, "\(body)")
      }
      bench.restart(epoch: epoch)
    }
    // Who is told the same as the operator decided hears nothing.
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.warnings.isEmpty && bench.sent == [.acknowledged])
  }

  @Test("an operator can abort what has not voted and can write no refusal, and commit nothing of it")
  mutating func forceSilent() {
    bench.isPrompt = false
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.prepare(txn(1), put("a"))
    bench.finishWrite(failure: "full")
    bench.finishWrite(failure: "full")
    bench.advance(1_000)
    #expect(bench.participant.inDoubt.map(\.transaction) == [txn(1)])
    bench.handle(.force(request: 5, txn(1), .committed(bench.clock.last)))
    guard case .forced(5, .failed(let reason))? = bench.effects.first else { return #expect(Bool(false)) }
    #expect(reason.contains("aborted") && bench.pending.isEmpty)
    bench.handle(.force(request: 6, txn(1), .aborted))
    bench.finishWrite(failure: "full")
    #expect(bench.effects.contains(.forced(request: 6, .failed("full"))))
    // As silent as before: whoever commits it then would do so without a vote.
    bench.receive(txn(1), .commit(bench.clock.last))
    #expect(bench.pending.isEmpty && bench.sent.isEmpty)
    bench.handle(.force(request: 7, txn(1), .aborted))
    bench.finishWrite()
    #expect(bench.effects.contains(.forced(request: 7, nil)))
    #expect(bench.outcomes[txn(1)] == .aborted && bench.participant.isIdle)
    bench.isPrompt = true
    bench.acquire(txn(1_500), .exclusive(key("a")))
    #expect(bench.isAcquired())
  }
}
