import RoostCausality
import RoostEnvironment

/// What a node remembers of its reaping. Thread-safe.
final class NodeReaping: @unchecked Sendable {
  /// How far a round over all that the node holds has come.
  struct Position {
    /// Of the partitions of all keyspaces, one keyspace after the other.
    var index = 0
    /// The key behind which it goes on in that partition; empty for the first one.
    var after: [UInt8] = []
  }

  /// `nil` where nothing is ever reaped.
  let rule: ReapingRule?
  let evidence = ReapingEvidence()
  private let lock = Lock()
  // Guarded by `lock`.
  private var isRunning = false
  private var lastBeat: UInt64 = 0
  private var nextRound: UInt64 = 0
  private var reached = Position()

  init(_ rule: ReapingRule?) { self.rule = rule }

  /// - Returns: from where on how many records may be looked at; `nil` where nothing is due, or the last look
  ///   is under way still.
  func begin(at now: UInt64, looksPerSecond: Int) -> (Position, looks: Int)? {
    lock.withLock {
      if isRunning || now < nextRound { return nil }
      // After a pause no more than a second's worth goes at once.
      let elapsed = min(now &- min(lastBeat, now), 1_000_000_000)
      lastBeat = now
      isRunning = true
      return (reached, max(1, Int(Double(looksPerSecond) * Double(elapsed) / 1e9)))
    }
  }

  func reach(_ position: Position) { lock.withLock { reached = position } }

  /// All was looked at: the next round begins at `next`.
  func roundEnded(next: UInt64) {
    lock.withLock {
      reached = Position()
      nextRound = next
    }
  }

  func end() { lock.withLock { isRunning = false } }
}

/// Answers of several members, of which all are waited for. Thread-safe.
final class AllAnswers<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var answers: [Result<Value, DatabaseError>] = []
  private let then: @Sendable ([Result<Value, DatabaseError>]) -> Void

  /// - Parameters:
  ///   - count: at least 1.
  ///   - then: called once, when all have answered, by whoever brings the last answer.
  init(_ count: Int, _ then: @escaping @Sendable ([Result<Value, DatabaseError>]) -> Void) {
    left = count
    self.then = then
  }

  func take(_ answer: Result<Value, DatabaseError>) {
    let all = lock.withLock { () -> [Result<Value, DatabaseError>]? in
      answers.append(answer)
      left -= 1
      return left == 0 ? answers : nil
    }
    if let all { then(all) }
  }
}
