import RoostCausality
import RoostCluster

// What must hold of a history: of what the replicas of a key hold once all is well again, and of what each
// read has returned meanwhile. Both are judged by the same rules; what differs is which writes are certain to
// show, and which may.

extension CallHistory {
  /// The most violations that are told of the reads of one key.
  private static let mostReadViolations = 3

  /// What is wrong with the last state of a key; empty where nothing is.
  func violations(of key: String, _ record: Record?) -> [String] {
    let judgement = Judgement(
      calls: calls(of: key), content: KeyContent(record), isCertain: \.isPromised,
      isPossible: \.mayHaveHappened)
    return judgement.problems.map { explained(key, $0) }
  }

  /// What is wrong with what reads of a key returned: one that began after a write was acknowledged, of a
  /// quorum that must meet the write's, has to show it, or what replaced it.
  ///
  /// - Complexity: O(reads · calls) of the key.
  func readViolations(of key: String) -> [String] {
    guard checksReads else { return [] }
    let calls = calls(of: key)
    var found: [String] = []
    for read in calls where read.asked.isRead {
      guard let content = read.found, let end = read.endedAt, end < membersChangedAt ?? .max else {
        continue
      }
      let lastLoss = losses.last { $0 <= end }
      let judgement = Judgement(
        calls: calls, content: content,
        isCertain: { call in
          guard call.isPromised, let ended = call.endedAt, ended < read.beganAt else { return false }
          // One of its copies may be lost with a disk.
          return lastLoss.map { $0 < call.beganAt } ?? true
        },
        isPossible: { $0.mayHaveHappened && $0.beganAt < end })
      found += judgement.problems.map { explained(key, "as a read was told (\(read.text)): \($0)") }
      if found.count >= Self.mostReadViolations { break }
    }
    return Array(found.prefix(Self.mostReadViolations))
  }

  /// A violation with the history of its key.
  func explained(_ key: String, _ problem: String) -> String {
    let lines = calls(of: key).filter { !$0.asked.isRead }
    let shown = lines.suffix(60)
    var text = "\(key): \(problem)\n"
    if shown.count < lines.count { text += "  (\(lines.count - shown.count) earlier writes left out)\n" }
    return text + shown.map { "  " + $0.text }.joined(separator: "\n")
  }
}

/// What a key was seen to hold, beside the calls on it.
private struct Judgement {
  let calls: [RecordedCall]
  let content: KeyContent
  /// Whether a write must show.
  let isCertain: (RecordedCall) -> Bool
  /// Whether it may.
  let isPossible: (RecordedCall) -> Bool

  var problems: [String] { valueProblems + counterProblems + setProblems }

  private var valueProblems: [String] {
    var byValue: [(value: String, writes: [RecordedCall])] = []
    var places: [String: Int] = [:]
    /// Seen by any write that may have happened; by one that has for good.
    var maybeReplaced: Set<Int> = []
    var surelyReplaced: Set<Int> = []
    for call in calls {
      if isPossible(call) { maybeReplaced.formUnion(call.seen) }
      if isCertain(call) { surelyReplaced.formUnion(call.seen) }
      guard case .put(_, let value, _) = call.asked else { continue }
      if let place = places[value] {
        byValue[place].writes.append(call)
      } else {
        places[value] = byValue.count
        byValue.append((value, [call]))
      }
    }
    let present = Set(content.values)
    var problems: [String] = []
    for (whole, writes) in byValue {
      let isThere = present.contains(whole)
      let value = RecordedCall.short(whole)
      if !isThere, let lost = writes.first(where: { isCertain($0) && !maybeReplaced.contains($0.number) }) {
        problems.append("the acknowledged, synced value \(value) (#\(lost.number)) is lost")
      }
      if isThere, writes.count == 1, surelyReplaced.contains(writes[0].number) {
        problems.append("the value \(value) (#\(writes[0].number)) is back: it was replaced or deleted")
      }
      if isThere, !writes.contains(where: isPossible) {
        problems.append("the value \(value) is there, and its write was refused")
      }
    }
    for value in content.values where places[value] == nil {
      problems.append("nobody wrote the value \(RecordedCall.short(value))")
    }
    return problems
  }

  private var counterProblems: [String] {
    var sum: (least: Int64, most: Int64) = (0, 0)
    var isCounter = false
    for call in calls {
      guard case .increment(_, let amount) = call.asked, isPossible(call) else { continue }
      isCounter = true
      let isSure = isCertain(call)
      sum.least += isSure ? amount : min(0, amount)
      sum.most += isSure ? amount : max(0, amount)
    }
    guard isCounter else { return [] }
    guard let value = content.count else { return ["the counter overflows"] }
    if value >= sum.least, value <= sum.most { return [] }
    return ["the counter is \(value), and must be from \(sum.least) to \(sum.most)"]
  }

  private var setProblems: [String] {
    var added: [String: Bool] = [:]
    var removed: Set<String> = []
    for call in calls where isPossible(call) {
      switch call.asked {
      case .add(_, let element): added[element] = added[element] ?? false || isCertain(call)
      case .remove(_, let element): removed.insert(element)
      default: break
      }
    }
    let found = Set(content.elements)
    var problems: [String] = []
    for (element, isSure) in added.sorted(by: { $0.key < $1.key })
    where isSure && !removed.contains(element) && !found.contains(element) {
      problems.append("the acknowledged, synced element \(element) is lost")
    }
    for element in found.sorted() where added[element] == nil {
      problems.append("nobody added the element \(element)")
    }
    return problems
  }
}
