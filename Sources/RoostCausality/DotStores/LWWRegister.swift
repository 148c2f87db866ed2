/// A register of which the last writer wins, by hybrid logical time.
///
/// A write replaces what it sees. Concurrent writes all stay until one replaces them, and reading
/// decides between them: a join that pruned by time would keep what the loser had replaced, or not,
/// depending on the order of joins. A plain value.
public struct LWWRegister: FieldState {
  public struct Write: Hashable, Sendable {
    public let dot: Dot
    public let timestamp: Timestamp
    public let value: [UInt8]
  }

  var function: DotFunction<Write>

  public init() { function = DotFunction() }
  init(function: DotFunction<Write>) { self.function = function }

  /// The writes that no write has replaced, ascending by dot; more than one where they were concurrent.
  public var writes: [Write] { function.parts }

  /// The write that a read sees: of the greatest (timestamp, dot).
  public var latest: Write? {
    function.parts.max { ($0.timestamp, $0.dot) < ($1.timestamp, $1.dot) }
  }

  /// What a read gives; `nil` where nothing was assigned.
  public var value: [UInt8]? { latest?.value }

  /// Replaces all writes that are here.
  public mutating func assign(_ value: [UInt8], timestamp: Timestamp, dot: Dot) {
    function.replaceAll(with: Write(dot: dot, timestamp: timestamp, value: value))
  }

  /// Takes away all writes that are here.
  public mutating func clear() { function.removeAll() }
}

extension LWWRegister.Write: Dotted {}

extension LWWRegister {
  public static let kind = RecordKind.register

  public init?(_ state: RecordState) {
    guard case .register(let register) = state else { return nil }
    self = register
  }

  public var recordState: RecordState { .register(self) }

  public var isEmpty: Bool { function.isEmpty }

  public mutating func join(_ other: LWWRegister, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) { function.remove(seenBy: vector) }

  public func containsParts(of other: LWWRegister, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) { function.forEachDot(body) }
}
