import RoostCausality
import RoostTransactions

// What must hold of the transactions of a history. Each that committed says when, by the database's own
// clock, and so the order is known in which they are said to have run:
//
// 1. A read, in a transaction or as of a time, returned what the last one before that time had written. So
//    nothing acknowledged is lost, nothing aborted is there, no snapshot is torn, and no update is lost.
// 2. What began after a write was acknowledged has a later time: the order is that of real time too.
// 3. Of what nobody knows the outcome nothing follows, and keys that it wrote are not judged.

extension CallHistory {
  /// The most violations that are told of each rule.
  private static let mostViolations = 3

  var transactionCounts: (committed: Int, aborted: Int, unknown: Int) {
    var counts = (committed: 0, aborted: 0, unknown: 0)
    for transaction in transactions where !transaction.isSnapshot {
      switch transaction.outcome {
      case .committed: counts.committed += 1
      case .aborted: counts.aborted += 1
      case .open, .unknown: counts.unknown += 1
      }
    }
    return counts
  }

  /// The keys that transactions wrote, or tried to; and whether their values are lists.
  var transactionalKeys: (all: [String], lists: Set<String>) {
    var all: Set<String> = []
    var lists: Set<String> = []
    for transaction in transactions where transaction.hasAskedToCommit {
      for operation in transaction.operations where !operation.isRead {
        all.insert(operation.key)
        if operation.isList { lists.insert(operation.key) }
      }
    }
    return (all.sorted(), lists)
  }

  /// The eventual keys that transactions changed, or may have.
  var effectKeys: [String] {
    Set(transactions.filter(\.hasAskedToCommit).flatMap { $0.effects.map(\.key) }).sorted()
  }

  /// Whether anyone but transactions wrote an eventual key.
  func hasWrites(of key: String) -> Bool { calls(of: key).contains { !$0.asked.isRead } }

  /// What a counter that only transactions change is, at least and at most.
  func effectBounds(of key: String) -> (least: Int64, most: Int64) {
    var bounds: (least: Int64, most: Int64) = (0, 0)
    for transaction in transactions {
      for effect in transaction.effects where effect.key == key {
        if transaction.committed != nil {
          bounds.least += effect.amount
          bounds.most += effect.amount
        } else if transaction.isUnknown {
          bounds.least += min(0, effect.amount)
          bounds.most += max(0, effect.amount)
        }
      }
    }
    return bounds
  }

  /// What is wrong with reads of all accounts.
  func bankViolations(_ accounts: [String], total: Int) -> [String] {
    var found: [String] = []
    for transaction in transactions {
      guard case .committed = transaction.outcome, found.count < Self.mostViolations else { continue }
      var balances: [String: Int] = [:]
      for operation in transaction.operations where operation.isRead {
        balances[operation.key] = operation.value.flatMap { Int($0) }
      }
      let read = accounts.filter { account in
        transaction.operations.contains { $0.isRead && $0.key == account }
      }
      guard read.count == accounts.count else { continue }
      let sum = accounts.reduce(0) { $0 + (balances[$1] ?? 0) }
      if sum != total || balances.values.contains(where: { $0 < 0 }) {
        found.append("the bank has \(sum), and must have \(total), none below 0: \(transaction.text)")
      }
    }
    return found
  }

  /// What is wrong with the order of transactions.
  ///
  /// - Parameter checksRealTime: whether clocks were never apart by more than their bound.
  /// - Complexity: O(n log n) in the operations.
  func orderViolations(checksRealTime: Bool) -> [String] {
    let order = TransactionOrder(transactions)
    var found = order.readProblems.prefix(Self.mostViolations).map { explained($0) }
    if checksRealTime { found += order.timeProblems.prefix(Self.mostViolations) }
    return found
  }

  private func explained(_ problem: (key: String, text: String)) -> String {
    let writers = transactions.filter { transaction in
      (transaction.committed != nil || transaction.isUnknown)
        && transaction.writes.contains { $0.key == problem.key }
    }
    let lines = writers.suffix(20).map { "  " + $0.text }
    return ([problem.text] + lines).joined(separator: "\n")
  }
}

/// Transactions in the order of their times.
private struct TransactionOrder {
  private struct Version {
    var time: Timestamp
    var value: String?
    var number: Int
  }

  private let committed: [(transaction: RecordedTransaction, time: Timestamp)]
  /// By key, in order of time.
  private var versions: [String: [Version]] = [:]
  /// Keys that hold nobody knows what.
  private var uncertain: Set<String> = []

  init(_ transactions: [RecordedTransaction]) {
    committed = transactions.compactMap { transaction in
      transaction.committed.map { (transaction, $0) }
    }
    for transaction in transactions where transaction.isUnknown {
      for write in transaction.writes { uncertain.insert(write.key) }
    }
    for (transaction, time) in committed {
      for write in transaction.writes {
        versions[write.key, default: []].append(
          Version(time: time, value: write.value, number: transaction.number))
      }
    }
    for key in versions.keys { versions[key]?.sort { ($0.time, $0.number) < ($1.time, $1.number) } }
  }

  var readProblems: [(key: String, text: String)] {
    var problems: [(key: String, text: String)] = []
    for (transaction, time) in committed {
      var own: [String: String?] = [:]
      for operation in transaction.operations {
        guard operation.isRead else {
          own[operation.key] = .some(operation.value)
          continue
        }
        let expected: String?
        if let written = own[operation.key] {
          expected = written
        } else {
          if uncertain.contains(operation.key) { continue }
          expected = value(of: operation.key, at: time, except: transaction.number)
        }
        if expected == operation.value { continue }
        let (shown, wanted) = (operation.value, expected)
        problems.append(
          (
            operation.key,
            "\(operation.key) was read as \(Self.text(shown)), and must be \(Self.text(wanted)): "
              + transaction.text
          ))
      }
    }
    return problems
  }

  private static func text(_ value: String?) -> String { value.map { "`\($0.suffix(40))`" } ?? "absent" }

  private func value(of key: String, at time: Timestamp, except number: Int) -> String? {
    let list = versions[key] ?? []
    var (low, high) = (0, list.count)
    while low < high {
      let middle = (low + high) / 2
      if list[middle].time <= time { low = middle + 1 } else { high = middle }
    }
    var place = low - 1
    while place >= 0, list[place].number == number { place -= 1 }
    return place >= 0 ? list[place].value : nil
  }

  /// Reads alone do not wait until all clocks have passed their time: only what wrote stands before others.
  var timeProblems: [String] {
    let ended = committed.filter { $0.transaction.endedAt != nil && Self.isAcknowledgedWrite($0.transaction) }
      .sorted { $0.transaction.endedAt! < $1.transaction.endedAt! }
    var problems: [String] = []
    var next = 0
    var latest: (transaction: RecordedTransaction, time: Timestamp)?
    for (transaction, time) in committed.sorted(by: { $0.transaction.beganAt < $1.transaction.beganAt }) {
      while next < ended.count, ended[next].transaction.endedAt! < transaction.beganAt {
        if ended[next].time > latest?.time ?? .zero { latest = ended[next] }
        next += 1
      }
      if let latest, latest.time >= time {
        problems.append(
          "what began after another had ended is before it:\n  \(latest.transaction.text)\n  "
            + transaction.text)
      }
    }
    return problems
  }

  private static func isAcknowledgedWrite(_ transaction: RecordedTransaction) -> Bool {
    if case .committed = transaction.outcome { !transaction.writes.isEmpty } else { false }
  }
}
