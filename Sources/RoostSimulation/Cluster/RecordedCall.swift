import RoostCausality
import RoostCluster

/// What came of a client's call.
enum CallOutcome: Sendable {
  case open
  case acknowledged
  /// Nothing was done.
  case refused(String)
  /// It may have been done, or may still be.
  case inDoubt(String)
}

/// What a client asked for.
enum AskedCall: Sendable {
  case get(String)
  case put(String, String, SimulatedContext?)
  case delete(String, SimulatedContext)
  case increment(String, Int64)
  case add(String, String)
  case remove(String, String)

  var key: String {
    switch self {
    case .get(let key), .put(let key, _, _), .delete(let key, _), .increment(let key, _), .add(let key, _),
      .remove(let key, _):
      key
    }
  }

  var isRead: Bool { if case .get = self { true } else { false } }

  var request: KeyRequest {
    let bytes = Array(key.utf8)
    let keyspace = SimulatedWorld.keyspace
    switch self {
    case .get: return KeyRequest(.get, bytes, in: keyspace)
    case .put(_, let value, let context):
      var request = KeyRequest(.put(Array(value.utf8), timeToLiveMilliseconds: nil), bytes, in: keyspace)
      request.context = context?.token
      return request
    case .delete(_, let context):
      var request = KeyRequest(.delete, bytes, in: keyspace)
      request.context = context.token
      return request
    case .increment(_, let amount): return KeyRequest(.increment(amount), bytes, in: keyspace)
    case .add(_, let element): return KeyRequest(.add(Array(element.utf8)), bytes, in: keyspace)
    case .remove(_, let element): return KeyRequest(.remove(Array(element.utf8)), bytes, in: keyspace)
    }
  }

  /// As a history has it. Of a read, what it found; nothing before it has ended.
  func operation(_ found: KeyContent?, _ kind: KeyContent.Kind) -> String {
    switch self {
    case .get(let key): HistoryLine.operation("r", key, found?.json(kind) ?? "null")
    case .put(let key, let value, _): HistoryLine.operation("w", key, HistoryLine.json(value))
    case .delete(let key, _): HistoryLine.operation("delete", key, "null")
    case .increment(let key, let amount): HistoryLine.operation("increment", key, "\(amount)")
    case .add(let key, let element): HistoryLine.operation("add", key, HistoryLine.json(element))
    case .remove(let key, let element): HistoryLine.operation("remove", key, HistoryLine.json(element))
    }
  }
}

/// What a key holds, as clients see it: of the three kinds of content one, as a rule.
struct KeyContent: Sendable {
  enum Kind: Sendable {
    case values
    case counter
    case set
  }

  var values: [String]
  /// `nil` where it overflows.
  var count: Int64?
  var elements: [String]

  init(_ record: Record?) {
    let record = record ?? Record()
    values = record.siblings.elements.map { String(decoding: $0.value, as: UTF8.self) }.sorted()
    count = try? record.state(as: PNCounter.self).value()
    elements = record.state(as: ORSet.self).values.map { String(decoding: $0, as: UTF8.self) }.sorted()
  }

  var text: String {
    if !elements.isEmpty { return "{" + elements.joined(separator: " ") + "}" }
    if let count, count != 0 { return "\(count)" }
    return "[" + values.map(RecordedCall.short).joined(separator: " ") + "]"
  }

  func json(_ kind: Kind) -> String {
    switch kind {
    case .values: HistoryLine.json(values)
    case .counter: count.map { "\($0)" } ?? "null"
    case .set: HistoryLine.json(elements)
    }
  }
}

/// A call in the history.
struct RecordedCall: Sendable {
  var number: Int
  var asked: AskedCall
  var node: Int
  var isSynced: Bool
  /// Milliseconds since the simulation began.
  var begun: UInt64
  var ended: UInt64?
  /// Where its beginning and its end stand among those of all calls.
  var beganAt: Int
  var endedAt: Int?
  var outcome = CallOutcome.open
  /// What a read returned.
  var found: KeyContent?

  /// The values that its context had seen.
  var seen: Set<Int> {
    switch asked {
    case .put(_, _, let context): context?.seen ?? []
    case .delete(_, let context): context.seen
    default: []
    }
  }

  var mayHaveHappened: Bool { if case .refused = outcome { false } else { true } }
  var isAcknowledged: Bool { if case .acknowledged = outcome { true } else { false } }
  /// Whether it must be there whatever disks and machines do.
  var isPromised: Bool { isSynced && isAcknowledged }

  var text: String {
    var line = "\(begun) ms"
    if let ended { line += " to \(ended) ms" }
    line += ", node \(node + 1): "
    switch asked {
    case .get: line += "get"
    case .put(_, let value, nil): line += "put \(Self.short(value))"
    case .put(_, let value, let context?):
      line += "put \(Self.short(value)) over \(Self.list(context.seen))"
    case .delete(_, let context): line += "delete \(Self.list(context.seen))"
    case .increment(_, let amount): line += "increment by \(amount)"
    case .add(_, let element): line += "add \(element)"
    case .remove(_, let element): line += "remove \(element)"
    }
    if isSynced { line += ", synced" }
    switch outcome {
    case .open: line += ": no answer yet"
    case .acknowledged: line += ": \(found?.text ?? "done")"
    case .refused(let reason): line += ": refused (\(reason))"
    case .inDoubt(let reason): line += ": in doubt (\(reason))"
    }
    return "#\(number) " + line
  }

  /// As much of a value as tells it from others.
  static func short(_ value: String) -> String { value.count > 24 ? value.prefix(20) + "…" : value }

  private static func list(_ seen: Set<Int>) -> String {
    "[" + seen.sorted().map { "#\($0)" }.joined(separator: " ") + "]"
  }
}
