import RoostCausality
import RoostCluster
import RoostTransactions

/// Holds what the disks have at the end of a run against what the clients were told.
struct Audit {
  private let cluster: SimulatedCluster
  private let record: ClientRecord
  /// Whether real time is judged: not where clocks were further apart than they may be.
  private let isStrict: Bool

  init(_ cluster: SimulatedCluster, _ record: ClientRecord) {
    self.cluster = cluster
    self.record = record
    let options = cluster.options
    isStrict = options.skewMilliseconds <= options.times.clockBoundMilliseconds || options.mutation != nil
  }

  func faults() -> [String] {
    if cluster.options.operatorKind == .careless { return faultsBesideForced() }
    var faults = cluster.faults + record.faults
    faults += cluster.participants.flatMap(\.disk.live.faults) + unreported()
    for (transaction, attempt) in record.attempts.sorted(by: { $0.key < $1.key }) {
      faults += atomicity(transaction, attempt).map { "\(transaction) (\(attempt.status)): \($0)" }
    }
    faults += balances() + snapshots()
    let anomalies =
      ListAppendChecker.check(record.histories[.lists] ?? History())
      + RegisterChecker.check(record.histories[.registers] ?? History())
    faults += anomalies.filter { isStrict || !$0.needsRealTime }.map(\.description)
    return faults
  }

  // MARK: Operators

  /// All that must hold where operators decide against what was decided: of every transaction that none of
  /// them touched, and of what the others are told. What is read of a transaction that is done in part
  /// makes no sense, and is not judged.
  private func faultsBesideForced() -> [String] {
    let forced = Set(cluster.participants.flatMap(\.askedToForce))
    var faults = cluster.faults + unreported()
    faults += cluster.participants.flatMap(\.disk.live.faults).filter { fault in
      !forced.contains { fault.contains($0.description) }
    }
    for (transaction, attempt) in record.attempts.sorted(by: { $0.key < $1.key })
    where !forced.contains(transaction) {
      faults += atomicity(transaction, attempt).map { "\(transaction) (\(attempt.status)): \($0)" }
    }
    return faults
  }

  /// Decisions by hand of which nobody was told; and contradictions, also after a restart: the coordinator
  /// tells a commit until it is acknowledged.
  private func unreported() -> [String] {
    cluster.participants.flatMap { participant in
      participant.forced.sorted { $0.key < $1.key }.flatMap { transaction, outcome -> [String] in
        let warnings = participant.warnings.filter { $0.contains(transaction.description) }
        var faults: [String] = []
        if !warnings.contains(where: { $0.contains("an operator decides") }) {
          faults.append("nobody was told of what an operator decided of \(transaction)")
        }
        if contradiction(of: outcome, transaction),
          !warnings.contains(where: { $0.contains("is told to commit") })
        {
          faults.append("nobody was told that \(outcome) of \(transaction) contradicts its commit")
        }
        return faults
      }
    }
  }

  private func contradiction(of forced: Outcome, _ transaction: TransactionID) -> Bool {
    guard let coordinator = cluster.coordinators.first(where: { $0.isKnown(transaction.coordinator) }),
      let commit = coordinator.disk.live.records[transaction]
    else { return false }
    return forced != .committed(commit.timestamp)
  }

  /// How often an operator decided, and how often against what its coordinator had decided.
  var forceCounts: (all: Int, contradicting: Int) {
    var counts = (all: 0, contradicting: 0)
    for participant in cluster.participants {
      for (transaction, outcome) in participant.forced {
        counts.all += 1
        if contradiction(of: outcome, transaction) { counts.contradicting += 1 }
      }
    }
    return counts
  }

  // MARK: Transactions

  /// When it committed, by what participants have on disk: all of it, or nothing.
  private func commits(_ transaction: TransactionID, _ attempt: ClientRecord.Attempt) -> [Timestamp?] {
    (attempt.writes ?? [:]).sorted { $0.key < $1.key }.flatMap { index, writes in
      writes.map { write in
        cluster.participants[index].disk.live.versions[write.target]?
          .first { $0.transaction == transaction }?.timestamp
      }
    }
  }

  private func atomicity(_ transaction: TransactionID, _ attempt: ClientRecord.Attempt) -> [String] {
    let commits = commits(transaction, attempt)
    var faults: [String] = []
    if Set(commits).count > 1 { faults.append("in part, or at several times: \(commits)") }
    let commit = commits.first ?? nil
    switch attempt.status {
    case .ok where !commits.isEmpty && commit != attempt.commit:
      let told = attempt.commit?.description ?? "-"
      faults.append("told committed at \(told), is \(commit?.description ?? "not")")
    case .fail where commit != nil: faults.append("told aborted, is committed")
    default: break
    }
    let coordinator = cluster.coordinators.first { $0.isKnown(attempt.coordinator) }
    switch coordinator?.outcome(of: transaction) {
    case .committed(let told) where !commits.isEmpty && told != commit:
      faults.append("its coordinator says committed at \(told)")
    case .aborted where commit != nil: faults.append("its coordinator says aborted")
    case .undecided: faults.append("its coordinator has not decided")
    default: break
    }
    return faults + effects(transaction, attempt, isCommitted: commit != nil)
  }

  private func effects(
    _ transaction: TransactionID, _ attempt: ClientRecord.Attempt, isCommitted: Bool
  ) -> [String] {
    attempt.effects.flatMap { effect in
      cluster.participants.compactMap { participant in
        let count = participant.disk.live.counters[effect.key] ?? 0
        let expected: Int64 = isCommitted && participant.member == effect.target ? 1 : 0
        return count == expected
          ? nil : "its effect was done \(count) times, not \(expected), at \(participant.index)"
      }
    }
  }

  /// Each account is what the committed transfers made of it.
  private func balances() -> [String] {
    var balances = Array(repeating: 100, count: cluster.options.workload.accountCount)
    for (transaction, attempt) in record.attempts {
      guard commits(transaction, attempt).contains(where: { $0 != nil }) else { continue }
      for (account, amount) in attempt.transfer { balances[account] += amount }
    }
    return balances.enumerated().compactMap { number, balance in
      let key = Keys.key(.account, number, cluster.options.participantCount)
      let found = cluster.participants[key.partition].disk.live.versions[key]?.last?.value
      let value = Keys.decode(found).first ?? 0
      return value == balance ? nil : "account \(number) has \(value), its transfers make \(balance)"
    }
  }

  /// Each snapshot is what had committed by its time, no more and no less.
  private func snapshots() -> [String] {
    record.snapshots.compactMap { snapshot in
      let entries = cluster.participants.flatMap { participant in
        [Keys.Kind.list, .span].flatMap { kind -> [ReadEntry] in
          let read = TransactionRead.range(Keys.all(kind, at: participant.index), limit: .max)
          return participant.disk.live.read(read, at: snapshot.time).entries
        }
      }
      let lists = Keys.lists(entries, cluster.options)
      if lists == snapshot.lists { return nil }
      return "a snapshot at \(snapshot.time) was \(snapshot.lists), not \(lists)"
    }
  }
}
