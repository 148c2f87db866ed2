import RoostCausality
import RoostCluster
import RoostTransactions

// How transactions come to their end: what nobody was told is asked for, and all that they wrote is read.

extension SimulatedWorld {
  /// Keys that are read at once in the end.
  private static let keysAtOnce = 64

  /// Lets the world run until nobody is in doubt of a transaction. Who still is in the end is kept for
  /// ``violations()``.
  ///
  /// A change of the members that is under way makes no doubt longer: who coordinates stays until all of its
  /// transactions are over everywhere, and a partition is given up once nothing in it is prepared.
  ///
  /// - Throws: ``SimulationError`` where no more events may happen.
  func settleDoubts(within duration: Duration) throws {
    transactionProblems = []
    guard hasTransactions, history.losses.isEmpty else { return }
    try run(untilTrue: { doubts.isEmpty }, within: duration)
    transactionProblems = doubts
  }

  /// Asks for what became of transactions whose clients were not told, and reads all keys. What is wrong with
  /// that is kept for ``violations()``, beside what ``settleDoubts(within:)`` has found.
  func settleTransactions() throws {
    guard hasTransactions, history.losses.isEmpty else { return }
    // Once more: the members may have changed since.
    transactionProblems += doubts
    for transaction in history.transactions where transaction.isUnknown { try settle(transaction) }
    try readAll()
  }

  private var doubts: [String] {
    nodes.flatMap { node in
      ((try? inDoubt(at: node)) ?? []).map { "\(node) still has \($0) in doubt, at \(milliseconds) ms" }
    }
  }

  private func settle(_ transaction: RecordedTransaction) throws {
    guard let id = transaction.id else { return }
    var answers: [(node: SimulatedNode, outcome: TransactionOutcome?)] = []
    for node in runningNodes {
      do { answers.append((node, try outcome(of: id, at: node))) } catch let error as DatabaseError {
        // Too old to be known: nothing is said of it.
        if error.code == .outcomeUnknown, mayBeForgotten(id) { return }
        transactionProblems.append("\(node) cannot say what became of \(id): \(error)")
      }
    }
    guard let first = answers.first else { return }
    for answer in answers where !Self.agree(answer.outcome, first.outcome) {
      transactionProblems.append(
        "\(first.node) says \(Self.text(first.outcome)), \(answer.node) says \(Self.text(answer.outcome)): "
          + transaction.text)
    }
    guard let settled = first.outcome else {
      transactionProblems.append("nobody knows what became of \(transaction.text)")
      return
    }
    history.note(transaction.number) { $0.settled = settled }
  }

  /// Whether records of a transaction may have been dropped; a minute early, since a node may be ahead.
  private func mayBeForgotten(_ id: TransactionID) -> Bool {
    let kept = Self.nanoseconds(databaseOptions.transactions.outcomeRetention) / 1_000_000
    return id.start.milliseconds + kept < clock.wallClockNanoseconds / 1_000_000 + 60_000
  }

  private static func agree(_ one: TransactionOutcome?, _ other: TransactionOutcome?) -> Bool {
    switch (one, other) {
    case (nil, nil), (.aborted, .aborted): true
    case (.committed(let time)?, .committed(let same)?): time == same
    default: false
    }
  }

  private static func text(_ outcome: TransactionOutcome?) -> String { outcome.map { "\($0)" } ?? "nothing" }

  /// The reads are in the history, and judged as all others.
  private func readAll() throws {
    guard let host = hosts.first(where: { $0.node != nil }) else { return }
    let (keys, lists) = history.transactionalKeys
    var rest = Set(bank?.accounts ?? []).union(keys).sorted()[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(Self.keysAtOnce))
      rest = rest.dropFirst(Self.keysAtOnce)
      do {
        _ = try awaited(nil) { SnapshotRun.begin(part, lists: lists, at: host, client: -1, $0) }
      } catch let error as DatabaseError {
        transactionProblems.append("node \(host.index + 1) cannot read \(part[0]) and others: \(error)")
      }
    }
    // All at one moment.
    if let bank {
      do {
        _ = try awaited(nil) { SnapshotRun.begin(bank.accounts, at: host, client: -1, $0) }
      } catch let error as DatabaseError {
        transactionProblems.append("node \(host.index + 1) cannot read the bank: \(error)")
      }
    }
  }

  /// What is wrong with transactions: nothing where a disk was lost, since what they write is on one.
  func transactionViolations() -> [String] {
    guard hasTransactions, history.losses.isEmpty else { return [] }
    var found = transactionProblems
    if let bank { found += history.bankViolations(bank.accounts, total: bank.total) }
    found += history.orderViolations(checksRealTime: !clocksWereApart)
    for key in history.effectKeys where !history.hasWrites(of: key) {
      if let difference = disagreement(on: key) {
        found.append("\(key), which transactions change: replicas differ: \(difference)")
        continue
      }
      guard let host = holders(of: key).first, case .success(let record) = held(key, at: host) else {
        continue
      }
      let (least, most) = history.effectBounds(of: key)
      let count = KeyContent(record).count
      if let count, count >= least, count <= most { continue }
      found.append(
        "\(key), which transactions change, is \(count.map { "\($0)" } ?? "beyond bounds"), and must be from "
          + "\(least) to \(most)")
    }
    return found
  }
}
