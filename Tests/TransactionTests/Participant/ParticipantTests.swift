import RoostCausality
import RoostTransactions
import Testing

/// What a participant does with locks, votes and decisions, rule by rule.
// Budget: 1 s
@Suite("Participant")
struct ParticipantTests {
  var bench = ParticipantBench()

  // MARK: Locks

  @Test("a request that comes twice is answered twice and has one effect")
  mutating func acquireTwice() {
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(bench.isAcquired())
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(bench.isAcquired())
    bench.acquire(txn(2), .exclusive(key("a")))
    bench.acquire(txn(2), .exclusive(key("a")))
    #expect(bench.effects.isEmpty && bench.participant.counts.waiting == 1)
    bench.receive(txn(1), .abort)
    #expect(bench.sent == [.acquired(request: 1, epoch: ParticipantBench.epoch, ReadAnswer())])
  }

  @Test("the wounded is told, refused from then on, and never brought to life")
  mutating func wound() {
    bench.acquire(txn(2), .exclusive(key("a")))
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(bench.sent.contains(.wounded) && bench.isAcquired())
    bench.acquire(txn(2), .shared(key("b")), request: 2)
    #expect(bench.sent == [.refused(request: 2, .wounded)])
    bench.prepare(txn(2), put("a"))
    #expect(bench.votes == [.no(.wounded)])
  }

  @Test("what a transaction holds it holds until it is wounded, or votes")
  mutating func holding() {
    bench.acquire(txn(2), .exclusive(key("a")))
    #expect(bench.participant.holds(request: 1, of: txn(2)) && bench.participant.isAlone(txn(2)))
    #expect(!bench.participant.holds(request: 2, of: txn(2)) && !bench.participant.isAlone(txn(1)))
    bench.acquire(txn(3), .shared(key("a")))
    #expect(!bench.participant.holds(request: 1, of: txn(3)), "it waits")
    #expect(!bench.participant.isAlone(txn(2)))
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(!bench.participant.holds(request: 1, of: txn(2)))
    #expect(bench.participant.holds(request: 1, of: txn(1)))
    bench.prepare(txn(1), put("a"))
    #expect(!bench.participant.holds(request: 1, of: txn(1)), "nothing more is read")
  }

  @Test("a lock is waited for up to its deadline, then the transaction is dead here")
  mutating func lockDeadline() {
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.acquire(txn(2), .shared(key("b")))
    bench.acquire(txn(2), .shared(key("a")), request: 2, wait: 300)
    #expect(bench.wakes.contains(350))
    bench.advance(299)
    #expect(bench.sent.isEmpty)
    bench.advance(1)
    #expect(bench.sent == [.refused(request: 2, .deadline)])
    bench.acquire(txn(3), .exclusive(key("b")))
    #expect(bench.isAcquired(), "it holds nothing any more")
    bench.acquire(txn(2), .shared(key("c")), request: 3)
    #expect(bench.sent == [.refused(request: 3, .deadline)])
  }

  @Test("locks of another epoch are lost; of this epoch and unknown: wounded and forgotten")
  mutating func epochs() {
    bench.acquire(txn(1), .shared(key("a")), epoch: 5)
    #expect(bench.sent == [.refused(request: 1, .restarted)])
    bench.acquire(txn(2), .shared(key("a")), epoch: ParticipantBench.epoch)
    #expect(bench.sent == [.refused(request: 1, .wounded)])
    bench.acquire(txn(3), .exclusive(key("a")))
    bench.restart(epoch: 78)
    bench.prepare(txn(3), put("a"))
    #expect(bench.votes == [.no(.restarted)])
  }

  @Test("an abort that comes first keeps out what it overtook, until age does")
  mutating func abortFirst() {
    bench.receive(txn(1), .abort)
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(bench.sent == [.refused(request: 1, .wounded)])
    bench.advance(30_000)
    bench.acquire(txn(1), .exclusive(key("a")))
    #expect(bench.sent == [.refused(request: 1, .wounded)] || bench.sent == [.refused(request: 1, .expired)])
    bench.acquire(txn(5), .exclusive(key("a")))
    #expect(bench.sent == [.refused(request: 1, .expired)])
    #expect(bench.participant.isIdle)
  }

  @Test("the memory of what is over is bounded")
  mutating func boundedMemory() {
    for number in 0..<6_000 {
      bench.clock.advance(10)
      bench.receive(txn(bench.clock.physical - TestClock.start, coordinator: UInt64(number)), .abort)
    }
    #expect(bench.participant.rememberedCount < 5_500)
  }

  @Test("locks that nobody ends are given up after the longest duration")
  mutating func orphans() {
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.advance(11_000)
    #expect(bench.participant.isIdle)
    bench.prepare(txn(1), put("a"))
    #expect(bench.votes == [.no(.expired)])
  }

  // MARK: Votes

  @Test("yes is said only once the record is on disk, and again when asked again")
  mutating func voteYes() throws {
    bench.isPrompt = false
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.prepare(txn(1), put("a"))
    #expect(bench.votes.isEmpty && bench.pending.first?.isForced == true)
    bench.prepare(txn(1), put("a"))
    #expect(bench.pending.count == 1)
    bench.finishWrite()
    guard case .yes(let timestamp) = try #require(bench.votes.first) else { return #expect(Bool(false)) }
    bench.prepare(txn(1), put("a"))
    #expect(bench.votes == [.yes(timestamp)] && bench.pending.isEmpty)
    bench.acquire(txn(0), .exclusive(key("a")))
    #expect(bench.sent.isEmpty, "a prepared one is not wounded, the older waits")
  }

  @Test("no lock, no vote")
  mutating func voteWithoutLock() {
    bench.acquire(txn(1), .shared(key("a")))
    bench.prepare(txn(1), put("a"))
    guard case .no = bench.votes.first else { return #expect(Bool(false), "\(bench.votes)") }
    #expect(bench.pending.isEmpty && bench.prepared.isEmpty)
  }

  @Test("after a failed PREPARE it says no only once a refusal is on disk, else nothing")
  mutating func failedPrepare() {
    bench.isPrompt = false
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.prepare(txn(1), put("a"))
    bench.finishWrite(failure: "full")
    #expect(bench.votes.isEmpty)
    #expect(bench.pending.map(\.write) == [.refuse(txn(1))] && bench.pending[0].isForced)
    bench.finishWrite()
    #expect(bench.votes == [.no(.failed("full"))])

    bench.acquire(txn(2), .exclusive(key("a")))
    bench.prepare(txn(2), put("a"))
    bench.finishWrite(failure: "full")
    bench.finishWrite(failure: "full")
    #expect(bench.votes.isEmpty)
    bench.acquire(txn(1_000), .exclusive(key("a")), request: 9)
    #expect(bench.sent.isEmpty, "its locks are held: it may be prepared on disk")
    bench.receive(txn(2), .abort)
    #expect(bench.isAcquired(9))
  }

  @Test("an abort that meets PREPARE on its way to disk takes it back afterwards")
  mutating func abortWhilePreparing() {
    bench.isPrompt = false
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.prepare(txn(1), put("a"))
    bench.receive(txn(1), .abort)
    #expect(bench.pending.count == 1)
    bench.finishWrite()
    #expect(bench.votes.isEmpty && bench.pending.map(\.write) == [.abort(txn(1))])
    #expect(bench.pending[0].isForced == false)
    bench.finishWrite()
    #expect(bench.participant.isIdle && bench.prepared.isEmpty)
  }

  // MARK: Decisions

  @Test("a commit is forced before it is acknowledged, and acknowledged again when it comes again")
  mutating func commit() {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.isPrompt = false
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.sent.isEmpty && bench.pending.first?.isForced == true)
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.pending.count == 1)
    bench.finishWrite()
    #expect(bench.sent == [.acknowledged] && bench.participant.isIdle)
    bench.receive(txn(1), .commit(prepared))
    #expect(bench.sent == [.acknowledged] && bench.pending.isEmpty)
    bench.receive(txn(1), .abort)
    #expect(bench.outcomes[txn(1)] == .committed(prepared))
  }

  @Test("a commit that could not be written is not acknowledged, and is written when told again")
  mutating func failedCommit() {
    let prepared = bench.makePrepared(txn(1), "a")
    bench.isPrompt = false
    bench.receive(txn(1), .commit(prepared))
    bench.finishWrite(failure: "full")
    #expect(bench.sent.isEmpty && !bench.participant.isIdle)
    bench.receive(txn(1), .commit(prepared))
    bench.finishWrite()
    #expect(bench.sent == [.acknowledged] && bench.outcomes[txn(1)] == .committed(prepared))
  }

  @Test("commits at once: one batch, the same answer again, and no answer when it failed")
  mutating func commitAtOnce() throws {
    bench.commitAtOnce(txn(1), put("a"), put("b"))
    let first = bench.sent
    let timestamp = try #require(bench.outcomes[txn(1)])
    guard case .committed(let time) = timestamp else { return #expect(Bool(false)) }
    #expect(first == [.committedAtOnce(request: 1, time)])
    bench.commitAtOnce(txn(1), put("a"), put("b"))
    #expect(bench.sent == first && bench.pending.isEmpty)

    bench.isPrompt = false
    bench.commitAtOnce(txn(2), put("a"))
    bench.acquire(txn(1_000), .shared(key("a")))
    bench.finishWrite(failure: "broken")
    #expect(bench.sent.isEmpty)
    bench.receive(txn(2), .abort)
    bench.receive(txn(2), .inquire)
    #expect(bench.answers == [.unknown])
  }

  @Test("a commit at once that the store took nothing of is refused, and keeps no locks")
  mutating func commitAtOnceRefusedByTheStore() {
    bench.isPrompt = false
    bench.commitAtOnce(txn(1), put("a"))
    bench.commitAtOnce(txn(2), put("a"))
    bench.refuseWrite("full")
    #expect(bench.sent == [.refused(request: 1, .failed("full"))] && bench.outcomes.isEmpty)
    // The next one had waited for the lock.
    bench.finishWrite()
    #expect(bench.outcomes[txn(2)] != nil && bench.outcomes[txn(1)] == nil)
    bench.receive(txn(1), .abort)
    #expect(bench.pending.isEmpty)
  }

  @Test("a PREPARE or COMMIT that the store took nothing of is a failed write like any other")
  mutating func otherWritesRefusedByTheStore() throws {
    bench.isPrompt = false
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.prepare(txn(1), put("a"))
    bench.refuseWrite("full")
    #expect(bench.pending.map(\.write) == [.refuse(txn(1))])
    bench.finishWrite()
    #expect(bench.votes == [.no(.failed("full"))])
  }

  @Test("a commit at once waits for its locks, and can be wounded until it has them")
  mutating func commitAtOnceWaits() {
    bench.acquire(txn(1), .shared(key("a")))
    bench.commitAtOnce(txn(3), put("a"))
    #expect(bench.sent.isEmpty)
    bench.receive(txn(1), .abort)
    #expect(bench.outcomes[txn(3)] != nil)

    bench.acquire(txn(4), .shared(key("a")))
    bench.commitAtOnce(txn(6), put("b"), put("a"))
    bench.acquire(txn(5), .exclusive(key("b")))
    #expect(bench.sent.contains(.wounded))
    bench.receive(txn(4), .abort)
    #expect(bench.outcomes[txn(6)] == nil)
  }

  @Test("a doubled commit at once does not come true after its refusal and a restart")
  mutating func commitAtOnceAfterRestart() {
    bench.acquire(txn(1), .shared(key("a")))
    bench.commitAtOnce(txn(2), put("a"))
    bench.advance(5_000)
    #expect(bench.sent.contains(.refused(request: 1, .deadline)))
    bench.restart(epoch: 78)
    bench.commitAtOnce(txn(2), put("a"))
    #expect(bench.sent == [.refused(request: 1, .restarted)] && bench.outcomes.isEmpty)
  }

  @Test("a doubled commit at once that is older than memory is looked up")
  mutating func commitAtOnceLookedUp() {
    bench.commitAtOnce(txn(1), put("a"))
    guard case .committed(let time)? = bench.outcomes[txn(1)] else { return #expect(Bool(false)) }
    bench.restart(epoch: 78)
    bench.commitAtOnce(txn(1), put("a"))
    #expect(bench.sent == [.committedAtOnce(request: 1, time)])
    bench.advance(60_000)
    bench.restart(epoch: 79)
    bench.commitAtOnce(txn(1), put("a"))
    guard case .lookUp(let number, txn(1))? = bench.effects.first else { return #expect(Bool(false)) }
    bench.handle(.found(number, .committed(time), failure: nil))
    #expect(bench.sent == [.committedAtOnce(request: 1, time)])
  }

  // MARK: Moving, clocks

  @Test("a partition that is handed over gives no locks, and says when all are gone")
  mutating func freeze() {
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.acquire(txn(2), .exclusive(key("a")), request: 2)
    bench.handle(.freeze(partition: 0))
    #expect(bench.sent == [.refused(request: 2, .moving)])
    bench.acquire(txn(3), .shared(key("b")))
    #expect(bench.sent == [.refused(request: 1, .moving)])
    bench.acquire(txn(4), .shared(key("b", partition: 1)))
    #expect(bench.isAcquired())
    bench.acquire(txn(1), .exclusive(key("c")), request: 2, epoch: ParticipantBench.epoch)
    #expect(bench.isAcquired(2), "what holds locks of it gets more")
    bench.prepare(txn(1), put("a"))
    #expect(bench.votes.count == 1, "what holds its locks goes on")
    bench.isPrompt = false
    bench.receive(txn(1), .abort)
    #expect(!bench.effects.contains(.drained(partition: 0)), "its record is on disk still")
    bench.finishWrite()
    #expect(bench.effects.contains(.drained(partition: 0)))
    bench.handle(.thaw(partition: 0))
    bench.acquire(txn(5), .shared(key("b")))
    #expect(bench.isAcquired())
  }

  @Test("a partition that was given up is neither locked nor read, and waiting reads are sent away")
  mutating func givenUp() {
    let (a, b) = (key("a"), key("b", partition: 1))
    bench.handle(.giveUp(partition: 0))
    #expect(bench.participant.highestRead(0) == nil, "it is not frozen")
    bench.acquire(txn(1), .shared(a))
    bench.handle(.freeze(partition: 0))
    bench.handle(.giveUp(partition: 0))
    #expect(!bench.participant.isDrained(0) && bench.participant.highestRead(0) == nil, "it is not drained")
    bench.receive(txn(1), .abort)
    #expect(bench.participant.isDrained(0))
    // Frozen it is read still.
    let time = bench.clock.last
    _ = bench.clock.now()
    bench.handle(.snapshot(request: 1, .keys([a]), at: time, waitMilliseconds: 100))
    #expect(bench.effects == [.readSnapshot(request: 1, .keys([a]), at: time)])
    bench.handle(.giveUp(partition: 0))
    guard let highest = bench.participant.highestRead(0) else { return #expect(Bool(false)) }
    #expect(highest > time)
    bench.handle(.snapshot(request: 2, .keys([a]), at: time, waitMilliseconds: 100))
    #expect(bench.effects == [.snapshotFailed(request: 2, .notOwner)])
    bench.handle(.snapshot(request: 3, .keys([b]), at: time, waitMilliseconds: 100))
    #expect(bench.effects == [.readSnapshot(request: 3, .keys([b]), at: time)])
    bench.acquire(txn(2), .shared(a))
    #expect(bench.sent == [.refused(request: 1, .notOwner)])
    bench.commitAtOnce(txn(3), put("a"))
    #expect(bench.sent == [.refused(request: 1, .notOwner)])
    bench.acquire(txn(4), .exclusive(b))
    #expect(bench.isAcquired())
    bench.handle(.thaw(partition: 0))
    #expect(!bench.participant.isDrained(0) && bench.participant.highestRead(0) == nil)
    bench.acquire(txn(5), .shared(a))
    #expect(bench.isAcquired())
  }

  @Test("a sender whose clock is ahead beyond the bound is refused")
  mutating func clocks() {
    bench = ParticipantBench(clockBound: 100)
    let request = AcquireRequest(
      request: 1, age: txn(1), locks: [.shared(key("a"))], read: nil, epoch: nil, waitMilliseconds: 9)
    bench.receive(txn(1), .acquire(request), physical: bench.clock.physical + 101)
    #expect(bench.sent == [.refused(request: 1, .clock)])
    bench.receive(txn(2), .acquire(request), physical: bench.clock.physical + 100)
    #expect(bench.isAcquired())
  }

  @Test("one wake, for the earliest deadline, and again after it has passed")
  mutating func wakes() {
    bench.acquire(txn(1), .exclusive(key("a")))
    bench.acquire(txn(2), .exclusive(key("a")), wait: 300)
    bench.acquire(txn(3), .exclusive(key("a")), wait: 400)
    bench.acquire(txn(4), .exclusive(key("a")), wait: 200)
    #expect(bench.wakes == [10_250, 350, 250])
    bench.advance(100)
    #expect(bench.wakes.count == 3)
    bench.advance(100)
    #expect(bench.wakes.last == 350)
  }
}
