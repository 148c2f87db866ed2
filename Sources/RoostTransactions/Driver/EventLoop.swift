import RoostEnvironment

/// Hands events to one state machine, one at a time and in order, on the threads that bring them.
///
/// Who posts to an idle loop handles its event and whatever is posted meanwhile, by itself or by
/// others; who posts to a busy one returns at once. So handling an event may post to other loops, and
/// they to this one, without locks that wait for each other and without deep stacks.
///
/// What others post meanwhile may have no end: after a number of events the rest is a worker's, so that no
/// caller's thread is kept for longer than those take.
///
/// Thread-safe.
final class EventLoop<Event: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var events: [Event] = []
  private var isBusy = false
  private var isStopped = false
  private let limit: Int
  private let turn: Int
  private let handOver: @Sendable (@escaping @Sendable () -> Void) -> Void
  private let handle: @Sendable (Event) -> Void

  /// - Parameters:
  ///   - limit: events that may stand in the queue.
  ///   - turn: events that one thread handles before it hands over.
  ///   - handOver: has a worker run a job, once, now or later.
  ///   - handle: must not wait for what takes long: who posts may be anyone.
  init(
    limit: Int = 1 << 16, turn: Int = 1_024,
    handOver: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void,
    handle: @escaping @Sendable (Event) -> Void
  ) {
    self.limit = limit
    self.turn = turn
    self.handOver = handOver
    self.handle = handle
  }

  /// - Parameter isDroppable: whether the event may be lost where the queue is full, as a message may.
  /// - Returns: `false` where it was dropped: the queue was full, or the loop has stopped.
  @discardableResult
  func post(_ event: Event, isDroppable: Bool = false) -> Bool {
    switch enqueue(event, isDroppable: isDroppable) {
    case .dropped: return false
    case .queued: return true
    case .mustDrain:
      drain()
      return true
    }
  }

  enum Queued {
    case dropped
    /// Someone handles it, or will.
    case queued
    /// The caller must call ``EventLoop/drain()``.
    case mustDrain
  }

  /// Puts an event into the queue and handles nothing: for callers with a lock held.
  func enqueue(_ event: Event, isDroppable: Bool = false) -> Queued {
    lock.withLock {
      if isStopped || (isDroppable && events.count >= limit) { return .dropped }
      events.append(event)
      defer { isBusy = true }
      return isBusy ? .queued : .mustDrain
    }
  }

  /// Handles what is queued, for whoever was told to by ``enqueue(_:isDroppable:)``: a turn of it, and has a
  /// worker go on with the rest.
  func drain() { drain([], from: 0) }

  /// - Parameters:
  ///   - taken: was taken from the queue by who handed over.
  ///   - start: the first of them that is not handled.
  private func drain(_ taken: [Event], from start: Int) {
    var (batch, next, left) = (taken, start, turn)
    while true {
      while next < batch.count {
        if left == 0 { return goOnElsewhere(batch, from: next) }
        handle(batch[next])
        next += 1
        left -= 1
      }
      batch.removeAll(keepingCapacity: true)
      next = 0
      lock.lock()
      swap(&batch, &events)
      if batch.isEmpty || isStopped {
        isBusy = false
        lock.unlock()
        return
      }
      lock.unlock()
    }
  }

  /// The loop stays busy until then: whoever posts only queues.
  private func goOnElsewhere(_ taken: [Event], from start: Int) {
    handOver { [self] in
      let isOver = lock.withLock {
        if isStopped { isBusy = false }
        return isStopped
      }
      if !isOver { drain(taken, from: start) }
    }
  }

  /// Whether nothing waits or is being handled.
  var isIdle: Bool { lock.withLock { !isBusy && events.isEmpty } }

  /// Handles nothing more but what is being handled.
  func stop() {
    lock.withLock {
      isStopped = true
      events = []
    }
  }
}
