import RoostCluster
import RoostEnvironment

/// Does what writes to one store, one after the other, in the order in which it was asked for.
///
/// Who asks must not wait. So a write is done by the asking thread where none stands before it and the
/// store is likely to take it at once. Else the store's worker does it, with all that come meanwhile:
/// while the log is synced for one group of transactions the next one gathers, and shares the sync
/// after it.
///
/// Thread-safe.
final class WriteQueue: @unchecked Sendable {
  typealias Job = @Sendable () -> Void

  private let member: Member
  private let lock = Lock()
  // Guarded by `lock`.
  private var jobs: [Job] = []
  /// Whether a thread does jobs, or will.
  private var isBusy = false

  init(_ member: Member) { self.member = member }

  /// Does `job` once all before it are done: before this returns, or later. It must not wait for
  /// another.
  func run(_ job: @escaping Job) {
    let isIdle = lock.withLock {
      jobs.append(job)
      defer { isBusy = true }
      return !isBusy
    }
    guard isIdle else { return }
    if member.store.mayWait { submit() } else { runAll() }
  }

  private func submit() {
    member.calls.run(.urgent, { [self] in runAll() }, refused: { [self] _ in runAll() })
  }

  /// Does those that wait now. Those that come meanwhile have their turn behind the sync that these
  /// asked for, else it might never begin.
  private func runAll() {
    let due = lock.withLock {
      defer { jobs = [] }
      return jobs
    }
    for job in due { job() }
    let isDone = lock.withLock {
      isBusy = !jobs.isEmpty
      return jobs.isEmpty
    }
    if !isDone { submit() }
  }
}
