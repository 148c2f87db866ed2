import RoostCausality
import RoostCluster

// What clients asked and were told, and what must hold of it in the end. A value that a write has put is
// known by the write's number; what a context has seen is the set of the numbers behind it:
//
//   a read's context          the values that it returned
//   a put's context           its own value, and what the context that it was given had seen
//
// A value that a read does not return any more was replaced by a write whose own context had seen it, so
// leaving it out of the set loses nothing: that write is in the history as well.

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
  var outcome = CallOutcome.open
  /// What a read returned.
  var found = ""

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
    case .acknowledged: line += found.isEmpty ? ": done" : ": \(found)"
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

/// All calls of a simulation, by key. Used by one thread.
final class CallHistory: @unchecked Sendable {
  private(set) var calls: [RecordedCall] = []
  private var byKey: [String: [Int]] = [:]
  /// Numbers of the puts of a value.
  private var puts: [String: [String: [Int]]] = [:]

  var keys: [String] { byKey.keys.sorted() }

  func begin(_ asked: AskedCall, node: Int, isSynced: Bool, at milliseconds: UInt64) -> Int {
    let number = calls.count
    calls.append(
      RecordedCall(number: number, asked: asked, node: node, isSynced: isSynced, begun: milliseconds))
    byKey[asked.key, default: []].append(number)
    if case .put(let key, let value, _) = asked { puts[key, default: [:]][value, default: []].append(number) }
    return number
  }

  func end(_ number: Int, _ outcome: CallOutcome, found: String = "", at milliseconds: UInt64) {
    calls[number].outcome = outcome
    calls[number].ended = milliseconds
    calls[number].found = found
  }

  /// The numbers of the writes that may have put these values.
  func numbers(of values: [String], in key: String) -> Set<Int> {
    Set(values.flatMap { puts[key]?[$0] ?? [] })
  }

  func calls(of key: String) -> [RecordedCall] { (byKey[key] ?? []).map { calls[$0] } }

  /// So many of each outcome, reads left out.
  var writeCounts: (acknowledged: Int, refused: Int, inDoubt: Int) {
    var counts = (acknowledged: 0, refused: 0, inDoubt: 0)
    for call in calls {
      if case .get = call.asked { continue }
      switch call.outcome {
      case .acknowledged: counts.acknowledged += 1
      case .refused: counts.refused += 1
      case .inDoubt, .open: counts.inDoubt += 1
      }
    }
    return counts
  }

  // MARK: - Judging

  /// What is wrong with the last state of a key; empty where nothing is.
  func violations(of key: String, _ record: Record?) -> [String] {
    let calls = calls(of: key)
    var problems = valueProblems(calls, record)
    problems += counterProblems(calls, record)
    problems += setProblems(calls, record)
    return problems.map { explained(key, $0) }
  }

  /// A violation with the history of its key.
  func explained(_ key: String, _ problem: String) -> String {
    let lines = calls(of: key).filter { if case .get = $0.asked { false } else { true } }
    let shown = lines.suffix(60)
    var text = "\(key): \(problem)\n"
    if shown.count < lines.count { text += "  (\(lines.count - shown.count) earlier writes left out)\n" }
    return text + shown.map { "  " + $0.text }.joined(separator: "\n")
  }

  private func valueProblems(_ calls: [RecordedCall], _ record: Record?) -> [String] {
    var byValue: [(value: String, writes: [RecordedCall])] = []
    var places: [String: Int] = [:]
    /// Seen by any write that may have happened; by one that has for good.
    var maybeReplaced: Set<Int> = []
    var surelyReplaced: Set<Int> = []
    for call in calls {
      if call.mayHaveHappened { maybeReplaced.formUnion(call.seen) }
      if call.isPromised { surelyReplaced.formUnion(call.seen) }
      guard case .put(_, let value, _) = call.asked else { continue }
      if let place = places[value] {
        byValue[place].writes.append(call)
      } else {
        places[value] = byValue.count
        byValue.append((value, [call]))
      }
    }
    let found = (record?.siblings.elements ?? []).map { String(decoding: $0.value, as: UTF8.self) }
    let present = Set(found)
    var problems: [String] = []
    for (whole, writes) in byValue {
      let isThere = present.contains(whole)
      let value = RecordedCall.short(whole)
      if !isThere, let lost = writes.first(where: { $0.isPromised && !maybeReplaced.contains($0.number) }) {
        problems.append("the acknowledged, synced value \(value) (#\(lost.number)) is lost")
      }
      if isThere, writes.count == 1, surelyReplaced.contains(writes[0].number) {
        problems.append("the value \(value) (#\(writes[0].number)) is back: it was replaced or deleted")
      }
      if isThere, writes.allSatisfy({ !$0.mayHaveHappened }) {
        problems.append("the value \(value) is there, and its write was refused")
      }
    }
    for value in found where places[value] == nil {
      problems.append("nobody wrote the value \(RecordedCall.short(value))")
    }
    return problems
  }

  private func counterProblems(_ calls: [RecordedCall], _ record: Record?) -> [String] {
    var sum: (least: Int64, most: Int64) = (0, 0)
    var isCounter = false
    for call in calls {
      guard case .increment(_, let amount) = call.asked, call.mayHaveHappened else { continue }
      isCounter = true
      sum.least += call.isPromised ? amount : min(0, amount)
      sum.most += call.isPromised ? amount : max(0, amount)
    }
    guard isCounter else { return [] }
    guard let value = try? record?.state(as: PNCounter.self).value() ?? 0 else {
      return ["the counter overflows"]
    }
    if value >= sum.least, value <= sum.most { return [] }
    return ["the counter is \(value), and must be from \(sum.least) to \(sum.most)"]
  }

  private func setProblems(_ calls: [RecordedCall], _ record: Record?) -> [String] {
    var added: [String: Bool] = [:]
    var removed: Set<String> = []
    for call in calls where call.mayHaveHappened {
      switch call.asked {
      case .add(_, let element): added[element] = added[element] ?? false || call.isPromised
      case .remove(_, let element): removed.insert(element)
      default: break
      }
    }
    let set = record?.state(as: ORSet.self) ?? ORSet()
    let found = Set(set.values.map { String(decoding: $0, as: UTF8.self) })
    var problems: [String] = []
    for (element, isPromised) in added.sorted(by: { $0.key < $1.key })
    where isPromised && !removed.contains(element) && !found.contains(element) {
      problems.append("the acknowledged, synced element \(element) is lost")
    }
    for element in found.sorted() where added[element] == nil {
      problems.append("nobody added the element \(element)")
    }
    return problems
  }
}
