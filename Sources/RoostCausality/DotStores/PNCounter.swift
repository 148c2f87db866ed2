/// A counter that goes up and down: for each replica what it added, what it took away, and the dot of
/// its last change.
///
/// Increments with an id stand beside that, each by itself, until they are folded in: see
/// ``increment(by:operation:dot:)``.
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
  /// Increments with an id, each with the dot of the write that made it.
  var remembered: DotFunction<Operation>

  public init() { self.init(function: DotFunction()) }

  init(function: DotFunction<Entry>, remembered: DotFunction<Operation> = DotFunction()) {
    self.function = function
    self.remembered = remembered
  }

  /// One a replica, ascending by it.
  public var entries: [Entry] { function.parts }

  /// All that was added less all that was taken away.
  ///
  /// - Throws: ``CausalityError`` with code `.overflow` where increments at several replicas have
  ///   together left the 64 bits.
  /// - Complexity: O(n) of the number of replicas, and of increments with ids.
  public func value() throws(CausalityError) -> Int64 {
    guard let value = Int64(exactly: sum) else { throw Self.overflow }
    return value
  }

  private var sum: Int128 {
    var sum: Int128 = 0
    for entry in function.parts { sum += Int128(entry.positive) - Int128(entry.negative) }
    for operation in countedOperations { sum += Int128(operation.amount) }
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
    try checkSum(adding: amount)
    let entry = function.only(of: dot.replica)
    let (positive, overPositive) = (entry?.positive ?? 0)
      .addingReportingOverflow(amount > 0 ? amount.magnitude : 0)
    let (negative, overNegative) = (entry?.negative ?? 0)
      .addingReportingOverflow(amount < 0 ? amount.magnitude : 0)
    if overPositive || overNegative { throw Self.overflow }
    function.setOnly(Entry(dot: dot, positive: positive, negative: negative))
  }

  /// - Throws: ``CausalityError`` with code `.overflow` where the sum would move out of the 64 bits, or
  ///   further out.
  func checkSum(adding amount: Int64) throws(CausalityError) {
    let after = sum + Int128(amount)
    if amount > 0 ? after > Int128(Int64.max) : amount < 0 && after < Int128(Int64.min) {
      throw Self.overflow
    }
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

  public var isEmpty: Bool { function.isEmpty && remembered.isEmpty }

  public mutating func join(_ other: PNCounter, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
    remembered.join(other.remembered, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) {
    function.remove(seenBy: vector)
    remembered.remove(seenBy: vector)
  }

  public func containsParts(of other: PNCounter, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
      && remembered.containsParts(of: other.remembered, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) {
    function.forEachDot(body)
    remembered.forEachDot(body)
  }
}
