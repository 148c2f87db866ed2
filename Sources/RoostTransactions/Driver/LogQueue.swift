import RoostCluster
import RoostEnvironment
import RoostStorage

/// Writes a coordinator's log on a worker's thread: what queues while one write or sync runs is written
/// together, with one sync, where any of it asks for one. Thread-safe.
final class LogQueue: @unchecked Sendable {
  typealias Answer = @Sendable (StoreError?) -> Void

  private enum Record {
    case commit(CommitRecord, Answer)
    case end(TransactionID)
  }

  private let log: CoordinatorLog
  private let workers: any Workers
  /// Told which transactions' END is durable.
  private let ended: @Sendable ([TransactionID]) -> Void
  private let lock = Lock()
  // Guarded by `lock`.
  private var records: [Record] = []
  private var isDue = false
  private var isClosed = false
  // The worker's.
  private var unsyncedEnds: [TransactionID] = []

  /// - Parameter workers: nobody else uses their urgent lane.
  init(
    _ log: CoordinatorLog, _ workers: any Workers, ended: @escaping @Sendable ([TransactionID]) -> Void
  ) {
    self.log = log
    self.workers = workers
    self.ended = ended
  }

  /// Appends COMMIT; answers when it is in the system's hands, or synced where the record asks for it.
  func append(_ record: CommitRecord, _ answer: @escaping Answer) {
    if !enqueue(.commit(record, answer)) {
      answer(StoreError(.closed, "the coordinator's log is closed"))
    }
  }

  /// Appends END, with the next COMMIT: nobody waits for it.
  func appendEnd(of transaction: TransactionID) { _ = enqueue(.end(transaction)) }

  private func enqueue(_ record: Record) -> Bool {
    let mustSubmit = lock.withLock { () -> Bool? in
      if isClosed { return nil }
      records.append(record)
      defer { isDue = true }
      return !isDue
    }
    guard let mustSubmit else { return false }
    if mustSubmit {
      workers.submit(.urgent) { [weak self] in self?.write() }
      while workers.runOneHere() {}
    }
    return true
  }

  private func write() {
    let records = lock.withLock { () -> [Record] in
      isDue = false
      defer { self.records = [] }
      return self.records
    }
    var answers: [Answer] = []
    var mustSync = false
    for record in records {
      switch record {
      case .end(let transaction):
        // Where it cannot be written, the transaction is finished once more after a restart.
        if (try? log.append(end: transaction)) != nil { unsyncedEnds.append(transaction) }
      case .commit(let record, let answer):
        do throws(StoreError) {
          try log.append(commit: record)
          answers.append(answer)
          mustSync = mustSync || record.isSynced
        } catch { answer(error) }
      }
    }
    if answers.isEmpty { return }
    var failure: StoreError?
    do throws(StoreError) { if mustSync { try log.sync() } else { try log.flush() } } catch { failure = error }
    for answer in answers { answer(failure) }
    if failure == nil, mustSync { tellEnds() }
  }

  private func tellEnds() {
    if unsyncedEnds.isEmpty { return }
    let ends = unsyncedEnds
    unsyncedEnds = []
    ended(ends)
  }

  /// Writes what is queued, and closes the log. After its workers were shut down.
  func close() throws(StoreError) {
    lock.withLock { isClosed = true }
    write()
    try log.close()
  }
}
