import RoostCluster
import RoostEnvironment

/// Does what writes to one store, one after the other, in the order in which it was asked for.
///
/// Who asks must not wait. So a write is done by the asking thread where none stands before it, it waits for
/// no sync, and the store is likely to take it at once. Else the store's worker does it, with all that come
/// meanwhile: while the log is synced for one group of transactions the next one gathers, and shares the
/// sync after it.
///
/// Commits that need not wait pass it by: their keys are locked, so no other write is about them.
///
/// One caller at a time may *take the seat*: to wait for the sync of its own commit itself, where that
/// commit finds the queue empty. It saves the way to the worker and back.
///
/// Thread-safe.
final class WriteQueue: @unchecked Sendable {
  /// - Parameter mayWait: whether the thread is a caller's in the seat, and waits for the sync as well.
  typealias Job = @Sendable (_ mayWait: Bool) -> Void

  private let member: Member
  private let lock = Lock()
  // Guarded by `lock`.
  private var jobs: [Job] = []
  /// Whether one of them syncs the store itself.
  private var someBlock = false
  /// Whether a thread does jobs, or will.
  private var isBusy = false
  private var seat: TransactionID?
  /// The job of the transaction in the seat, which stands at the queue's head.
  private var seated: Job?

  init(_ member: Member) { self.member = member }

  /// Does `job` once all before it are done: before this returns, or later. It must not wait for
  /// another.
  ///
  /// - Parameter blocks: whether the job syncs the store itself: then only a worker does it.
  func run(blocks: Bool = false, _ job: @escaping Job) {
    let isMine = lock.withLock {
      jobs.append(job)
      if blocks { someBlock = true }
      defer { isBusy = true }
      return !isBusy
    }
    guard isMine else { return }
    if member.store.mayWait { submit() } else { runAll(onWorker: false) }
  }

  /// Whether nothing waits or is being done.
  var isIdle: Bool { lock.withLock { !isBusy && seat == nil } }

  // MARK: - The seat

  /// Reserves the seat for a transaction that is about to be committed.
  ///
  /// - Returns: `false` where another has it, or writes are under way. If not, ``leaveSeat()`` must follow.
  func takeSeat(_ transaction: TransactionID) -> Bool {
    lock.withLock {
      if isBusy || seat != nil { return false }
      seat = transaction
      return true
    }
  }

  /// Leaves `job` to who took the seat for this transaction, if anyone did and nothing is before it.
  ///
  /// - Parameter transaction: whose commit it is, where that is all that commits it.
  /// - Returns: whether it is left to them.
  func sit(_ transaction: TransactionID, _ job: @escaping Job) -> Bool {
    lock.withLock {
      if isBusy || seat != transaction { return false }
      isBusy = true
      seated = job
      return true
    }
  }

  /// Does the write of the transaction in the seat on this thread, if it has come.
  ///
  /// - Returns: whether it had.
  @discardableResult
  func leaveSeat() -> Bool {
    let job = lock.withLock {
      seat = nil
      defer { seated = nil }
      return seated
    }
    guard let job else { return false }
    job(true)
    goOn()
    return true
  }

  // MARK: - The queue

  private func submit() {
    member.calls.run(
      .urgent, { [self] in runAll(onWorker: true) }, refused: { [self] _ in runAll(onWorker: true) })
  }

  /// Does those that wait now. Those that come meanwhile have their turn behind the sync that these
  /// asked for, else it might never begin.
  private func runAll(onWorker: Bool) {
    let due = lock.withLock { () -> [Job]? in
      if someBlock, !onWorker { return nil }
      defer {
        jobs = []
        someBlock = false
      }
      return jobs
    }
    guard let due else { return submit() }
    for job in due { job(false) }
    goOn()
  }

  private func goOn() {
    let isDone = lock.withLock {
      isBusy = !jobs.isEmpty
      return jobs.isEmpty
    }
    if !isDone { submit() }
  }
}
