/// A value that no known write has replaced.
public struct Sibling: Hashable, Sendable {
  /// The write that made it.
  public let dot: Dot
  public let timestamp: Timestamp
  /// Milliseconds since 1970 from which on it counts as deleted; 0 for never.
  public let expiry: UInt64
  public let value: [UInt8]

  public init(dot: Dot, timestamp: Timestamp, expiry: UInt64 = 0, value: [UInt8]) {
    self.dot = dot
    self.timestamp = timestamp
    self.expiry = expiry
    self.value = value
  }

  /// - Parameter milliseconds: since 1970.
  public func isExpired(at milliseconds: UInt64) -> Bool { expiry != 0 && expiry <= milliseconds }
}

extension Sibling: Dotted {}

/// The values of a key that no known write has replaced: one, or several whose writes had not seen
/// each other (after Preguiça, Baquero, Almeida, Fonte, Gonçalves: Dotted Version Vectors, 2010; the
/// counters here are those of whole stores, so each value has its dot beside it). A plain value.
public struct SiblingSet: DotStore {
  var function: DotFunction<Sibling>

  public init() { function = DotFunction() }
  init(function: DotFunction<Sibling>) { self.function = function }

  /// Ascending by dot.
  public var elements: [Sibling] { function.parts }

  public var count: Int { function.parts.count }

  /// The one that the last-writer-wins rule chooses: of the greatest (timestamp, dot).
  public var latest: Sibling? {
    function.parts.max { ($0.timestamp, $0.dot) < ($1.timestamp, $1.dot) }
  }

  /// Adds a value beside those that are here.
  public mutating func insert(_ sibling: Sibling) { function.insert(sibling) }

  /// Drops the one of that dot, where it is here.
  mutating func remove(_ dot: Dot) { function.removeAll { $0.dot == dot } }

  /// Drops what has expired: a function of the siblings alone, so that all replicas agree.
  ///
  /// - Parameter milliseconds: since 1970.
  /// - Returns: whether there was any.
  public mutating func expire(at milliseconds: UInt64) -> Bool {
    let count = function.parts.count
    function.removeAll { $0.isExpired(at: milliseconds) }
    return function.parts.count < count
  }

  public var isEmpty: Bool { function.isEmpty }

  public mutating func join(_ other: SiblingSet, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) { function.remove(seenBy: vector) }

  public func containsParts(of other: SiblingSet, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) { function.forEachDot(body) }
}
