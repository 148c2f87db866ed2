import RoostCluster
import RoostEnvironment

/// Waits for the syncs of several stores. Thread-safe.
final class SyncedAnswers: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var failure: DatabaseError?
  private let answer: @Sendable (DatabaseError?) -> Void

  private init(_ count: Int, _ answer: @escaping @Sendable (DatabaseError?) -> Void) {
    left = count
    self.answer = answer
  }

  /// Calls back once all of the stores are synced, with the first failure.
  static func sync(_ members: [Member], _ answer: @escaping @Sendable (DatabaseError?) -> Void) {
    if members.isEmpty { return answer(nil) }
    let answers = SyncedAnswers(members.count, answer)
    for member in members { member.calls.sync { answers.add($0) } }
  }

  private func add(_ error: DatabaseError?) {
    let isLast = lock.withLock {
      failure = failure ?? error
      left -= 1
      return left == 0
    }
    if isLast { answer(failure) }
  }
}
