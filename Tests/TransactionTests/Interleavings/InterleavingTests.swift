import RoostCausality
import RoostTransactions
import Testing

/// The interleavings that break a careless version of transactions, as far as the state machines show
/// them: each test fails when the rule that prevents it is taken out.
// Budget: 1 s
@Suite("Interleavings of transactions")
struct InterleavingTests {
  // MARK: 9

  @Test("9: torn snapshot: a read at a time waits for commits in flight at or below it")
  func tornSnapshot() throws {
    var store = ParticipantBench()
    store.isPrompt = false
    // x and y commit in one batch at some s, which is on its way to disk.
    store.commitAtOnce(txn(1), put("x"), put("y"))
    let written = try #require(store.pending.first).write
    guard case .commit(_, let s, _) = written else { return #expect(Bool(false)) }
    let t = Timestamp(rawValue: s.rawValue + 5)
    store.snapshot(1, "x", at: t)
    #expect(store.snapshotsRead.isEmpty, "old x would be read, and then new y")
    store.snapshot(2, "x", at: Timestamp(rawValue: s.rawValue - 1))
    #expect(store.snapshotsRead == [2], "below the commit there is nothing to wait for")
    store.snapshot(3, "z", at: t)
    #expect(store.snapshotsRead == [3])
    store.finishWrite()
    #expect(store.snapshotsRead == [1])
    store.snapshot(4, "y", at: t)
    #expect(store.snapshotsRead == [4])
  }

  @Test("9: the same where the commit is prepared, and one in a range; each wait has a deadline")
  func tornSnapshotPrepared() {
    var store = ParticipantBench()
    let prepared = store.makePrepared(txn(1), "m")
    let t = Timestamp(rawValue: prepared.rawValue + 5)
    store.snapshot(1, "m", at: t)
    store.handle(
      .snapshot(request: 2, .range(range("a", nil), limit: 9), at: t, waitMilliseconds: 1_000))
    store.snapshot(3, "m", at: t)
    #expect(store.snapshotsRead.isEmpty)
    store.advance(1_000)
    #expect(store.effects.contains(.snapshotFailed(request: 1, .deadline)))
    store.snapshot(4, "m", at: t)
    // It commits above the read: that need not wait for the disk.
    store.isPrompt = false
    store.receive(txn(1), .commit(Timestamp(rawValue: t.rawValue + 5)))
    #expect(store.snapshotsRead == [4])
  }

  @Test("9: no write gets a timestamp at or below a read that was served")
  func readTimestamp() throws {
    var store = ParticipantBench()
    let t = Timestamp(milliseconds: store.clock.physical + 700)
    // A read ahead of the clock, which the driver has not shown to it.
    store.handle(.snapshot(request: 1, .keys([key("x")]), at: t, waitMilliseconds: 10))
    #expect(store.effects == [.snapshotFailed(request: 1, .clock)])
    store.snapshot(2, "x", at: t)
    #expect(store.snapshotsRead == [2])
    store.commitAtOnce(txn(1), put("x"))
    guard case .committed(let s)? = store.outcomes[txn(1)] else { return #expect(Bool(false)) }
    #expect(s > t)
  }

  // MARK: 10

  @Test("10: a read-only participant holds its locks until it is told the commit timestamp")
  func readOnlyParticipantThatLeft() {
    var store = ParticipantBench()
    store.acquire(txn(2), .shared(key("x")))
    store.prepare(txn(2))
    guard case .readOnly? = store.votes.first else { return #expect(Bool(false)) }
    // T2, older, would overwrite x.
    store.commitAtOnce(txn(1), put("x"))
    #expect(store.pending.isEmpty && store.outcomes.isEmpty, "T1's commit timestamp is not known")
    // W made it much higher than the clock here.
    let s = Timestamp(milliseconds: store.clock.physical + 900)
    store.receive(txn(2), .commit(s))
    guard case .committed(let overwritten)? = store.outcomes[txn(1)] else { return #expect(Bool(false)) }
    #expect(overwritten > s, "a reader between them would see new x and old y")
  }

  @Test("10: after a restart, which loses the locks, the bound takes their place")
  func readOnlyParticipantThatRestarted() {
    var store = ParticipantBench()
    store.acquire(txn(1), .shared(key("x")))
    store.prepare(txn(1))
    guard case .readOnly(_, let bound)? = store.votes.first else { return #expect(Bool(false)) }
    store.restart(epoch: 78)
    store.clock.advance(1)
    let second = txn(store.clock.last.milliseconds + 1 - TestClock.start)
    store.commitAtOnce(second, put("x"))
    guard case .committed(let overwritten)? = store.outcomes[second] else { return #expect(Bool(false)) }
    #expect(overwritten > bound)
    // And the coordinator keeps to the bound.
    var bench = CoordinatorBench()
    let transaction = bench.begin()
    bench.read(transaction, "x", at: 1)
    bench.commit(transaction, [2: [put("y")]])
    bench.grantAll(transaction)
    let now = bench.clock.now()
    bench.receive(transaction, .vote(.readOnly(now.timestamp, bound: now.bound)), from: 1)
    let beyond = Timestamp(rawValue: now.bound.rawValue + 1)
    bench.receive(transaction, .vote(.yes(beyond)), from: 2)
    #expect(bench.logged.isEmpty && bench.outcomes == [.aborted(.interrupted)])
  }

  // MARK: 11

  @Test("11: a participant waits the whole distance of two clocks, by the physical one")
  func halfTheWait() {
    var store = ParticipantBench(clockBound: 100)
    store.clock.advance(10)
    let s = store.makePrepared(txn(1), "x")
    // A message has pushed the hybrid clock far ahead: it says nothing about the others' clocks.
    store.clock.observe(Timestamp(milliseconds: s.milliseconds + 5_000))
    store.receive(txn(1), .commit(s))
    #expect(store.sent == [.acknowledged], "the wait overlaps phase two")
    store.acquire(txn(2), .shared(key("x")))
    store.snapshot(1, "x", at: store.clock.last)
    for waited in [50, 50] as [UInt64] {
      store.advance(waited)
      #expect(store.effects.isEmpty, "at \(store.clock.physical - s.milliseconds) ms")
    }
    store.advance(1)
    #expect(store.isAcquired() && store.snapshotsRead == [1])
  }

  @Test("11: a decision that comes late waits for the rest, and for no less")
  func restOfTheWait() {
    for late in [51, 100, 101] as [UInt64] {
      var store = ParticipantBench(clockBound: 100)
      store.clock.advance(10)
      let s = store.makePrepared(txn(1), "x")
      store.clock.advance(late)
      store.receive(txn(1), .commit(s))
      store.acquire(txn(2), .shared(key("x")))
      #expect(store.isAcquired() == (late > 100), "\(late) ms after its timestamp")
    }
  }

  @Test("11: so does the one that only read, and so does the caller's answer")
  func halfTheWaitElsewhere() {
    var store = ParticipantBench(clockBound: 100)
    store.clock.advance(10)
    store.acquire(txn(1), .shared(key("x")))
    store.prepare(txn(1))
    let s = store.clock.now().timestamp
    store.clock.observe(Timestamp(milliseconds: s.milliseconds + 5_000))
    store.receive(txn(1), .commit(s))
    store.acquire(txn(2), .exclusive(key("x")))
    store.advance(100)
    #expect(store.sent.isEmpty)
    store.advance(1)
    #expect(store.isAcquired())

    var bench = CoordinatorBench(clockBound: 100)
    let transaction = bench.makeLogging()
    let record = bench.logged[0].record
    bench.clock.observe(Timestamp(milliseconds: record.timestamp.milliseconds + 5_000))
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    #expect(bench.sent(to: 1) == [.commit(record.timestamp)] && bench.outcomes.isEmpty)
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    bench.advance(100)
    #expect(bench.outcomes.isEmpty)
    bench.advance(1)
    #expect(bench.outcomes == [.committed(at: record.timestamp)])
  }

  @Test("11: a restart does not show a commit before its wait is over")
  func restartInTheWait() {
    var store = ParticipantBench(clockBound: 100)
    store.clock.advance(10)
    store.commitAtOnce(txn(1), put("x"))
    store.clock.window = 0
    store.restart(epoch: 78)
    store.acquire(txn(2), .shared(key("x")))
    store.snapshot(1, "x", at: store.clock.last)
    store.advance(100)
    #expect(store.effects.isEmpty)
    store.advance(1)
    #expect(store.isAcquired(epoch: 78) && store.snapshotsRead == [1])
  }

  // MARK: 12

  @Test("12: forgotten outcome: no record is no proof to a caller")
  func forgottenOutcome() {
    var bench = CoordinatorBench()
    // The caller was told "unknown"; the participant has committed it.
    let transaction = bench.begin()
    bench.commit(transaction, [1: [put("a")]])
    bench.advance(10_000)
    #expect(bench.outcomes == [.unknown(transaction)])
    #expect(bench.coordinator.outcome(of: transaction, at: bench.clock.now()) == .undecided)
    bench.restart(committed: [])
    #expect(bench.coordinator.outcome(of: transaction, at: bench.clock.now()) == .noRecord)
    bench.commit(transaction, [1: [put("a")]])
    #expect(bench.outcomes == [.unknown(transaction)])

    // One that was decided, acknowledged and ended is told for as long as outcomes are kept.
    let other = bench.makeLogging()
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    bench.receive(other, .acknowledged, from: 1)
    bench.receive(other, .acknowledged, from: 2)
    #expect(bench.ends == [other])
    let timestamp = bench.logged[0].record.timestamp
    bench.advance(3_000_000)
    #expect(bench.coordinator.outcome(of: other, at: bench.clock.now()) == .committed(timestamp))
    bench.restart(committed: [], outcomes: [other: .committed(timestamp)])
    #expect(bench.coordinator.outcome(of: other, at: bench.clock.now()) == .committed(timestamp))
    bench.advance(1_000_000)
    bench.restart(committed: [])
    #expect(bench.coordinator.outcome(of: other, at: bench.clock.now()) == .expired)
  }

  @Test("12: a participant that committed and forgot looks it up, and never presumes")
  func forgottenByParticipant() {
    var store = ParticipantBench()
    let s = store.makePrepared(txn(1), "x")
    store.receive(txn(1), .commit(s))
    store.receive(txn(1), .inquire)
    #expect(store.answers == [.committed(s)])
    store.advance(60_000)
    store.restart(epoch: 78)
    store.receive(txn(1), .inquire)
    guard case .lookUp(let number, txn(1))? = store.effects.first else { return #expect(Bool(false)) }
    store.handle(.found(number, .committed(s), failure: nil))
    #expect(store.answers == [.committed(s)])
    store.advance(3_600_000)
    store.receive(txn(1), .inquire)
    #expect(store.answers == [.unknown], "its record may be gone by now")
  }

  // MARK: 13

  @Test("13: asked too early: it answers aborted only once its refusal is on disk")
  func askedTooEarly() {
    for hasLocks in [true, false] {
      var store = ParticipantBench()
      store.isPrompt = false
      if hasLocks { store.acquire(txn(1), .exclusive(key("x"))) }
      store.receive(txn(1), .inquire, from: .participant(member(2)))
      #expect(store.answers.isEmpty)
      #expect(store.pending.map(\.write) == [.refuse(txn(1))] && store.pending[0].isForced)
      store.finishWrite()
      #expect(store.answers == [.aborted])
      // PREPARE, which was on its way all the time.
      store.acquire(txn(1), .exclusive(key("x")))
      store.prepare(txn(1), put("x"))
      #expect(store.votes == [.no(.refusedBefore)] && store.pending.isEmpty)
      // The same over a restart: nothing but the record keeps it out.
      store.restart(epoch: 78)
      store.acquire(txn(1), .exclusive(key("x")))
      #expect(store.sent == [.refused(request: 1, .refusedBefore)])
      store.commitAtOnce(txn(1), put("x"))
      #expect(store.sent == [.refused(request: 1, .refusedBefore)])
    }
  }

  @Test("13: a refusal that could not be written is no answer; who voted yes does not know")
  func askedWhilePrepared() {
    var store = ParticipantBench()
    store.isPrompt = false
    store.receive(txn(1), .inquire, from: .participant(member(2)))
    store.finishWrite(failure: "full")
    #expect(store.answers.isEmpty)
    store.receive(txn(1), .inquire, from: .participant(member(2)))
    store.finishWrite()
    #expect(store.answers == [.aborted])

    store.acquire(txn(2), .exclusive(key("x")))
    store.prepare(txn(2), put("x"))
    store.receive(txn(2), .inquire, from: .participant(member(2)))
    #expect(store.answers == [.unknown], "its vote is on the way to disk")
    store.finishWrite()
    store.receive(txn(2), .inquire, from: .participant(member(2)))
    #expect(store.answers == [.unknown] && store.pending.isEmpty)

    store.acquire(txn(3), .shared(key("y")))
    store.prepare(txn(3))
    store.receive(txn(3), .inquire, from: .participant(member(2)))
    #expect(store.answers == [.unknown] && store.pending.isEmpty, "a vote without writes is a vote")
  }

  // MARK: 14

  @Test("14: an effect goes to its one target, and its mark stays until END is durable")
  func effectTwice() {
    var bench = CoordinatorBench()
    let effect = EventualEffect(keyspace: 2, key: [1], change: .increment(1), target: member(3))
    let transaction = bench.makeLogging(effects: [effect, effect])
    #expect(bench.sent(to: 3).isEmpty)
    let record = bench.logged[0].record
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    let both: [Message.Body] = [0, 1].map { .effect(effect, index: $0, outcome: nil) }
    #expect(bench.sent(to: 3) == both)
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    #expect(bench.ends.isEmpty, "the effects are not done")
    // The target is away, and the coordinator restarts: the same target, the same index.
    bench.restart(committed: [record])
    #expect(bench.sent(to: 3) == both)
    bench.receive(transaction, .acknowledged, from: 1)
    bench.receive(transaction, .acknowledged, from: 2)
    bench.receive(transaction, .effectDone(index: 0), from: 3)
    bench.receive(transaction, .effectDone(index: 0), from: 3)
    bench.receive(transaction, .effectDone(index: 1), from: 2)
    #expect(bench.ends.isEmpty, "one is not done, whatever another says of it")
    bench.advance(10_000)
    #expect(bench.sent(to: 3) == [.effect(effect, index: 1, outcome: nil)])
    bench.logged = []
    let before = bench.makeLogging()
    bench.receive(transaction, .effectDone(index: 1), from: 3)
    #expect(bench.ends == [transaction])
    #expect(bench.sent(to: 3).isEmpty, "END may be lost yet, and then the effect is sent again")
    // Logged before END was: that sync says nothing about it.
    bench.handle(.logged(bench.logged[0].number, failure: nil))
    #expect(bench.sent(to: 3).isEmpty && before != transaction)
    _ = bench.makeLogging(isSynced: false)
    bench.handle(.logged(bench.logged[1].number, failure: nil))
    #expect(bench.sent(to: 3).isEmpty)
    _ = bench.makeLogging()
    bench.handle(.logged(bench.logged[2].number, failure: nil))
    #expect(bench.sent(to: 3) == [.forgetEffects])
  }
}
