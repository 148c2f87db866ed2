import RoostEnvironment
import Synchronization

// On which threads a node works, and what it waits for.

extension ClusterNode {
  /// Runs `job` on a thread that may wait.
  func run(_ lane: WorkLane = .urgent, _ job: @escaping @Sendable () -> Void) {
    workers.submit(lane, job)
    runHere()
  }

  /// The same for what only reads.
  func runReading(_ job: @escaping @Sendable () -> Void) {
    readers.submit(.urgent, job)
    runHere()
  }

  /// The same for what somebody waits for: `refused` is called where the node is closed, or the deadline
  /// passes, before its turn.
  func run(
    _ lane: WorkLane = .urgent, until deadline: UInt64, refused: @escaping @Sendable (DatabaseError) -> Void,
    _ job: @escaping @Sendable () -> Void
  ) {
    let waiting = WaitingCall(until: deadline, refused)
    let number = enlist(waiting)
    run(lane) { [self] in
      strike(number)
      if waiting.begin() { job() }
    }
  }

  /// Where the workers have no threads of their own (the simulator's), the caller's does the work.
  func runHere() { while workers.runOneHere() || readers.runOneHere() || comparers.runOneHere() {} }

  /// Runs `job` on the thread of comparisons with other replicas.
  func runComparison(_ job: @escaping @Sendable () -> Void) {
    comparers.submit(.background, job)
    runHere()
  }

  var hasClosed: Bool { lock.withLock { isClosed } }

  /// Notes an operation, which is looked at until it is struck. Once the node is closed it is ended at once.
  func enlist(_ operation: any UnderWay) -> UInt64 {
    let (number, mustTick) = lock.withLock { () -> (UInt64?, Bool) in
      if isClosed { return (nil, false) }
      nextNumber += 1
      underWay[nextNumber] = operation
      defer { isTicking = true }
      return (nextNumber, !isTicking)
    }
    guard let number else {
      operation.end()
      return 0
    }
    if mustTick { scheduleTick() }
    return number
  }

  func strike(_ number: UInt64) { lock.withLock { _ = underWay.removeValue(forKey: number) } }
}

/// An operation that waits for other nodes.
protocol UnderWay: AnyObject, Sendable {
  /// Does what is due by now.
  func look(at nanoseconds: UInt64)
  /// Ends it: the node is closed.
  func end()
}

/// A call that waits for its turn on a worker. Thread-safe.
private final class WaitingCall: UnderWay {
  private let hasEnded = Atomic<Bool>(false)
  private let deadline: UInt64
  private let refused: @Sendable (DatabaseError) -> Void

  init(until deadline: UInt64, _ refused: @escaping @Sendable (DatabaseError) -> Void) {
    self.deadline = deadline
    self.refused = refused
  }

  /// - Returns: `false` where it was refused.
  func begin() -> Bool { !hasEnded.exchange(true, ordering: .acquiringAndReleasing) }

  func look(at nanoseconds: UInt64) {
    guard nanoseconds >= deadline, begin() else { return }
    refused(DatabaseError(.deadlineExceeded, "the call waited for its turn until its deadline"))
  }

  func end() { if begin() { refused(DatabaseError(.closed, "the node is closed")) } }
}

/// The outcome of a call, as a value.
func answered<Value>(_ body: () throws(DatabaseError) -> Value) -> Result<Value, DatabaseError> {
  do throws(DatabaseError) { return .success(try body()) } catch { return .failure(error) }
}

extension Duration {
  /// Of what was checked to be neither negative nor too long.
  var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
  }
}
