import CMachine
import Glibc

/// Runs one task on a thread of its own, so that the task may block the thread: a paced load sleeps until
/// an operation is due with the kernel's precision, and waits for no other task.
final class ThreadExecutor: TaskExecutor, @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  // Guarded by the mutex.
  private var jobs: [UnownedJob] = []
  private var isEnded = false

  private init() {
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    pthread_cond_destroy(condition)
    mutex.deallocate()
    condition.deallocate()
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    pthread_mutex_lock(mutex)
    jobs.append(job)
    pthread_cond_signal(condition)
    pthread_mutex_unlock(mutex)
  }

  private func end() {
    pthread_mutex_lock(mutex)
    isEnded = true
    pthread_cond_signal(condition)
    pthread_mutex_unlock(mutex)
  }

  private func runJobs() {
    // How late the kernel wakes it counts as latency.
    bench_wake_exactly()
    while true {
      pthread_mutex_lock(mutex)
      while jobs.isEmpty, !isEnded { pthread_cond_wait(condition, mutex) }
      if jobs.isEmpty {
        pthread_mutex_unlock(mutex)
        return
      }
      let job = jobs.removeFirst()
      pthread_mutex_unlock(mutex)
      job.runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  /// Starts `body` as a task on a new thread.
  static func start<R: Sendable>(
    _ body: @escaping @Sendable () async throws -> R
  ) throws -> Running<R> {
    let executor = ThreadExecutor()
    let thread = try Thread { executor.runJobs() }
    let task = Task(executorPreference: executor) {
      defer { executor.end() }
      return try await body()
    }
    return Running(task: task, thread: thread)
  }

  /// A task that was started. To be waited for.
  struct Running<R: Sendable>: Sendable {
    fileprivate let task: Task<R, any Error>
    fileprivate let thread: Thread

    /// Waits for the task's end, and throws what it threw.
    func result() async throws -> R {
      let result = await task.result
      try thread.join()
      return try result.get()
    }
  }
}
