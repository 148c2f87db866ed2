import RoostCausality
import RoostCluster

// What clients asked and were told. A value that a write has put is known by the write's number; what a
// context has seen is the set of the numbers behind it:
//
//   a read's context          the values that it returned
//   a put's context           its own value, and what the context that it was given had seen
//
// A value that a read does not return any more was replaced by a write whose own context had seen it, so
// leaving it out of the set loses nothing: that write is in the history as well.

/// All calls of a simulation, by key. Used by one thread.
final class CallHistory: @unchecked Sendable {
  /// What begins and ends: a call, or a transaction, by its number.
  private enum Subject: Hashable {
    case call(Int)
    case transaction(Int)
  }

  /// The beginning or the end of one.
  private struct Moment {
    var subject: Subject
    var kind: HistoryLine.Kind
    var process: Int
    var nanoseconds: UInt64
  }

  private(set) var calls: [RecordedCall] = []
  private(set) var transactions: [RecordedTransaction] = []
  /// Whether a read of a quorum must see what was acknowledged before it: where no store but a replica counts
  /// for a write, and the quorums of reads and writes meet.
  var checksReads = false
  /// Whether that goes on to hold while partitions move: where nothing else goes wrong.
  var checksMovedReads = false
  /// Where, among the moments, the members began to change: reads are judged up to there.
  private(set) var membersChangedAt: Int?
  private var byKey: [String: [Int]] = [:]
  /// Numbers of the puts of a value.
  private var puts: [String: [String: [Int]]] = [:]
  private var kinds: [String: KeyContent.Kind] = [:]
  private var moments: [Moment] = []
  /// Where, among the moments, a disk was lost or went back.
  private(set) var losses: [Int] = []
  /// The process as which a client acts now. One whose call was in doubt acts as another from then on.
  private var processes: [Int: Int] = [:]
  private var processCount = 0
  /// The processes of what has not ended.
  private var busy: [Subject: (client: Int, process: Int)] = [:]

  var keys: [String] { byKey.keys.sorted() }

  /// - Parameter nanoseconds: since the simulation began.
  func begin(
    _ asked: AskedCall, node: Int, isSynced: Bool, client: Int = 0, at nanoseconds: UInt64
  ) -> Int {
    let number = calls.count
    calls.append(
      RecordedCall(
        number: number, asked: asked, node: node, isSynced: isSynced, begun: nanoseconds / 1_000_000,
        beganAt: moments.count))
    byKey[asked.key, default: []].append(number)
    switch asked {
    case .put(let key, let value, _): puts[key, default: [:]][value, default: []].append(number)
    case .increment(let key, _): kinds[key] = .counter
    case .add(let key, _), .remove(let key, _): kinds[key] = .set
    case .get, .delete: break
    }
    begin(.call(number), client: client, at: nanoseconds)
    return number
  }

  private func begin(_ subject: Subject, client: Int, at nanoseconds: UInt64) {
    let process = freeProcess(of: client)
    busy[subject] = (client, process)
    moments.append(Moment(subject: subject, kind: .invoke, process: process, nanoseconds: nanoseconds))
  }

  private func end(_ subject: Subject, _ kind: HistoryLine.Kind, at nanoseconds: UInt64) {
    guard let (client, process) = busy.removeValue(forKey: subject) else { return }
    if kind == .info, processes[client] == process { processes[client] = nil }
    moments.append(Moment(subject: subject, kind: kind, process: process, nanoseconds: nanoseconds))
  }

  /// A process does one call at a time.
  private func freeProcess(of client: Int) -> Int {
    if let known = processes[client], !busy.values.contains(where: { $0.process == known }) { return known }
    processCount += 1
    processes[client] = processCount - 1
    return processCount - 1
  }

  func end(_ number: Int, _ outcome: CallOutcome, found: KeyContent? = nil, at nanoseconds: UInt64) {
    calls[number].outcome = outcome
    calls[number].ended = nanoseconds / 1_000_000
    calls[number].endedAt = moments.count
    calls[number].found = found
    let kind: HistoryLine.Kind =
      switch outcome {
      case .acknowledged: .ok
      case .refused: .fail
      // A read that failed has done nothing.
      case .inDoubt, .open: calls[number].asked.isRead ? .fail : .info
      }
    end(.call(number), kind, at: nanoseconds)
  }

  // MARK: - Transactions

  /// - Parameter nanoseconds: since the simulation began.
  func beginTransaction(
    node: Int, isSnapshot: Bool = false, client: Int, at nanoseconds: UInt64
  ) -> Int {
    let number = transactions.count
    transactions.append(
      RecordedTransaction(
        number: number, node: node, isSnapshot: isSnapshot, begun: nanoseconds / 1_000_000,
        beganAt: moments.count))
    begin(.transaction(number), client: client, at: nanoseconds)
    return number
  }

  /// Changes what is noted of a transaction that has not ended.
  func note(_ number: Int, _ change: (inout RecordedTransaction) -> Void) { change(&transactions[number]) }

  func endTransaction(_ number: Int, _ outcome: RecordedTransaction.Outcome, at nanoseconds: UInt64) {
    transactions[number].outcome = outcome
    transactions[number].ended = nanoseconds / 1_000_000
    transactions[number].endedAt = moments.count
    let kind: HistoryLine.Kind =
      switch outcome {
      case .committed: .ok
      case .aborted: .fail
      case .open, .unknown: .info
      }
    end(.transaction(number), kind, at: nanoseconds)
  }

  /// The members are about to change: a hint may count for a write from now on, and who a partition moves to
  /// may know of a write by a hint that is on its way.
  func noteMembersChange() {
    if !checksMovedReads, membersChangedAt == nil { membersChangedAt = moments.count }
  }

  /// A disk is lost, or goes back to what it was.
  func noteLoss() { losses.append(moments.count) }

  /// The numbers of the writes that may have put these values.
  func numbers(of values: [String], in key: String) -> Set<Int> {
    Set(values.flatMap { puts[key]?[$0] ?? [] })
  }

  func calls(of key: String) -> [RecordedCall] { (byKey[key] ?? []).map { calls[$0] } }

  /// So many of each outcome, reads left out.
  var writeCounts: (acknowledged: Int, refused: Int, inDoubt: Int) {
    var counts = (acknowledged: 0, refused: 0, inDoubt: 0)
    for call in calls where !call.asked.isRead {
      switch call.outcome {
      case .acknowledged: counts.acknowledged += 1
      case .refused: counts.refused += 1
      case .inDoubt, .open: counts.inDoubt += 1
      }
    }
    return counts
  }

  /// As JSON lines: see ``HistoryLine``.
  var jsonLines: String {
    var text = ""
    for (index, moment) in moments.enumerated() {
      let described =
        switch moment.subject {
        case .call(let number): line(index, moment, calls[number])
        case .transaction(let number):
          transactions[number].line(
            index, moment.kind, process: moment.process, nanoseconds: moment.nanoseconds)
        }
      text += described.text
    }
    return text
  }

  private func line(_ index: Int, _ moment: Moment, _ call: RecordedCall) -> HistoryLine {
    let kind = kinds[call.asked.key] ?? .values
    let isBeginning = moment.kind == .invoke
    var more: [(name: String, value: String)] = [("node", "\(call.node + 1)")]
    if isBeginning, !call.asked.isRead {
      more.append(("synced", call.isSynced ? "true" : "false"))
      if !call.seen.isEmpty {
        more.append(("replaces", HistoryLine.json(call.seen.sorted().map { "\($0)" })))
      }
    }
    switch call.outcome {
    case .refused(let reason), .inDoubt(let reason):
      if !isBeginning { more.append(("error", HistoryLine.json(reason))) }
    case .open, .acknowledged: break
    }
    return HistoryLine(
      index: index, moment.kind, process: moment.process, id: "\(call.number)",
      nanoseconds: moment.nanoseconds, [call.asked.operation(isBeginning ? nil : call.found, kind)],
      more: more)
  }
}
