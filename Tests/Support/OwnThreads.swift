import Foundation
import RoostEnvironment

/// Threads for asynchronous tests against real time, of their own: as many as have something to do.
///
/// The threads on which asynchronous code runs otherwise are as few as the processors, and all tests share
/// them. A test that keeps one for a minute, as simulations of clusters do, so keeps others from going on
/// between two calls for a minute: longer than a transaction may be idle, and longer than any limit that a
/// test means. Tasks made with `Task` run on the shared ones all the same.
///
/// Thread-safe.
public final class OwnThreads: TaskExecutor, @unchecked Sendable {
  private static let shared = OwnThreads()
  private static let most = 64

  private let lock = Lock()
  private let hasJobs: Condition
  // Guarded by `lock`.
  private var jobs: [UnownedJob] = []
  /// Threads that wait for a job, or have begun to look for one.
  private var idleCount = 0
  private var threadCount = 0

  private init() { hasJobs = Condition(lock) }

  /// Runs `body`, and the child tasks that it makes, on these threads. What blocks one of them holds up
  /// nobody else.
  public static func run(_ body: @Sendable () async throws -> Void) async throws {
    try await withTaskExecutorPreference(shared) { try await body() }
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let mustStart = lock.withLock {
      jobs.append(job)
      hasJobs.signal()
      // Each idle one takes one job, and a job may keep its thread.
      guard jobs.count > idleCount, threadCount < Self.most else { return false }
      threadCount += 1
      idleCount += 1
      return true
    }
    if mustStart { Thread.detachNewThread { [self] in work() } }
  }

  private func work() {
    while true {
      let job = lock.withLock {
        while jobs.isEmpty { hasJobs.wait() }
        idleCount -= 1
        return jobs.removeFirst()
      }
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
      lock.withLock { idleCount += 1 }
    }
  }
}
