import RoostCausality

// What clients changed in a cluster, and what must be there in the end. Each value is put once, so it names
// its write. A write replaces what its context had seen: the values of the read that the context is from.
// What such a read no longer showed had been replaced by another write, which stands here with its own.

/// The changes that were acknowledged, or that nobody knows of whether they happened. A plain value.
struct LoadHistory: Sendable {
  enum Change: Sendable {
    case put(String)
    case delete
    case increment(Int64)
    case add(String)
  }

  struct Entry: Sendable {
    var key: String
    var change: Change
    /// Whether it was acknowledged; else it may have been done or not.
    var isAcknowledged: Bool
    /// The values that it replaces.
    var seen: [String] = []
  }

  /// What a key holds.
  struct Content: Sendable, Equatable, CustomStringConvertible {
    /// In order; one that stands there twice is there twice.
    var values: [String] = []
    var count: Int64 = 0
    var elements: [String] = []

    var description: String { "values \(values), count \(count), elements \(elements)" }
  }

  private(set) var entries: [Entry] = []

  mutating func note(_ entry: Entry) { entries.append(entry) }

  var keys: [String] { Set(entries.map(\.key)).sorted() }

  /// So many that were acknowledged and replace something.
  var acknowledgedDeletes: Int {
    entries.count { entry in
      if case .delete = entry.change { return entry.isAcknowledged && !entry.seen.isEmpty }
      return false
    }
  }

  var inDoubt: Int { entries.count { !$0.isAcknowledged } }

  /// What is wrong with what the keys hold once nothing is under way and all replicas are equal.
  func problems(with found: [String: Content]) -> [String] {
    let byKey = Dictionary(grouping: entries, by: \.key)
    return keys.flatMap { key in
      Self.problems(byKey[key] ?? [], found[key] ?? Content()).map { "`\(key)`: \($0)" }
    }
  }

  private static func problems(_ entries: [Entry], _ found: Content) -> [String] {
    var problems: [String] = []
    let values = Set(found.values)
    let elements = Set(found.elements)
    if values.count < found.values.count { problems.append("a value is there twice: \(found.values)") }
    // What may have been replaced, and what must be.
    let replaced = Set(entries.flatMap(\.seen))
    let gone = Set(entries.filter(\.isAcknowledged).flatMap(\.seen))
    var asked = (values: Set<String>(), elements: Set<String>())
    var count: (least: Int64, most: Int64) = (0, 0)
    for entry in entries {
      switch entry.change {
      case .put(let value):
        asked.values.insert(value)
        if entry.isAcknowledged, !values.contains(value), !replaced.contains(value) {
          problems.append("\(value) was acknowledged, and is lost")
        }
      case .add(let element):
        asked.elements.insert(element)
        if entry.isAcknowledged, !elements.contains(element) {
          problems.append("the element \(element) was acknowledged, and is lost")
        }
      case .increment(let amount):
        count.most += amount
        if entry.isAcknowledged { count.least += amount }
      case .delete: break
      }
    }
    for value in values.intersection(gone).sorted() {
      problems.append("\(value) was replaced or deleted, and came back")
    }
    for value in values.subtracting(asked.values).sorted() { problems.append("nobody put \(value)") }
    for element in elements.subtracting(asked.elements).sorted() {
      problems.append("nobody added \(element)")
    }
    if found.count < count.least || found.count > count.most {
      problems.append("the counter is \(found.count), and must be \(count.least) to \(count.most)")
    }
    return problems
  }
}

extension LoadHistory.Content {
  init(_ record: Record?) throws {
    guard let record else { return }
    func texts(_ bytes: [[UInt8]]) -> [String] { bytes.map { String(decoding: $0, as: UTF8.self) }.sorted() }
    values = texts(record.siblings.elements.map(\.value))
    count = try record.state(as: PNCounter.self).value()
    elements = texts(record.state(as: ORSet.self).values)
  }
}
