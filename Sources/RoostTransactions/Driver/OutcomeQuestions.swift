import RoostCluster
import RoostEnvironment

/// Questions about what became of transactions. Each waits for its turn at the coordinator and is answered on
/// a thread of its own: what is looked up there may wait for a disk, and a coordinator's events must not.
///
/// Each is answered once, also where this is closed before. Thread-safe.
final class OutcomeQuestions: @unchecked Sendable {
  /// Questions that may wait at a time; more are refused.
  static let limit = 4_096

  private struct Question {
    var answer: @Sendable () -> Void
    var refuse: @Sendable (DatabaseError) -> Void
  }

  /// Nobody else uses them: they end when this is closed.
  private let workers: any Workers
  private let lock = Lock()
  // Guarded by `lock`.
  private var waiting: [UInt64: Question] = [:]
  private var lastNumber: UInt64 = 0
  private var isClosed = false

  init(_ workers: any Workers) { self.workers = workers }

  /// Calls either `answer`, on a worker, or `refuse`.
  ///
  /// - Parameters:
  ///   - turn: calls what it is given, once: when all that the question is to stand behind is done.
  ///   - refuse: called with `.busy`, `.closed`.
  func ask(
    turn: (@escaping @Sendable () -> Void) -> Void, answer: @escaping @Sendable () -> Void,
    refuse: @escaping @Sendable (DatabaseError) -> Void
  ) {
    let number = lock.withLock { () -> Result<UInt64, DatabaseError> in
      if isClosed { return .failure(Self.closed) }
      if waiting.count >= Self.limit {
        return .failure(DatabaseError(.busy, "\(Self.limit) questions about transactions wait already"))
      }
      lastNumber += 1
      waiting[lastNumber] = Question(answer: answer, refuse: refuse)
      return .success(lastNumber)
    }
    switch number {
    case .failure(let error): refuse(error)
    case .success(let number):
      turn { [self] in
        workers.submit(.background) { [self] in take(number)?.answer() }
        // Where workers have no threads of their own (the simulator's).
        while workers.runOneHere() {}
      }
    }
  }

  /// Waits for those that are being answered, and refuses the rest, whose turn may be yet to come.
  func close() {
    lock.withLock { isClosed = true }
    workers.shutdown()
    let left = lock.withLock {
      defer { waiting = [:] }
      return waiting
    }
    for (_, question) in left.sorted(by: { $0.key < $1.key }) { question.refuse(Self.closed) }
  }

  private func take(_ number: UInt64) -> Question? {
    lock.withLock { waiting.removeValue(forKey: number) }
  }

  private static var closed: DatabaseError { DatabaseError(.closed, "the database is closed") }
}
