/// An observed-remove set of byte strings: a removal takes away the insertions that it has seen, so
/// that of a racing pair the insertion wins.
///
/// Invariant: elements ascend bytewise, no element twice, none without a dot. A plain value.
public struct ORSet: FieldState {
  public struct Element: Hashable, Sendable {
    public let value: [UInt8]
    var insertions: DotFunction<Dot>

    /// Of the insertions that nothing has replaced, ascending.
    public var dots: [Dot] { insertions.parts }
  }

  /// Ascending by value.
  public private(set) var elements: [Element]

  public init() { elements = [] }

  /// - Parameter elements: as the invariant says.
  init(sorted elements: [Element]) { self.elements = elements }

  public var count: Int { elements.count }

  /// Ascending bytewise.
  public var values: [[UInt8]] { elements.map(\.value) }

  /// - Complexity: O(log n) comparisons.
  public func contains(_ value: [UInt8]) -> Bool { find(value).found }

  /// Inserts `value`, or confirms it: racing removals that have not seen this leave it in.
  ///
  /// - Complexity: O(n).
  public mutating func insert(_ value: [UInt8], dot: Dot) {
    let (position, found) = find(value)
    if found {
      elements[position].insertions.replaceAll(with: dot)
    } else {
      elements.insert(
        Element(value: value, insertions: DotFunction(sorted: [dot])), at: position)
    }
  }

  /// Removes `value`, if it is in.
  ///
  /// - Returns: whether it was.
  /// - Complexity: O(n).
  @discardableResult
  public mutating func remove(_ value: [UInt8]) -> Bool {
    let (position, found) = find(value)
    if found { elements.remove(at: position) }
    return found
  }

  public mutating func removeAll() { elements = [] }

  /// Where `value` is, or belongs.
  private func find(_ value: [UInt8]) -> (position: Int, found: Bool) {
    var low = 0
    var high = elements.count
    while low < high {
      let middle = (low &+ high) >> 1
      let order = compareBytes(elements[middle].value, value)
      if order == 0 { return (middle, true) }
      if order < 0 { low = middle &+ 1 } else { high = middle }
    }
    return (low, false)
  }
}

extension ORSet {
  public static let kind = RecordKind.set

  public init?(_ state: RecordState) {
    guard case .set(let set) = state else { return nil }
    self = set
  }

  public var recordState: RecordState { .set(self) }

  public var isEmpty: Bool { elements.isEmpty }

  public mutating func join(_ other: ORSet, own: VersionVector, other context: VersionVector) {
    let theirs = other.elements
    var joined: [Element] = []
    joined.reserveCapacity(max(elements.count, theirs.count))
    var i = 0
    var j = 0
    while i < elements.count || j < theirs.count {
      let order =
        i == elements.count
        ? 1 : j == theirs.count ? -1 : compareBytes(elements[i].value, theirs[j].value)
      var element = order <= 0 ? elements[i] : theirs[j]
      if order < 0 {
        element.insertions.remove(seenBy: context)
      } else if order > 0 {
        element.insertions.remove(seenBy: own)
      } else {
        element.insertions.join(theirs[j].insertions, own: own, other: context)
      }
      if !element.insertions.isEmpty { joined.append(element) }
      if order <= 0 { i &+= 1 }
      if order >= 0 { j &+= 1 }
    }
    elements = joined
  }

  public mutating func remove(seenBy vector: VersionVector) {
    for position in elements.indices { elements[position].insertions.remove(seenBy: vector) }
    elements.removeAll { $0.insertions.isEmpty }
  }

  public func containsParts(of other: ORSet, seenBy own: VersionVector) -> Bool {
    let none = DotFunction<Dot>()
    var i = 0
    for theirs in other.elements {
      while i < elements.count, compareBytes(elements[i].value, theirs.value) < 0 { i &+= 1 }
      let isHere = i < elements.count && elements[i].value == theirs.value
      let mine = isHere ? elements[i].insertions : none
      if !mine.containsParts(of: theirs.insertions, seenBy: own) { return false }
    }
    return true
  }

  public func forEachDot(_ body: (Dot) -> Void) {
    for element in elements { element.insertions.forEachDot(body) }
  }
}
