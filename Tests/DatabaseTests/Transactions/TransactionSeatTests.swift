import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostTransactions

/// Callers that wait for the sync of their own commit: who may, and that nothing else changes by it.
// Budget: 2 s
@Suite("Transactions whose callers sync") struct TransactionSeatTests {
  /// What a queue did, in order: whose job, and whether its thread may wait.
  private final class Done: @unchecked Sendable {
    private let lock = Lock()
    // Guarded by `lock`.
    private var jobs: [String] = []

    var all: [String] { lock.withLock { jobs } }

    func job(_ name: String) -> WriteQueue.Job {
      { mayWait in self.lock.withLock { self.jobs.append(mayWait ? "\(name) waits" : name) } }
    }
  }

  private func transaction(_ number: UInt64) -> TransactionID {
    TransactionID(start: .init(rawValue: number), coordinator: CoordinatorID(rawValue: 1))
  }

  @Test func `a job in the seat waits for its caller, and the others for it`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 21))
    let queue = WriteQueue(world.core.presentMembers[0])
    let done = Done()
    #expect(queue.takeSeat(transaction(1)))
    #expect(!queue.takeSeat(transaction(2)), "there is one seat")
    #expect(!queue.sit(transaction(2), done.job("another")))
    #expect(queue.sit(transaction(1), done.job("first")))
    queue.run(done.job("second"))
    queue.run(done.job("third"))
    #expect(done.all.isEmpty)
    #expect(queue.leaveSeat())
    #expect(done.all == ["first waits", "second", "third"])
    // A seat that nobody came to.
    #expect(queue.takeSeat(transaction(3)))
    #expect(!queue.leaveSeat())
    #expect(!queue.sit(transaction(3), done.job("late")))
    try world.close()
  }

  @Test func `a job that finds others before it is none of its caller's`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 22))
    let queue = WriteQueue(world.core.presentMembers[0])
    let done = Done()
    #expect(queue.takeSeat(transaction(1)))
    queue.run { [self] mayWait in
      // While this one is under way.
      #expect(!queue.sit(transaction(1), done.job("seated")))
      queue.run(done.job("behind"))
      #expect(!mayWait && done.all.isEmpty)
      #expect(!queue.leaveSeat())
      #expect(!queue.takeSeat(transaction(2)), "the queue is at work")
    }
    #expect(done.all == ["behind"])
    try world.close()
  }

  @Test func `few wait at a time, and none for a slow disk`() {
    let seat = CallersSeat()
    var taken = 0
    while taken < 1_000, seat.take() { taken += 1 }
    #expect(taken <= Processors.count / 2, "other threads must serve")
    for _ in 0..<taken { seat.leave() }
    seat.synced(CallersSeat.longestNanoseconds + 1)
    #expect(!seat.take())
    seat.synced(CallersSeat.longestNanoseconds)
    let other = CallersSeat()
    other.synced(CallersSeat.longestNanoseconds + 1)
    #expect(!other.take(), "each store has its own disk")
  }

  @Test func `a caller that may wait waits for one sync`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 23))
    let (a, alsoA, b) = try world.keys()
    for names in [[a, alsoA], [a, b]] {
      try world.commit(world.begin(Dictionary(uniqueKeysWithValues: names.map { ($0, "0") })))
    }
    let transaction = try world.begin([a: "1", alsoA: "1"])
    let fileSystem = world.world.fileSystem
    fileSystem.recordsTrace = true
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: true, mayWait: true) { answer.set($0) }
    let synced = fileSystem.trace.count { $0.kind == .sync }
    fileSystem.recordsTrace = false
    #expect(synced == 1)
    guard case .committed? = answer.value else {
      Issue.record("answered with \(answer.value as Any)")
      return
    }
    #expect(try world.value(alsoA) == "1")
    // Where others are asked too, a worker waits.
    let spread = Answer<TransactionOutcome>()
    try world.begin([a: "2", b: "2"]).commit(isSynced: true, mayWait: true) { spread.set($0) }
    guard case .committed? = spread.value else {
      Issue.record("answered with \(spread.value as Any)")
      return
    }
    #expect(try world.value(b) == "2")
    try world.close()
  }

  @Test func `a commit that has to wait for a lock leaves the seat`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 24))
    let (a, _, _) = try world.keys()
    let old = try world.begin([:])
    let lock = Answer<Result<ReadAnswer, TransactionAborted>>()
    try old.willLock(1, at: try world.owner(a).id)
    world.manager.acquire(
      old.id, at: try world.owner(a).id, [.exclusive(world.reference(a))], nil
    ) { lock.set($0) }
    let young = try world.begin([a: "young"])
    let answer = Answer<TransactionOutcome>()
    try young.commit(isSynced: true, mayWait: true) { answer.set($0) }
    #expect(lock.count == 1 && answer.count == 0)
    old.abort()
    guard case .committed? = answer.value else {
      Issue.record("answered with \(answer.value as Any)")
      return
    }
    #expect(try world.value(a) == "young")
    try world.close()
  }
}
