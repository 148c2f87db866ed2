/// A counter that goes up and down: for each replica what it added, what it took away, and the dot of
/// its last change.
///
/// Removals as in ``GCounter``: a delete that races an increment leaves that replica's whole totals.
/// A plain value.
public struct PNCounter: FieldState {
  public struct Entry: Hashable, Sendable {
    /// Of this replica's last change.
    public let dot: Dot
    public let positive: UInt64
    public let negative: UInt64
  }

  /// One a replica.
  var function: DotFunction<Entry>

  public init() { function = DotFunction() }
  init(function: DotFunction<Entry>) { self.function = function }

  /// One a replica, ascending by it.
  public var entries: [Entry] { function.parts }

  /// All that was added less all that was taken away.
  ///
  /// - Throws: ``CausalityError`` with code `.overflow` where increments at several replicas have
  ///   together left the 64 bits.
  /// - Complexity: O(n) of the number of replicas.
  public func value() throws(CausalityError) -> Int64 {
    guard let value = Int64(exactly: sum) else { throw Self.overflow }
    return value
  }

  private var sum: Int128 {
    var sum: Int128 = 0
    for entry in function.parts { sum += Int128(entry.positive) - Int128(entry.negative) }
    return sum
  }

  /// Counts up, or down where `amount` is negative.
  ///
  /// - Parameters:
  ///   - amount: may be 0, which makes a counter that is there and says 0.
  ///   - dot: a new one.
  /// - Throws: ``CausalityError`` with code `.overflow` where the counter would move out of the 64 bits, or
  ///   further out, or where this replica's own total would; nothing has changed then.
  public mutating func increment(by amount: Int64, dot: Dot) throws(CausalityError) {
    let after = sum + Int128(amount)
    if amount > 0 ? after > Int128(Int64.max) : amount < 0 && after < Int128(Int64.min) {
      throw Self.overflow
    }
    let entry = function.only(of: dot.replica)
    let (positive, overPositive) = (entry?.positive ?? 0)
      .addingReportingOverflow(amount > 0 ? amount.magnitude : 0)
    let (negative, overNegative) = (entry?.negative ?? 0)
      .addingReportingOverflow(amount < 0 ? amount.magnitude : 0)
    if overPositive || overNegative { throw Self.overflow }
    function.setOnly(Entry(dot: dot, positive: positive, negative: negative))
  }

  private static var overflow: CausalityError {
    CausalityError(.overflow, "a counter exceeds 64 bits")
  }
}

extension PNCounter.Entry: Dotted {}

extension PNCounter {
  public static let kind = RecordKind.counter

  public init?(_ state: RecordState) {
    guard case .counter(let counter) = state else { return nil }
    self = counter
  }

  public var recordState: RecordState { .counter(self) }

  public var isEmpty: Bool { function.isEmpty }

  public mutating func join(_ other: PNCounter, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) { function.remove(seenBy: vector) }

  public func containsParts(of other: PNCounter, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) { function.forEachDot(body) }
}
