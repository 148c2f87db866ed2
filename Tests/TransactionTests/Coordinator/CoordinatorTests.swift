import RoostCausality
import RoostTransactions
import Testing

/// What a coordinator does, rule by rule.
// Budget: 1 s
@Suite("Coordinator")
struct CoordinatorTests {
  var bench = CoordinatorBench()

  // MARK: Two-phase commit

  @Test("nobody is told before COMMIT is logged, at a timestamp above all votes")
  mutating func twoPhases() throws {
    let transaction = bench.begin()
    bench.commit(transaction, [1: [put("a")], 2: [put("b")]])
    #expect(bench.effects.count == 2, "the locks of all first")
    bench.grantAll(transaction)
    guard case .prepare(let first)? = bench.sent(to: 1).first else { return #expect(Bool(false)) }
    #expect(first.writers == [member(1), member(2)] && first.epoch == 7)
    let late = Timestamp(milliseconds: bench.clock.physical + 50)
    bench.receive(transaction, .vote(.yes(late)), from: 1)
    bench.receive(transaction, .vote(.yes(late)), from: 1)
    #expect(bench.logged.isEmpty)
    bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 2)
    let (number, record) = try #require(bench.logged.first)
    #expect(record.timestamp >= late && record.writers == [member(1), member(2)])
    #expect(bench.effects == [.logCommit(number, record)])
    bench.receive(transaction, .inquire, from: 1)
    #expect(bench.replies == [.unknown])
    bench.clock.observe(record.timestamp)
    bench.handle(.logged(number, failure: nil))
    #expect(bench.sent(to: 1) == [.commit(record.timestamp)])
    #expect(bench.sent(to: 2) == [.commit(record.timestamp)])
    #expect(bench.outcomes == [.committed(at: record.timestamp)])
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 1)
    #expect(bench.ends.isEmpty && !bench.coordinator.isIdle)
    bench.receive(transaction, .acknowledged, from: 2)
    #expect(bench.ends == [transaction] && bench.coordinator.isIdle)
    #expect(
      bench.coordinator.outcome(of: transaction, at: bench.clock.now()) == .committed(record.timestamp))
  }

  @Test("a no, a wound, a refusal: all are told to abort, once, and the caller why")
  mutating func aborts() {
    for (body, reason) in [
      (.vote(.no(.restarted)), .interrupted), (.wounded, .conflict), (.vote(.no(.deadline)), .deadline),
      (.vote(.no(.failed("x"))), .failed("x")), (.vote(.no(.clock)), .clock),
    ] as [(Message.Body, AbortReason)] {
      let transaction = bench.begin()
      bench.commit(transaction, [1: [put("a")], 2: [put("b")]])
      bench.grantAll(transaction)
      bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 1)
      bench.receive(transaction, body, from: 2)
      #expect(bench.outcomes == [.aborted(reason)])
      #expect(bench.sent(to: 1) == [.abort] && bench.sent(to: 2) == [.abort])
      bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 2)
      #expect(bench.sent(to: 2) == [.abort], "whoever speaks of it is told again")
      #expect(bench.logged.isEmpty && bench.coordinator.isIdle)
    }
  }

  @Test("a wound or a no after the decision changes nothing")
  mutating func lateNo() {
    let transaction = bench.makeLogging()
    bench.receive(transaction, .wounded, from: 1)
    bench.receive(transaction, .vote(.no(.wounded)), from: 2)
    bench.handle(.abort(transaction, .requested))
    #expect(bench.effects.isEmpty)
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    #expect(bench.outcomes.count == 1)
  }

  @Test("what is unanswered is sent again, with the same number, and twice as late each time")
  mutating func resends() {
    let transaction = bench.begin()
    bench.commit(transaction, [1: [put("a")], 2: [put("b")]])
    let first = bench.effects
    bench.advance(199)
    #expect(bench.effects.isEmpty)
    bench.advance(1)
    #expect(bench.effects == first)
    bench.advance(399)
    #expect(bench.effects.isEmpty)
    bench.advance(1)
    #expect(bench.effects.count == 2)
    bench.effects = first
    bench.grantAll(transaction)
    bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 1)
    bench.advance(200)
    #expect(bench.sent(to: 1).isEmpty && bench.sent(to: 2).count == 1, "only who has not voted")
    bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 2)
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    bench.receive(transaction, .acknowledged, from: 1)
    for _ in 0..<10 {
      bench.advance(10_000)
      #expect(bench.sent(to: 1).isEmpty && bench.sent(to: 2).count == 1)
    }
  }

  @Test("what is not decided in time is aborted; so is what cannot be delivered")
  mutating func expiry() {
    let transaction = bench.begin()
    bench.read(transaction, "a", at: 1)
    bench.advance(10_000)
    #expect(bench.sent(to: 1) == [.abort])
    bench.commit(transaction, [:])
    #expect(bench.outcomes == [.aborted(.expired)])

    let other = bench.begin()
    bench.commit(other, [1: [put("a")], 2: [put("b")]])
    guard case .send(let to, let message)? = bench.effects.first else { return #expect(Bool(false)) }
    bench.handle(
      .undeliverable(
        Envelope(
          from: here, to: .participant(to), timestamp: bench.clock.last, physicalMilliseconds: 0, message),
        "disk 1"))
    #expect(bench.outcomes == [.aborted(.unreachable("disk 1"))])
  }

  @Test("a log that fails: nobody is told anything, and nothing else is decided")
  mutating func failedLog() {
    let transaction = bench.makeLogging()
    bench.handle(.logged(bench.logged[0].number, failure: "broken"))
    #expect(bench.outcomes == [.unknown(transaction)])
    #expect(bench.sent(to: 1).isEmpty && bench.sent(to: 2).isEmpty)
    bench.advance(60_000)
    #expect(bench.effects.isEmpty)
    bench.receive(transaction, .inquire, from: 1)
    #expect(bench.replies == [.unknown])
    #expect(bench.coordinator.outcome(of: transaction, at: bench.clock.now()) == .undecided)
    #expect(bench.coordinator.begin(age: nil, at: bench.clock.now()) == .failure(.logFailed("broken")))
  }

  // MARK: Readers, and one participant

  @Test("without writes nothing is logged")
  mutating func readOnly() {
    let transaction = bench.begin()
    bench.read(transaction, "a", at: 1)
    bench.read(transaction, "b", at: 2)
    bench.commit(transaction, [:])
    let now = bench.clock.now()
    bench.receive(transaction, .vote(.readOnly(now.timestamp, bound: now.bound)), from: 1)
    bench.receive(transaction, .vote(.readOnly(now.timestamp, bound: now.bound)), from: 2)
    guard case .committed(let timestamp)? = bench.outcomes.first else { return #expect(Bool(false)) }
    #expect(bench.logged.isEmpty && bench.sent(to: 1) == [.commit(timestamp)])
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    #expect(bench.coordinator.isIdle && bench.ends.isEmpty)
  }

  @Test("effects alone are logged, and END waits for them")
  mutating func effectsOnly() {
    let transaction = bench.begin()
    let effect = EventualEffect(keyspace: 2, key: [1], change: .increment(1), target: member(3))
    bench.commit(transaction, [:], effects: [effect])
    #expect(bench.logged.map(\.record.effects) == [[effect]] && bench.outcomes.isEmpty)
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    // Nobody else records that it committed.
    let timestamp = bench.logged[0].record.timestamp
    #expect(bench.outcomes == [.committed(at: timestamp)])
    #expect(bench.sent(to: 3) == [.effect(effect, index: 0, outcome: timestamp)])
    // It cannot be done, by a rule: that is said, and it ends.
    bench.receive(transaction, .effectFailed(index: 0, "no such keyspace"), from: 3)
    #expect(bench.ends == [transaction] && bench.coordinator.isIdle)
  }

  @Test("the same call again has the same answer, while it is under way and after")
  mutating func commitTwice() {
    let transaction = bench.makeLogging()
    bench.commit(transaction, [:])
    #expect(bench.effects.isEmpty)
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    let answer = TransactionOutcome.committed(at: bench.logged[0].record.timestamp)
    #expect(bench.outcomes == [answer, answer])
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    bench.commit(transaction, [:])
    #expect(bench.outcomes == [answer] && bench.logged.count == 1)
  }

  @Test("no commit above what a reader's participant can promise over a restart")
  mutating func readerBound() {
    let transaction = bench.begin()
    bench.read(transaction, "a", at: 1)
    bench.commit(transaction, [2: [put("b")]])
    bench.grantAll(transaction)
    let now = bench.clock.now()
    bench.receive(transaction, .vote(.readOnly(now.timestamp, bound: now.timestamp)), from: 1)
    bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: 2)
    #expect(bench.outcomes == [.aborted(.interrupted)] && bench.logged.isEmpty)
  }

  @Test("two epochs of one participant are a restart between two reads")
  mutating func epochs() {
    let transaction = bench.begin()
    bench.read(transaction, "a", at: 1, epoch: 7)
    bench.read(transaction, "b", at: 1, epoch: 8)
    #expect(bench.sent(to: 1) == [.abort])
  }

  @Test("all at one participant: one message, no log; unanswered it is unknown, and asked about")
  mutating func atOnce() {
    let transaction = bench.begin()
    bench.commit(transaction, [1: [put("a")]])
    guard case .commitAtOnce(let request)? = bench.sent(to: 1).first else { return #expect(Bool(false)) }
    let time = bench.clock.now().timestamp
    bench.receive(transaction, .committedAtOnce(request: request.request, time), from: 1)
    #expect(bench.outcomes == [.committed(at: time)] && bench.coordinator.isIdle)

    let other = bench.begin()
    bench.commit(other, [1: [put("a")]])
    bench.handle(.abort(other, .requested))
    #expect(bench.outcomes.isEmpty, "it may have committed")
    bench.advance(10_000)
    #expect(bench.outcomes == [.unknown(other)] && bench.sent(to: 1) == [.inquire])
    bench.receive(other, .answer(.unknown), from: 1)
    bench.advance(200)
    #expect(bench.sent(to: 1) == [.inquire])
    bench.receive(other, .answer(.committed(time)), from: 1)
    #expect(bench.coordinator.outcome(of: other, at: bench.clock.now()) == .committed(time))
    #expect(bench.coordinator.isIdle)
  }

  // MARK: Limits and clocks

  @Test("there is a limit to how many are under way, and to what is remembered")
  mutating func limits() {
    var times = testTimes()
    times.activeLimit = 3
    times.outcomeLimit = 10
    bench = CoordinatorBench(times: times)
    for _ in 0..<3 { _ = bench.begin() }
    #expect(bench.coordinator.begin(age: nil, at: bench.clock.now()) == .failure(.tooManyActive(3)))
    bench.advance(20_000)
    var first: TransactionID?
    for _ in 0..<50 {
      let transaction = bench.begin()
      first = first ?? transaction
      bench.handle(.abort(transaction, .requested))
    }
    let now = bench.clock.now()
    #expect(bench.coordinator.outcome(of: first ?? txn(0), at: now) == .noRecord)
  }

  @Test("a clock outside the bound ends the transaction; one near it fences the coordinator")
  mutating func fence() {
    bench = CoordinatorBench(clockBound: 100)
    let transaction = bench.begin()
    bench.handle(.acquire(request: 1, transaction, at: member(1), locks: [.shared(key("a"))], read: nil))
    bench.receive(
      transaction, .acquired(request: 1, epoch: 7, ReadAnswer()), from: 1,
      physical: bench.clock.physical + 101)
    #expect(bench.effects.contains(.failAcquire(request: 1, .clock)))
    #expect(bench.coordinator.isFenced)
    #expect(bench.coordinator.begin(age: nil, at: bench.clock.now()) == .failure(.clock))
    bench.receive(transaction, .acknowledged, from: 1, physical: bench.clock.physical + 80)
    #expect(bench.coordinator.isFenced)
    bench.receive(transaction, .acknowledged, from: 1, physical: bench.clock.physical + 79)
    #expect(!bench.coordinator.isFenced)

    // One that lags: its answer was given before it was asked, by more than clocks may differ.
    let other = bench.begin()
    bench.handle(.acquire(request: 2, other, at: member(1), locks: [.shared(key("a"))], read: nil))
    bench.receive(
      other, .acquired(request: 2, epoch: 7, ReadAnswer()), from: 1, physical: bench.clock.physical - 101)
    #expect(bench.effects.contains(.failAcquire(request: 2, .clock)))
  }

  /// Eighty hundredths of it are none in whole milliseconds: near is a millisecond, and not less.
  @Test("with a bound of 1 ms clocks that agree are not near it, and clocks a millisecond apart are")
  mutating func smallestBound() {
    bench = CoordinatorBench(clockBound: 1)
    for _ in 0..<3 {
      let transaction = bench.begin()
      bench.commit(transaction, [1: [put("a")], 2: [put("b")]])
      bench.grantAll(transaction)
      for number in [1, 2] as [UInt64] {
        bench.receive(transaction, .vote(.yes(bench.clock.now().timestamp)), from: number)
      }
      bench.handle(.logged(bench.logged.last?.number ?? 0, failure: nil))
      // The answer waits for the bound.
      #expect(bench.outcomes == [] && !bench.coordinator.isFenced)
      bench.advance(2)
      guard case .committed? = bench.outcomes.first else {
        Issue.record("answered with \(bench.outcomes)")
        return
      }
    }
    let transaction = bench.begin()
    bench.handle(.acquire(request: 1, transaction, at: member(1), locks: [.shared(key("a"))], read: nil))
    guard case .acquire(let asked)? = bench.sent(to: 1).first else {
      Issue.record("sent \(bench.effects)")
      return
    }
    bench.receive(
      transaction, .acquired(request: asked.request, epoch: 7, ReadAnswer()), from: 1,
      physical: bench.clock.physical - 1)
    #expect(bench.coordinator.isFenced, "its answer was given a millisecond before it was asked for")
    bench.receive(transaction, .acknowledged, from: 1)
    #expect(!bench.coordinator.isFenced)
    bench.receive(transaction, .acknowledged, from: 1, physical: bench.clock.physical + 1)
    #expect(bench.coordinator.isFenced)
  }

  @Test("an answer that was long on its way proves nothing about the clock")
  mutating func slowMessage() {
    bench = CoordinatorBench(clockBound: 100)
    let transaction = bench.begin()
    bench.handle(.acquire(request: 1, transaction, at: member(1), locks: [.shared(key("a"))], read: nil))
    let answeredAt = bench.clock.physical
    bench.clock.advance(1_000)
    bench.receive(
      transaction, .acquired(request: 1, epoch: 7, ReadAnswer()), from: 1, physical: answeredAt)
    #expect(bench.effects.contains(.answerAcquire(request: 1, ReadAnswer())))
    #expect(!bench.coordinator.isFenced)
  }

  // MARK: Recovery

  @Test("after a restart it finishes what it decided, and answers from its log alone")
  mutating func recovery() {
    let transaction = bench.makeLogging()
    let record = bench.logged[0].record
    let undecided = bench.begin()
    bench.restart(committed: [record])
    #expect(bench.sent(to: 1) == [.commit(record.timestamp)])
    #expect(bench.sent(to: 2) == [.commit(record.timestamp)])
    bench.receive(transaction, .inquire, from: 2)
    #expect(bench.replies == [.committed(record.timestamp)])
    bench.receive(undecided, .inquire, from: 2)
    #expect(bench.replies == [.aborted])
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    #expect(bench.ends == [transaction])
  }

  @Test("where the log is a copy, or was cut, absence proves nothing")
  mutating func copiedLog() {
    let undecided = bench.begin()
    bench.restart(committed: [], logIsWhole: false)
    bench.receive(undecided, .inquire, from: 2)
    #expect(bench.replies == [.unknown])
    bench.receive(undecided, .vote(.yes(bench.clock.now().timestamp)), from: 2)
    #expect(bench.effects.isEmpty)
    bench.restart(committed: [])
    bench.receive(txn(1, coordinator: 99), .inquire, from: 2)
    #expect(bench.replies == [.unknown], "another's")
  }
}
