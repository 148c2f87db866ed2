import RoostCausality
import RoostCluster

// Decisions that do not come: asking, being asked, and the operator.
extension Participant {
  // MARK: Asking

  /// What is due for a transaction now.
  mutating func lookAfter(_ transaction: TransactionID) {
    guard let branch = branches[transaction] else { return }
    defer { schedule(transaction) }
    if branch.isFree {
      if branch.expires <= now.monotonicMilliseconds {
        giveUp(transaction, .expired, telling: true)
      } else if branch.requests.values.contains(where: {
        $0.deadline ?? .max <= now.monotonicMilliseconds
      }) {
        giveUp(transaction, .deadline, telling: true)
      }
      return
    }
    if case .readOnly(_, let bound) = branch.phase, let ask = branch.nextAsk,
      ask <= now.monotonicMilliseconds, now.timestamp > bound
    {
      // As after a restart: whoever writes now does so above the bound, and so above its commit.
      return remove(transaction, .dead(.expired))
    }
    if branch.isUndecided, let ask = branch.nextAsk, ask <= now.monotonicMilliseconds {
      self.ask(transaction)
    }
    settle(transaction)
  }

  /// The coordinator first, then the other writers too, less and less often, for ever.
  private mutating func ask(_ transaction: TransactionID) {
    guard var branch = branches[transaction] else { return }
    var whom: [Endpoint] = [.coordinator(transaction.coordinator)]
    if !branch.asked.isEmpty {
      whom += branch.writers.filter { $0 != member }.map { .participant($0) }
    }
    for endpoint in whom {
      branch.asked.insert(endpoint)
      send(endpoint, transaction, .inquire)
    }
    branch.askWait = times.nextRetry(after: branch.askWait)
    branch.nextAsk = now.monotonicMilliseconds &+ branch.askWait
    branches[transaction] = branch
  }

  mutating func answered(_ transaction: TransactionID, _ answer: Answer, from sender: Endpoint) {
    guard let branch = branches[transaction], branch.isUndecided else {
      if answer == .aborted { warnOfForcedCommit(transaction) }
      return
    }
    switch answer {
    case .committed(let timestamp):
      // The acknowledgement is the coordinator's, whoever told.
      commit(transaction, at: timestamp, from: .coordinator(transaction.coordinator))
    case .aborted: abort(transaction)
    case .unknown: break
    }
  }

  /// The answer crossed an operator's decision: whoever asked for that hears so.
  private mutating func warnOfForcedCommit(_ transaction: TransactionID) {
    var isForced = false
    if case .forced(.committed) = finished[transaction] { isForced = true }
    switch branches[transaction]?.phase {
    case .forcing(_, .committed): isForced = true
    case .settling: isForced = branches[transaction]?.isForced ?? false
    default: break
    }
    if isForced { warn("\(transaction) is committed by an operator, and others know it to be aborted") }
  }

  // MARK: Being asked

  /// Answers what is recorded; or that it does not know; or sees to it that the transaction cannot
  /// commit, durably, and then says that it is aborted. Never "aborted" merely from seeing nothing:
  /// PREPARE may be on its way here.
  mutating func inquired(_ transaction: TransactionID, from sender: Endpoint) {
    if let branch = branches[transaction] {
      switch branch.phase {
      case .open, .lockingAtOnce:
        giveUp(transaction, .refusedBefore, telling: true)
        refuse(transaction, asker: sender)
      case .committing(let t), .undone(let t), .settling(let t), .settlingReadOnly(let t):
        send(sender, transaction, .answer(.committed(t)))
      case .committingAtOnce, .lost, .readOnly, .preparing, .refusing, .silent, .prepared, .forcing:
        send(sender, transaction, .answer(.unknown))
      }
      return
    }
    switch finished[transaction] {
    case .committed(let t), .forced(.committed(let t)):
      send(sender, transaction, .answer(.committed(t)))
    case .forced(.aborted): send(sender, transaction, .answer(.aborted))
    case .dead: refuse(transaction, asker: sender)
    case nil:
      if times.isForgotten(transaction, at: now) {
        send(sender, transaction, .answer(.unknown))
      } else if times.isOver(transaction, at: now) {
        lookUp(transaction, .inquiry(sender))
      } else {
        finish(transaction, .dead(.refusedBefore))
        refuse(transaction, asker: sender)
      }
    }
  }

  /// Durable before it is answered: after a restart nothing else would keep PREPARE out.
  private mutating func refuse(_ transaction: TransactionID, asker: Endpoint) {
    let isUnderWay = refusals[transaction] != nil
    refusals[transaction, default: []].insert(asker)
    if !isUnderWay { write(.refuse(transaction), of: transaction, .refuse, isForced: true) }
  }

  mutating func lookUp(_ transaction: TransactionID, _ lookup: Lookup) {
    lastNumber += 1
    lookups[lastNumber] = (transaction, lookup)
    effects.append(.lookUp(lastNumber, transaction))
  }

  mutating func found(_ number: UInt64, _ outcome: Outcome?, _ failure: String?) {
    guard let (transaction, lookup) = lookups.removeValue(forKey: number) else { return }
    if let failure { return warn("\(transaction): its outcome could not be read: \(failure)") }
    switch (lookup, outcome) {
    case (.inquiry(let asker), .committed(let t)): send(asker, transaction, .answer(.committed(t)))
    case (.inquiry(let asker), .aborted): send(asker, transaction, .answer(.aborted))
    case (.inquiry(let asker), nil): refuse(transaction, asker: asker)
    case (.commitAtOnce(let sender, let request), .committed(let t)):
      send(sender, transaction, .committedAtOnce(request: request, t))
    case (.commitAtOnce(let sender, let request), .aborted):
      send(sender, transaction, .refused(request: request, .refusedBefore))
    case (.commitAtOnce(let sender, let request), nil):
      // Too old to have a record is too old to know: silence then.
      if times.isForgotten(transaction, at: now) { return }
      send(sender, transaction, .refused(request: request, .expired))
    }
  }

  // MARK: The operator

  mutating func force(_ request: UInt64, _ transaction: TransactionID, _ outcome: Outcome) {
    guard let branch = branches[transaction] else {
      return effects.append(.forced(request: request, .failed("\(transaction) is not in doubt here")))
    }
    switch (branch.phase, outcome) {
    case (.prepared(let prepared), .committed(let t)) where t < prepared:
      effects.append(
        .forced(request: request, .failed("it is prepared at \(prepared), and commits no earlier")))
    case (.silent, .committed):
      let reason = "it has not voted here, so nobody has committed it: it can be aborted only"
      effects.append(.forced(request: request, .failed(reason)))
    case (.prepared(let prepared), _), (.silent(let prepared), .aborted):
      warn("an operator decides \(transaction), without its coordinator: \(outcome)")
      branches[transaction]?.phase = .forcing(prepared: prepared, outcome)
      write(
        .force(transaction, outcome, branch.writes), of: transaction, .force(request: request),
        isForced: true)
    default:
      effects.append(.forced(request: request, .failed("\(transaction) is not in doubt here")))
    }
    schedule(transaction)
  }

  mutating func forced(_ transaction: TransactionID, _ request: UInt64, _ failure: String?) {
    guard let branch = branches[transaction],
      case .forcing(let prepared, let outcome) = branch.phase
    else { return }
    if let failure {
      branches[transaction]?.phase = branch.isSilent ? .silent(prepared) : .prepared(prepared)
      return effects.append(.forced(request: request, .failed(failure)))
    }
    effects.append(.forced(request: request, nil))
    switch outcome {
    case .committed(let timestamp):
      branches[transaction]?.isForced = true
      branches[transaction]?.phase = .settling(timestamp)
      settle(transaction)
    case .aborted: remove(transaction, .forced(.aborted))
    }
  }
}
