package import RoostEnvironment
import RoostStorage

/// Blocking calls on one store that callers who must not block hand over: syncs, which are shared
/// by all that wait, and anything else, one after the other. Each is answered exactly once, with
/// `.closed` where the store is closed first.
///
/// Thread-safe.
package final class DeferredCalls: @unchecked Sendable {
  package typealias Answer = @Sendable (DatabaseError?) -> Void

  private let store: Store
  private let workers: any Workers
  private let path: String
  private let lock = Lock()
  // Guarded by `lock`.
  private var waitingForSync: [Answer] = []
  private var syncIsDue = false
  private var others: [UInt64: Answer] = [:]
  private var nextID: UInt64 = 0
  private var isClosed = false

  init(_ store: Store, _ workers: any Workers, _ path: String) {
    self.store = store
    self.workers = workers
    self.path = path
  }

  /// Calls `answer` once every write that has returned before this call is durable. One sync serves
  /// all that wait when it begins.
  package func sync(_ answer: @escaping Answer) {
    let (refused, mustSubmit) = lock.withLock { () -> (Bool, Bool) in
      if isClosed { return (true, false) }
      waitingForSync.append(answer)
      defer { syncIsDue = true }
      return (false, !syncIsDue)
    }
    if refused { return answer(closedError) }
    if mustSubmit {
      workers.submit(.urgent) { [weak self] in self?.runSync() }
      runHere()
    }
  }

  private func runSync() {
    // Whoever comes from now on needs a sync of their own: this one may begin before their write.
    let waiting = lock.withLock { () -> [Answer] in
      syncIsDue = false
      defer { waitingForSync = [] }
      return waitingForSync
    }
    if waiting.isEmpty { return }
    var failure: DatabaseError?
    do throws(StoreError) { try store.syncBesideWriters() } catch {
      failure = DatabaseError(error, "\(path) could not be synced")
    }
    for answer in waiting { answer(failure) }
  }

  /// Runs `job` on a thread that may block, or, where the store is closed before its turn, calls
  /// `refused` with `.closed`.
  ///
  /// - Parameter lane: the one on which syncs wait, or the other, for what takes long.
  package func run(
    _ lane: WorkLane, _ job: @escaping @Sendable () -> Void, refused: @escaping Answer
  ) {
    let id = lock.withLock { () -> UInt64? in
      if isClosed { return nil }
      nextID += 1
      others[nextID] = refused
      return nextID
    }
    guard let id else { return refused(closedError) }
    workers.submit(lane) { [weak self] in
      if self?.begin(id) == true { job() }
    }
    runHere()
  }

  /// Where the workers have no threads of their own (the simulator's), the caller's does the work.
  private func runHere() { while workers.runOneHere() {} }

  private func begin(_ id: UInt64) -> Bool { lock.withLock { others.removeValue(forKey: id) != nil } }

  /// Syncs for those that wait, on this thread. For a store that leaves its database: what was
  /// written to it is durable then, and is what they asked for.
  func drain() { runSync() }

  /// Answers all that wait. After the workers were shut down.
  func close() {
    let answers = lock.withLock { () -> [Answer] in
      isClosed = true
      defer {
        waitingForSync = []
        others = [:]
      }
      return waitingForSync + others.sorted { $0.key < $1.key }.map(\.value)
    }
    for answer in answers { answer(closedError) }
  }

  private var closedError: DatabaseError {
    DatabaseError(.closed, "the database was closed before the call on \(path) had its turn")
  }
}
