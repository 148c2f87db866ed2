/// A hand-made history: transactions with the moments at which they began and ended.
struct MadeTransaction {
  var id: String
  var status: HistoryEvent.Kind
  var span: (Int, Int)
  var operations: [HistoryOperation]
  var commit: UInt64?

  /// Without a span, all are concurrent.
  init(
    _ id: String, _ operations: [HistoryOperation], _ status: HistoryEvent.Kind = .ok,
    _ span: (Int, Int) = (0, 100), commit: UInt64? = nil
  ) {
    self.id = id
    self.status = status
    self.span = span
    self.operations = operations
    self.commit = commit
  }
}

func history(_ transactions: [MadeTransaction]) -> History {
  var moments: [(time: Int, isEnd: Bool, event: HistoryEvent)] = []
  for (process, made) in transactions.enumerated() {
    let asked = made.operations.map { operation -> HistoryOperation in
      switch operation {
      case .readList(let key, _): .readList(key, nil)
      case .read(let key, _): .read(key, nil)
      default: operation
      }
    }
    let invoke = HistoryEvent(
      kind: .invoke, process: process, transaction: made.id, operations: asked,
      time: UInt64(made.span.0), commit: nil)
    let answer = HistoryEvent(
      kind: made.status, process: process, transaction: made.id,
      operations: made.status == .ok ? made.operations : asked, time: UInt64(made.span.1),
      commit: made.commit)
    moments.append((made.span.0, false, invoke))
    moments.append((made.span.1, true, answer))
  }
  // Calls before answers, within a moment: what touches is concurrent.
  moments.sort {
    ($0.time, $0.isEnd ? 1 : 0, $0.event.process) < ($1.time, $1.isEnd ? 1 : 0, $1.event.process)
  }
  var history = History()
  for moment in moments { history.append(moment.event) }
  return history
}
