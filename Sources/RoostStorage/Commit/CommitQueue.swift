import RoostEnvironment

/// What one caller wants written. The views belong to the caller, who waits until the group is
/// done.
@safe
struct CommitRequest {
  enum Kind {
    case put
    case delete
    case deleteRange
    case batch
    /// A few operations.
    case list
    /// Nothing to write: makes durable what came before.
    case sync
  }

  var kind: Kind
  var durability: Durability
  /// The tree of a single operation.
  var tree: Unmanaged<TreeCore>?
  var key = ByteView.empty
  /// The value; a range's end; or a batch's encoding.
  var value = ByteView.empty
  var list = unsafe UnsafeBufferPointer<ListedOperation>(start: nil, count: 0)
  /// Bytes that the list's encoding takes.
  var listedBytes = 0
  /// Filled in by the leader where this request alone failed.
  var error: StoreError?

  /// Bytes that it asks to write, more or less.
  @inline(__always)
  var byteCount: Int { key.count &+ value.count &+ listedBytes }

  /// Nothing to write.
  static func sync(_ durability: Durability = .applied) -> CommitRequest {
    unsafe CommitRequest(kind: .sync, durability: durability)
  }
}

// Group commit with a leader:
//
// 1. A writer that finds nobody leading leads at once, with itself as the whole group: no
//    allocation, two uncontended lock operations.
// 2. One that finds a leader queues and waits. When the leader is done it hands over to the first
//    in the queue, which leads for all that have queued by then (up to `groupBytes`).
// 3. So while one group is being synced, the next gathers: one sync serves many.

/// Gives one thread at a time the right to write the log and the memtables. Thread-safe.
final class CommitQueue: @unchecked Sendable {
  /// One queued writer. Used again, so that a contended write allocates nothing in the steady
  /// state.
  final class Waiter {
    enum State {
      case queued
      case leads
      case inGroup
      case done
    }
    var request = CommitRequest.sync()
    var state = State.queued
    /// Not to be taken into another's group.
    var wantsToLeadAlone = false
    let changed: Condition

    init(_ lock: Lock) { changed = Condition(lock) }
  }

  static let groupBytes = 1 << 20

  private let lock = Lock()
  private var isLed = false
  private var queue: [Waiter] = []
  private var spare: [Waiter] = []
  private let time: any TimeSource
  private let deadline: UInt64

  /// - Parameter deadlineNanoseconds: how long a writer may stand in the queue.
  init(_ time: any TimeSource, deadlineNanoseconds: UInt64) {
    self.time = time
    deadline = deadlineNanoseconds
  }

  /// Takes the lead if nobody has it. The caller must call ``release()``.
  @inline(__always)
  func tryLead() -> Bool {
    lock.lock()
    if isLed {
      lock.unlock()
      return false
    }
    isLed = true
    lock.unlock()
    return true
  }

  /// How many writers wait.
  var queuedCount: Int { lock.withLock { queue.count } }

  /// Waits for the lead, for work that must not run beside a commit.
  ///
  /// - Throws: `.deadlineExceeded`.
  func lead() throws(StoreError) {
    if tryLead() { return }
    let waiter = try enqueue(.sync(), alone: true)
    // Whoever queues alone is always made the leader.
    lock.withLock { spare.append(waiter) }
  }

  /// Queues the request and waits.
  ///
  /// - Returns: `nil` when another thread has committed it; else the caller leads, for its own and
  ///   the returned group.
  /// - Throws: what the commit threw; `.deadlineExceeded` when it was still in the queue at the
  ///   deadline.
  func enqueue(_ request: CommitRequest) throws(StoreError) -> [Waiter]? {
    let waiter = try enqueue(request, alone: false)
    lock.lock()
    if waiter.state == .done {
      let error = waiter.request.error
      waiter.request = .sync()
      spare.append(waiter)
      lock.unlock()
      if let error { throw error }
      return nil
    }
    // Leading: gather the group.
    var group = [waiter]
    var bytes = waiter.request.byteCount
    var taken = 0
    for next in queue {
      guard bytes < Self.groupBytes, !next.wantsToLeadAlone else { break }
      bytes &+= next.request.byteCount
      next.state = .inGroup
      group.append(next)
      taken += 1
    }
    queue.removeFirst(taken)
    lock.unlock()
    return group
  }

  /// Tells a group that it is done, its own waiter (the first) aside, and gives the lead away.
  func complete(_ group: [Waiter]) {
    lock.lock()
    for waiter in group.dropFirst() {
      waiter.state = .done
      waiter.changed.signal()
    }
    if let own = group.first {
      own.request = .sync()
      own.state = .done
      spare.append(own)
    }
    passOn()
    lock.unlock()
  }

  /// Gives the lead away.
  @inline(__always)
  func release() {
    lock.lock()
    passOn()
    lock.unlock()
  }

  @inline(__always)
  private func passOn() {
    if queue.isEmpty {
      isLed = false
    } else {
      passOnToQueue()
    }
  }

  @inline(never)
  private func passOnToQueue() {
    let next = queue.removeFirst()
    next.state = .leads
    next.changed.signal()
  }

  private func enqueue(_ request: CommitRequest, alone: Bool) throws(StoreError) -> Waiter {
    lock.lock()
    if !isLed {
      isLed = true
      let waiter = spare.popLast() ?? Waiter(lock)
      waiter.request = request
      waiter.state = .leads
      waiter.wantsToLeadAlone = alone
      lock.unlock()
      return waiter
    }
    let waiter = spare.popLast() ?? Waiter(lock)
    waiter.request = request
    waiter.state = .queued
    waiter.wantsToLeadAlone = alone
    queue.append(waiter)
    let until = time.monotonicNanoseconds &+ deadline
    while true {
      switch waiter.state {
      case .leads, .done:
        lock.unlock()
        return waiter
      case .inGroup:
        // A leader has the request: its outcome is coming, and only the device bounds it.
        waiter.changed.wait()
      case .queued:
        // Looked at again after the wait: the lead may come in the moment in which time runs out, and who
        // went on waiting then would keep it from all others for ever.
        if time.wait(on: waiter.changed, untilMonotonicNanoseconds: until) { continue }
        if waiter.state != .queued { continue }
        queue.removeAll { $0 === waiter }
        spare.append(waiter)
        lock.unlock()
        throw StoreError(
          .deadlineExceeded, "waited for the writers ahead; the write was not begun")
      }
    }
  }
}
