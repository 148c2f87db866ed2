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

  /// - Parameters:
  ///   - limit: events that may stand in the queue.
  ///   - handle: must not wait for what takes long: who posts may be anyone.
  init(limit: Int = 1 << 16, handle: @escaping @Sendable (Event) -> Void) {
    self.limit = limit
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

  /// Handles what is queued, for whoever was told to by ``enqueue(_:isDroppable:)``.
  func drain() {
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
