import RoostEnvironment
import Testing

@testable import RoostStorage

/// Who leads, when time runs out for a writer in the queue.
// Budget: 1 s
@Suite struct CommitQueueTests {
  /// Time that is always up; something happens just before it is.
  private final class TimeThatIsUp: TimeSource, @unchecked Sendable {
    var justBefore: () -> Void = {}
    var monotonicNanoseconds: UInt64 { 1 }
    var wallClockNanoseconds: UInt64 { 1 }

    func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
      condition.lock.unlock()
      justBefore()
      condition.lock.lock()
      return false
    }
  }

  @Test func `who gets the lead in the moment in which time runs out leads`() throws {
    let time = TimeThatIsUp()
    let queue = CommitQueue(time, deadlineNanoseconds: 1)
    try queue.lead()
    time.justBefore = { queue.release() }
    try queue.lead()
    #expect(!queue.tryLead())
    let group = try #require(try queue.enqueue(.sync()))
    #expect(group.count == 1)
    queue.complete(group)
    #expect(queue.tryLead())
  }

  @Test func `who is still in the queue when time runs out leaves it`() throws {
    let queue = CommitQueue(TimeThatIsUp(), deadlineNanoseconds: 1)
    try queue.lead()
    #expect(throws: StoreError.self) { try queue.lead() }
    #expect(throws: StoreError.self) { _ = try queue.enqueue(.sync()) }
    #expect(queue.queuedCount == 0)
    queue.release()
    #expect(queue.tryLead())
  }
}
