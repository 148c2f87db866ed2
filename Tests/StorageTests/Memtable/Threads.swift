import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Runs `body` on `count` threads of its own at once and returns when all have. Tests of what runs
/// without locks need real threads: tasks may share one.
func runThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  final class Job: Sendable {
    let index: Int
    let body: @Sendable (Int) -> Void
    init(_ index: Int, _ body: @escaping @Sendable (Int) -> Void) {
      self.index = index
      self.body = body
    }
  }
  var threads: [pthread_t] = []
  for i in 0..<count {
    var thread = pthread_t()
    let job = unsafe Unmanaged.passRetained(Job(i, body)).toOpaque()
    let result = unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let job = unsafe Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
        job.body(job.index)
        return nil
      }, job)
    precondition(result == 0)
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
}

/// A fault seen on some thread: expectations are checked on the test's own.
final class Faults: Sendable {
  private let count = Atomic<Int>(0)
  private let first = Atomic<Int>(0)

  /// Notes a fault; `line` says which.
  func check(_ isRight: Bool, line: Int = #line) {
    if isRight { return }
    if count.wrappingAdd(1, ordering: .relaxed).oldValue == 0 {
      first.store(line, ordering: .relaxed)
    }
  }

  var total: Int { count.load(ordering: .relaxed) }
  var firstLine: Int { first.load(ordering: .relaxed) }
}
