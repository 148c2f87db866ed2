import RoostEnvironment

/// Hands events to one state machine, one at a time and in order, on the threads that bring them.
///
/// Who posts to an idle loop handles its event and whatever is posted meanwhile, by itself or by
/// others; who posts to a busy one returns at once. So handling an event may post to other loops, and
/// they to this one, without locks that wait for each other and without deep stacks.
///
/// Thread-safe.
final class EventLoop<Event: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var events: [Event] = []
  private var isBusy = false
  private var isStopped = false
  private let limit: Int
  private let handle: @Sendable (Event) -> Void
  /// Runs a job on a thread that may wait, where handling may; `nil` where the poster's will do.
  private let elsewhere: @Sendable () -> (@Sendable (@escaping @Sendable () -> Void) -> Void)?

  /// - Parameter limit: events that may stand in the queue.
  init(
    limit: Int = 1 << 16,
    elsewhere: @escaping @Sendable () -> (@Sendable (@escaping @Sendable () -> Void) -> Void)?,
    handle: @escaping @Sendable (Event) -> Void
  ) {
    self.limit = limit
    self.elsewhere = elsewhere
    self.handle = handle
  }

  /// - Parameter isDroppable: whether the event may be lost where the queue is full, as a message may.
  /// - Returns: `false` where it was dropped: the queue was full, or the loop has stopped.
  @discardableResult
  func post(_ event: Event, isDroppable: Bool = false) -> Bool {
    lock.lock()
    if isStopped || (isDroppable && events.count >= limit) {
      lock.unlock()
      return false
    }
    events.append(event)
    if isBusy {
      lock.unlock()
      return true
    }
    isBusy = true
    lock.unlock()
    if let run = elsewhere() {
      run { [self] in drain() }
    } else {
      drain()
    }
    return true
  }

  private func drain() {
    var batch: [Event] = []
    while true {
      lock.lock()
      swap(&batch, &events)
      if batch.isEmpty || isStopped {
        isBusy = false
        lock.unlock()
        return
      }
      lock.unlock()
      for event in batch { handle(event) }
      batch.removeAll(keepingCapacity: true)
    }
  }

  /// Handles nothing more but what is being handled.
  func stop() {
    lock.withLock {
      isStopped = true
      events = []
    }
  }
}
