import RoostCausality
import RoostCluster
import RoostTransactions

/// What the clients of a simulation asked and were told, all of it.
final class ClientRecord {
  /// One run of one transaction.
  struct Attempt {
    var kind: HistoryKind
    var coordinator: CoordinatorID
    var status: HistoryEvent.Kind = .info
    var commit: Timestamp?
    /// What it asked to commit, by participant; `nil` where it never came to that.
    var writes: [Int: [TransactionWrite]]?
    var effects: [EventualEffect] = []
    var transfer: [Int: Int] = [:]
  }

  struct Snapshot {
    var time: Timestamp
    var lists: [String: [Int]]
  }

  let bank: BankChecker
  private(set) var histories: [HistoryKind: History] = [.lists: History(), .registers: History()]
  private(set) var attempts: [TransactionID: Attempt] = [:]
  private(set) var snapshots: [Snapshot] = []
  private(set) var faults: [String] = []
  /// How the transaction that ended last did.
  private(set) var lastStatus: HistoryEvent.Kind?
  private(set) var lastOutcome: TransactionOutcome?
  private var values = 0
  private var snapshotCount: UInt64 = 0

  init(_ bank: BankChecker) { self.bank = bank }

  func forgetLast() { (lastStatus, lastOutcome) = (nil, nil) }

  func nextValue() -> Int {
    values += 1
    return values
  }

  var okCount: Int { attempts.values.count { $0.status == .ok } + snapshots.count }

  // MARK: Transactions

  func begin(_ transaction: TransactionID, _ program: TransactionProgram, _ process: Int, _ now: UInt64) {
    attempts[transaction] = Attempt(kind: program.kind, coordinator: transaction.coordinator)
    note(.invoke, program.kind, process, transaction.description, program.finish(nil).operations, now)
  }

  func asked(
    _ transaction: TransactionID, _ result: TransactionProgram.Result, _ effects: [EventualEffect]
  ) {
    attempts[transaction]?.writes = result.writes
    attempts[transaction]?.effects = effects
    attempts[transaction]?.transfer = result.transfer
  }

  func end(
    _ transaction: TransactionID, _ program: TransactionProgram, _ process: Int,
    _ outcome: TransactionOutcome?, _ result: TransactionProgram.Result, _ now: UInt64
  ) -> HistoryEvent.Kind {
    let kind: HistoryEvent.Kind
    var commit: Timestamp?
    switch outcome {
    case .committed(let timestamp):
      (kind, commit) = (.ok, timestamp)
      if let balances = result.balances, let fault = bank.fault(balances) {
        faults.append("\(transaction) read \(fault)")
      }
    case .aborted: kind = .fail
    case .unknown, nil: kind = .info
    }
    attempts[transaction]?.status = kind
    lastStatus = kind
    lastOutcome = outcome
    attempts[transaction]?.commit = commit
    note(
      kind, program.kind, process, transaction.description,
      kind == .ok ? result.operations : program.finish(nil).operations, now, commit)
    return kind
  }

  private func note(
    _ event: HistoryEvent.Kind, _ kind: HistoryKind, _ process: Int, _ name: String,
    _ operations: [HistoryOperation], _ now: UInt64, _ commit: Timestamp? = nil
  ) {
    histories[kind]?.append(
      HistoryEvent(
        kind: event, process: process, transaction: name, operations: operations, time: now * 1_000,
        commit: commit?.rawValue))
  }

  // MARK: Snapshots

  /// Reads all accounts and lists of all participants as of one time, without locks.
  ///
  /// - Parameter done: says whether all answered.
  func snapshot(
    at time: Timestamp, isNow: Bool, process: Int, from node: Node, _ cluster: SimulatedCluster,
    _ done: @escaping (Bool) -> Void
  ) {
    let name = "snapshot-\(snapshotCount)"
    if isNow { note(.invoke, .lists, process, name, [], cluster.now) }
    var entries: [ReadEntry] = []
    var missing: Set<UInt64>? = []
    func finish(_ isOK: Bool) {
      guard missing != nil else { return }
      missing = nil
      if isOK {
        let operations = take(entries, time, cluster.options)
        if isNow { note(.ok, .lists, process, name, operations, cluster.now, time) }
      } else if isNow {
        note(.fail, .lists, process, name, [], cluster.now)
      }
      done(isOK)
    }
    for participant in cluster.participants {
      for kind in [Keys.Kind.account, .list, .span] {
        snapshotCount += 1
        let request = snapshotCount
        missing?.insert(request)
        let read = TransactionRead.range(Keys.all(kind, at: participant.index), limit: 10_000)
        cluster.transmit(from: node, to: participant.node) {
          participant.snapshot(request, read, at: time) { answer in
            cluster.transmit(from: participant.node, to: node) {
              // Any answer may come twice.
              guard missing?.remove(request) != nil else { return true }
              entries += answer?.entries ?? []
              if answer == nil { finish(false) }
              if missing?.isEmpty == true { finish(true) }
              return true
            }
          }
        }
      }
    }
    cluster.after(milliseconds: 3_000) { finish(false) }
  }

  private func take(
    _ entries: [ReadEntry], _ time: Timestamp, _ options: SimulationOptions
  ) -> [HistoryOperation] {
    let balances = entries.filter { $0.target.keyspace == Keys.Kind.account.rawValue }
    if let fault = bank.fault(balances.map { Keys.decode($0.value).first ?? 0 }) {
      faults.append("a snapshot at \(time) read \(fault)")
    }
    let lists = Keys.lists(entries, options)
    snapshots.append(Snapshot(time: time, lists: lists))
    return lists.sorted { $0.key < $1.key }.map { .readList($0.key, $0.value) }
  }
}

extension Keys {
  /// All lists, by their names in histories.
  static func lists(_ entries: [ReadEntry], _ options: SimulationOptions) -> [String: [Int]] {
    var lists: [String: [Int]] = [:]
    for number in 0..<options.workload.listCount {
      lists["l\(number)"] = []
      lists["s\(number)"] = []
    }
    for entry in entries where entry.target.keyspace == Kind.list.rawValue {
      lists["l\(Self.number(entry.target.key))"] = decode(entry.value)
    }
    let elements = entries.filter { $0.target.keyspace == Kind.span.rawValue }
    for (number, part) in Dictionary(grouping: elements, by: { Self.number($0.target.key) }) {
      lists["s\(number)"] = list(part)
    }
    return lists
  }
}
