package import RoostCluster
import RoostEnvironment

// What became of transactions, as this process knows it, and what operators decide of those in doubt.

extension TransactionManager {
  /// What is prepared at this process's stores and not decided.
  package var inDoubt: [(member: Member, doubt: InDoubt)] {
    participants.flatMap { driver in driver.inDoubt.map { (driver.member, $0) } }
  }

  /// What this process knows of a transaction now: an abort that was just asked for may not be done yet.
  package func outcome(of transaction: TransactionID) throws(DatabaseError) -> KnownOutcome {
    for store in stores.all {
      switch try store.outcome(of: transaction)?.outcome {
      case .committed(let timestamp): return .committed(timestamp)
      case .aborted: return .aborted(.recorded)
      case nil: continue
      }
    }
    guard let driver = coordinator(of: transaction) else { return .expired }
    let known = try driver.outcome(of: transaction)
    // Nobody has a record, all stores are here, and it is young enough that a record would be there.
    if known == .noRecord, driver.presumesAbort, !isInDoubt(transaction), core.isWhole {
      return .aborted(.recorded)
    }
    return known
  }

  private func isInDoubt(_ transaction: TransactionID) -> Bool {
    participants.contains { driver in driver.inDoubt.contains { $0.transaction == transaction } }
  }

  /// What operators decided in the open stores, the oldest transaction first within each.
  package func forcedDecisions(
  ) throws(DatabaseError) -> [(member: Member, transaction: TransactionID, record: OutcomeRecord)] {
    var decisions: [(member: Member, transaction: TransactionID, record: OutcomeRecord)] = []
    for store in stores.all.sorted(by: { $0.member.id < $1.member.id }) {
      for (transaction, record) in try store.forcedDecisions() {
        decisions.append((store.member, transaction, record))
      }
    }
    return decisions
  }

  /// Decides a transaction by hand at every store where it is in doubt.
  ///
  /// - Returns: at how many stores it was.
  package func force(
    _ transaction: TransactionID, _ outcome: Outcome,
    _ reply: @escaping @Sendable (Result<Int, DatabaseError>) -> Void
  ) {
    let concerned = inDoubt.filter { $0.doubt.transaction == transaction }.map(\.member.id)
    let gathered = ForcedReplies(concerned.count, reply)
    if concerned.isEmpty { return reply(.success(0)) }
    for member in concerned {
      guard let participant = lock.withLock({ state.participants[member] }) else {
        gathered.add(.failed("the store \(member) has left"))
        continue
      }
      participant.force(transaction, outcome) { refusal in gathered.add(refusal) }
    }
  }
}

/// Waits for the answers of several stores to one operator's decision. Thread-safe.
private final class ForcedReplies: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var failure: Refusal?
  private let count: Int
  private let reply: @Sendable (Result<Int, DatabaseError>) -> Void

  init(_ count: Int, _ reply: @escaping @Sendable (Result<Int, DatabaseError>) -> Void) {
    self.count = count
    left = count
    self.reply = reply
  }

  func add(_ refusal: Refusal?) {
    let result = lock.withLock { () -> Result<Int, DatabaseError>? in
      left -= 1
      failure = failure ?? refusal
      guard left == 0 else { return nil }
      return failure.map { .failure(DatabaseError($0, at: "a store")) } ?? .success(count)
    }
    if let result { reply(result) }
  }
}
