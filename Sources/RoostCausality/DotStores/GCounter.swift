/// A grow-only counter: for each replica its total and the dot of its last change.
///
/// A removal drops the entries that it has seen; one that a racing increment has changed meanwhile
/// stays with its whole total. A replica that lost its entry comes back under another
/// ``ReplicaID``, so no total is ever counted from a stale one. A plain value.
public struct GCounter: FieldState {
  public struct Entry: Hashable, Sendable {
    /// Of this replica's last increment.
    public let dot: Dot
    public let total: UInt64
  }

  /// One a replica.
  var function: DotFunction<Entry>

  public init() { function = DotFunction() }
  init(function: DotFunction<Entry>) { self.function = function }

  /// One a replica, ascending by it.
  public var entries: [Entry] { function.parts }

  /// The sum of all entries.
  ///
  /// - Returns: a sum that joins may have carried beyond 64 bits is an error of the read, not of the join.
  /// - Throws: ``CausalityError`` with code `.overflow`.
  /// - Complexity: O(n) of the number of replicas.
  public func value() throws(CausalityError) -> UInt64 {
    guard let value = UInt64(exactly: sum) else { throw Self.overflow }
    return value
  }

  private var sum: UInt128 {
    var sum: UInt128 = 0
    for entry in function.parts { sum += UInt128(entry.total) }
    return sum
  }

  /// Counts up.
  ///
  /// - Parameters:
  ///   - amount: may be 0, which makes a counter that is there and says 0.
  ///   - dot: a new one.
  /// - Throws: ``CausalityError`` with code `.overflow` where the counter could no longer be read;
  ///   nothing has changed then.
  public mutating func increment(by amount: UInt64, dot: Dot) throws(CausalityError) {
    guard sum + UInt128(amount) <= UInt128(UInt64.max) else { throw Self.overflow }
    // No entry exceeds the sum.
    let total = (function.only(of: dot.replica)?.total ?? 0) + amount
    function.setOnly(Entry(dot: dot, total: total))
  }

  private static var overflow: CausalityError {
    CausalityError(.overflow, "a grow-only counter exceeds 64 bits")
  }
}

extension GCounter.Entry: Dotted {}

extension GCounter {
  public static let kind = RecordKind.gCounter

  public init?(_ state: RecordState) {
    guard case .gCounter(let counter) = state else { return nil }
    self = counter
  }

  public var recordState: RecordState { .gCounter(self) }

  public var isEmpty: Bool { function.isEmpty }

  public mutating func join(_ other: GCounter, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) { function.remove(seenBy: vector) }

  public func containsParts(of other: GCounter, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) { function.forEachDot(body) }
}
