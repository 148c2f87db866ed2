import RoostCausality
import RoostCluster
import RoostTransactions

/// What a participant's store has on disk.
struct StoreState: DiskState {
  struct Version {
    var timestamp: Timestamp
    var value: [UInt8]?
    var transaction: TransactionID?
  }

  struct Mark: Hashable {
    var transaction: TransactionID
    var index: Int
  }

  enum Operation {
    case participant(ParticipantWrite)
    case effect(Mark, EventualEffect)
    case forgetEffects(TransactionID)
    // What no store may do.
    case unmarkedEffect(EventualEffect)
    case unrecordedCommit(TransactionID, Timestamp, [TransactionWrite])
  }

  /// Oldest first.
  var versions: [KeyReference: [Version]] = [:]
  var prepared: [TransactionID: PreparedRecord] = [:]
  var outcomes: [TransactionID: Outcome] = [:]
  /// What operators decided.
  var forced: [TransactionID: Outcome] = [:]
  var marks: Set<Mark> = []
  /// The counters of the eventual keyspace.
  var counters: [[UInt8]: Int64] = [:]
  /// What no store may ever be told to write.
  var faults: [String] = []

  mutating func apply(_ operation: Operation) {
    switch operation {
    case .participant(.prepare(let record)): prepared[record.transaction] = record
    case .participant(.commit(let transaction, let timestamp, let writes)):
      commit(transaction, timestamp, writes)
    case .participant(.abort(let transaction)):
      prepared[transaction] = nil
      if case .committed = outcomes[transaction] { faults.append("\(transaction): abort after commit") }
    case .participant(.refuse(let transaction)):
      prepared[transaction] = nil
      if case .committed = outcomes[transaction] { faults.append("\(transaction): refusal after commit") }
      outcomes[transaction] = .aborted
    case .participant(.force(let transaction, let outcome, let writes)):
      forced[transaction] = outcome
      if case .committed(let timestamp) = outcome {
        commit(transaction, timestamp, writes)
      } else {
        prepared[transaction] = nil
        outcomes[transaction] = .aborted
      }
    case .effect(let mark, let effect):
      if marks.insert(mark).inserted { perform(effect) }
    case .forgetEffects(let transaction): marks = marks.filter { $0.transaction != transaction }
    case .unmarkedEffect(let effect): perform(effect)
    case .unrecordedCommit(let transaction, let timestamp, let writes):
      commit(transaction, timestamp, writes)
      outcomes[transaction] = nil
    }
  }

  private mutating func perform(_ effect: EventualEffect) {
    if case .increment(let amount) = effect.change { counters[effect.key, default: 0] += amount }
  }

  private mutating func commit(
    _ transaction: TransactionID, _ timestamp: Timestamp, _ writes: [TransactionWrite]
  ) {
    prepared[transaction] = nil
    switch outcomes[transaction] {
    case .committed(timestamp)?: return
    case let other?: faults.append("\(transaction): commit at \(timestamp) after \(other)")
    case nil: break
    }
    outcomes[transaction] = .committed(timestamp)
    for write in writes {
      if let last = versions[write.target]?.last, last.timestamp >= timestamp {
        faults.append("\(transaction): \(timestamp) over \(last.timestamp) at one key")
      }
      versions[write.target, default: []].append(
        Version(timestamp: timestamp, value: write.value, transaction: transaction))
    }
  }

  /// An empty store but for the accounts, which hold a hundred each.
  static func withAccounts(at participant: Int, _ options: SimulationOptions) -> StoreState {
    var state = StoreState()
    for number in 0..<options.workload.accountCount
    where Keys.owner(number, options.participantCount) == participant {
      state.versions[Keys.key(.account, number, options.participantCount)] = [
        Version(timestamp: Timestamp(rawValue: 1), value: Keys.encode([100]), transaction: nil)
      ]
    }
    return state
  }

  /// - Parameter time: `nil` for the newest versions.
  func read(_ read: TransactionRead, at time: Timestamp?) -> ReadAnswer {
    func entry(_ key: KeyReference) -> ReadEntry? {
      let version = versions[key]?.last { time == nil || $0.timestamp <= time ?? .zero }
      guard let version, let value = version.value else { return nil }
      return ReadEntry(key, value, at: version.timestamp)
    }
    switch read {
    case .keys(let keys): return ReadAnswer(keys.compactMap(entry))
    case .range(let range, let limit):
      let all = versions.keys.filter(range.contains).sorted().compactMap(entry)
      return ReadAnswer(Array(all.prefix(limit)), isComplete: all.count <= limit)
    }
  }
}

/// What a coordinator has in its log.
struct LogState: DiskState {
  enum Operation {
    case commit(CommitRecord)
    case end(TransactionID)
  }

  var records: [TransactionID: CommitRecord] = [:]
  var ended: Set<TransactionID> = []

  mutating func apply(_ operation: Operation) {
    switch operation {
    case .commit(let record): records[record.transaction] = record
    case .end(let transaction): ended.insert(transaction)
    }
  }

  var unended: [CommitRecord] {
    records.values.filter { !ended.contains($0.transaction) }.sorted { $0.transaction < $1.transaction }
  }
}
