import RoostCausality
import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// Whoever waits in a transaction waits no longer, and no shorter, than the options say: on simulated time,
/// which passes where the timers' turn comes.
// Budget: 2 s
@Suite struct TransactionDeadlineTests {
  private func world(_ change: (inout TransactionOptions) -> Void) throws -> TransactionWorld {
    try TransactionWorld(TransferWorld(seed: 5)) { options in
      options.transactions.longestDuration = .seconds(100)
      options.transactions.lockWait = .seconds(60)
      change(&options.transactions)
    }
  }

  /// How long it takes until there is an answer, in milliseconds.
  private func milliseconds<R>(_ world: TransactionWorld, until answer: Answer<R>) throws -> UInt64 {
    let time = world.world.simulated.time
    let start = time.monotonicNanoseconds
    var jobs = 0
    while answer.value == nil, jobs < 5_000, world.world.run(1) > 0 { jobs += 1 }
    try require(answer.count == 1, "answered \(answer.count) times, after \(jobs) jobs")
    return (time.monotonicNanoseconds - start) / 1_000_000
  }

  private func lock(
    _ world: TransactionWorld, _ name: String, for transaction: TransactionCore
  ) throws -> Answer<Result<ReadAnswer, TransactionAborted>> {
    let answer = Answer<Result<ReadAnswer, TransactionAborted>>()
    world.manager.acquire(
      transaction.id, at: try world.owner(name).id, [.exclusive(world.reference(name))], nil
    ) { answer.set($0) }
    return answer
  }

  private func failure<R>(_ answer: Answer<Result<R, TransactionAborted>>) -> AbortReason? {
    if case .failure(let aborted)? = answer.value { aborted.reason } else { nil }
  }

  @Test func `a lock that is not free in time ends the transaction that wants it`() throws {
    let world = try world { $0.lockWait = .milliseconds(300) }
    let (a, _, _) = try world.keys()
    let (first, second) = (try world.begin([:]), try world.begin([:]))
    #expect(try lock(world, a, for: first).count == 1)
    let waiting = try lock(world, a, for: second)
    #expect(waiting.count == 0)
    let waited = try milliseconds(world, until: waiting)
    #expect(failure(waiting) == .deadline && (300...400).contains(waited), "\(waited) ms")
    // The one that has it goes on.
    try first.write(world.reference(a), [1])
    try world.commit(first)
    try world.close()
  }

  @Test func `a transaction that takes too long ends, and lets its locks go`() throws {
    let world = try world { $0.longestDuration = .milliseconds(700) }
    let (a, _, _) = try world.keys()
    let (first, second) = (try world.begin([:]), try world.begin([:]))
    #expect(try lock(world, a, for: first).count == 1)
    let waiting = try lock(world, a, for: second)
    // The second has no more time than the first: it ends with it, or has the lock then.
    let waited = try milliseconds(world, until: waiting)
    #expect((700...800).contains(waited), "\(waited) ms")
    let answer = Answer<TransactionOutcome>()
    try first.write(world.reference(a), [1])
    try first.commit(isSynced: true) { answer.set($0) }
    #expect(answer.value == .aborted(.expired))
    try world.commit(world.begin([a: "free"]))
    #expect(try world.value(a) == "free")
    try world.close()
  }

  @Test func `a commit that nobody answers is told as unknown in the end, and found out`() throws {
    let world = try world { $0.longestDuration = .milliseconds(700) }
    let (a, alsoA, _) = try world.keys()
    let transaction = try world.begin([a: "1", alsoA: "1"])
    world.transport.isHolding = true
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: true) { answer.set($0) }
    let waited = try milliseconds(world, until: answer)
    #expect(answer.value == .unknown(transaction.id) && (700...800).contains(waited), "\(waited) ms")
    // The message came late, and is refused or done: either is told alike from then on.
    world.transport.isHolding = false
    world.transport.deliver()
    var jobs = 0
    while try world.manager.outcome(of: transaction.id) == .undecided, jobs < 5_000, world.world.run(1) > 0 {
      jobs += 1
    }
    let isThere = try world.value(a) == "1"
    switch try world.manager.outcome(of: transaction.id) {
    case .committed: #expect(isThere)
    case .aborted: #expect(!isThere)
    case let other: Issue.record("its outcome is \(other)")
    }
    try world.close()
  }

  @Test func `a snapshot waits no longer than for a lock`() throws {
    let world = try world { $0.lockWait = .milliseconds(300) }
    let (a, _, b) = try world.keys()
    try world.commit(world.begin([a: "0", b: "0"]))
    world.transport.isHolding = true
    let decided = Answer<TransactionOutcome>()
    try world.begin([a: "1", b: "1"]).commit(isSynced: true) { decided.set($0) }
    // Prepared, and the votes are on their way.
    for _ in 0..<3 { world.transport.deliver() }
    #expect(world.transport.held == ["vote", "vote"])
    let read = Answer<Result<ReadAnswer, DatabaseError>>()
    let now = try world.manager.now()
    world.manager.snapshot(.keys([world.reference(a)]), at: now, of: try world.owner(a).id) { read.set($0) }
    #expect(read.count == 0)
    let waited = try milliseconds(world, until: read)
    #expect((300...400).contains(waited), "\(waited) ms")
    if case .failure(let error)? = read.value { #expect(error.code == .deadlineExceeded) } else {
      Issue.record("it read \(String(describing: read.value))")
    }
    world.transport.isHolding = false
    world.transport.deliver()
    #expect(try decided.count == 1 && world.value(a) == "1")
    try world.close()
  }

  /// At one store, at two, and without writes: nobody hears of it, nor has the keys, before every clock has
  /// passed its time.
  @Test(arguments: [1, 2]) func `the answer waits for the clocks' bound`(stores: Int) throws {
    let world = try world { $0.clockBound = .milliseconds(250) }
    let (a, alsoA, b) = try world.keys()
    let answer = Answer<TransactionOutcome>()
    let names = stores == 1 ? [a, alsoA] : [a, b]
    try world.begin(Dictionary(uniqueKeysWithValues: names.map { ($0, "1") })).commit(isSynced: true) {
      answer.set($0)
    }
    #expect(answer.count == 0)
    let second = try world.begin([:])
    let next = try lock(world, a, for: second)
    #expect(next.count == 0)
    _ = try milliseconds(world, until: answer)
    guard case .committed(let timestamp)? = answer.value else {
      Issue.record("answered with \(String(describing: answer.value))")
      return
    }
    let clock = world.world.simulated.time
    #expect(clock.wallClockNanoseconds / 1_000_000 > timestamp.milliseconds + 250)
    _ = try milliseconds(world, until: next)
    #expect(failure(next) == nil && clock.wallClockNanoseconds / 1_000_000 > timestamp.milliseconds + 250)
    second.abort()
    try world.close()
  }
}
