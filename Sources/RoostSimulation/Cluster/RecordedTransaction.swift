import RoostCausality
import RoostTransactions

/// A transaction, or a read as of a time, in the history.
struct RecordedTransaction: Sendable {
  enum Outcome: Sendable {
    case open
    /// Of reads as of a time: that time.
    case committed(Timestamp)
    /// It has done nothing.
    case aborted(String)
    /// It may have committed, or may yet.
    case unknown(String)
  }

  struct Operation: Sendable {
    enum Kind: Sendable {
      case read
      case write
      /// The value is the whole list with the element behind it.
      case append(String)
    }

    var kind: Kind
    var key: String
    /// What was read or written; `nil` for an absent key, and a delete.
    var value: String?
    /// Whether values are lists: elements with a space between.
    var isList = false

    var isRead: Bool { if case .read = kind { true } else { false } }

    /// - Parameter isAsked: what a read found is not known yet.
    func json(isAsked: Bool) -> String {
      switch kind {
      case .read where isAsked: return HistoryLine.operation("r", key, "null")
      case .read: return HistoryLine.operation("r", key, json)
      case .write: return HistoryLine.operation("w", key, json)
      case .append(let element): return HistoryLine.operation("append", key, element)
      }
    }

    private var json: String {
      if isList { return "[" + Self.elements(value).joined(separator: ",") + "]" }
      return value.map { HistoryLine.json($0) } ?? "null"
    }

    static func elements(_ list: String?) -> [String] {
      (list ?? "").split(separator: " ").map(String.init)
    }

    var text: String {
      let shown = value.map(RecordedCall.short) ?? "nothing"
      switch kind {
      case .read: return "\(key) is \(shown)"
      case .write, .append: return "\(key) := \(shown)"
      }
    }
  }

  var number: Int
  /// Once the node has begun it.
  var id: TransactionID?
  var node: Int
  var isSnapshot: Bool
  /// Milliseconds since the simulation began.
  var begun: UInt64
  var ended: UInt64?
  /// Where its beginning and its end stand among those of all calls.
  var beganAt: Int
  var endedAt: Int?
  /// In the order in which they were asked for; reads with what they found.
  var operations: [Operation] = []
  /// What it adds to counters of the eventual keyspace.
  var effects: [(key: String, amount: Int64)] = []
  /// Else it cannot have committed.
  var hasAskedToCommit = false
  var outcome = Outcome.open
  /// What the nodes said of one whose outcome its client was not told; `nil` where they do not know.
  var settled: TransactionOutcome?

  /// When it committed, whoever knows.
  var committed: Timestamp? {
    if case .committed(let time) = outcome { return time }
    if case .committed(let time)? = settled { return time }
    return nil
  }

  /// Whether nobody knows what became of it.
  var isUnknown: Bool {
    guard hasAskedToCommit, settled == nil else { return false }
    switch outcome {
    case .open, .unknown: return true
    case .committed, .aborted: return false
    }
  }

  /// What it left under each key that it wrote.
  var writes: [(key: String, value: String?)] {
    var found: [(key: String, value: String?)] = []
    for operation in operations where !operation.isRead {
      if let place = found.firstIndex(where: { $0.key == operation.key }) {
        found[place].value = operation.value
      } else {
        found.append((operation.key, operation.value))
      }
    }
    return found
  }

  func touches(_ key: String) -> Bool { operations.contains { $0.key == key } }

  func line(_ index: Int, _ kind: HistoryLine.Kind, process: Int, nanoseconds: UInt64) -> HistoryLine {
    var more: [(name: String, value: String)] = [("node", "\(node + 1)")]
    if kind != .invoke {
      switch outcome {
      case .committed(let time): more.append(("commit", "\(time.rawValue)"))
      case .aborted(let reason), .unknown(let reason): more.append(("error", HistoryLine.json(reason)))
      case .open: break
      }
    }
    // What an aborted one has read counts for nothing.
    return HistoryLine(
      index: index, kind, process: process, id: id.map { "\($0)" } ?? "transaction \(number)",
      nanoseconds: nanoseconds, operations.map { $0.json(isAsked: kind != .ok) }, more: more)
  }

  var text: String {
    var line = "\(isSnapshot ? "snapshot" : "transaction") \(number)"
    if let id { line += " (\(id))" }
    line += ", \(begun)"
    if let ended { line += " to \(ended)" }
    line += " ms, node \(node + 1): \(operations.map(\.text).joined(separator: ", "))"
    for effect in effects { line += ", adds \(effect.amount) to \(effect.key)" }
    switch outcome {
    case .open: line += ": no answer yet"
    case .committed(let time): line += ": done at \(time)"
    case .aborted(let reason): line += ": aborted (\(reason))"
    case .unknown(let reason):
      line += ": unknown (\(reason))"
      if let settled { line += ", in the end \(settled)" }
    }
    return line
  }
}
