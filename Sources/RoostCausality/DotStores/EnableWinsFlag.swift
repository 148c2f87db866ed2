/// A flag that is on while it holds a dot: enabling adds one, disabling takes away those it sees, so
/// that of a racing pair enabling wins. A plain value.
public struct EnableWinsFlag: FieldState {
  var function: DotFunction<Dot>

  public init() { function = DotFunction() }
  init(function: DotFunction<Dot>) { self.function = function }

  /// Of the enablings that nothing has replaced, ascending.
  public var dots: [Dot] { function.parts }

  public var isEnabled: Bool { !function.isEmpty }

  public mutating func enable(dot: Dot) { function.replaceAll(with: dot) }

  public mutating func disable() { function.removeAll() }
}

extension EnableWinsFlag {
  public static let kind = RecordKind.flag

  public init?(_ state: RecordState) {
    guard case .flag(let flag) = state else { return nil }
    self = flag
  }

  public var recordState: RecordState { .flag(self) }

  public var isEmpty: Bool { function.isEmpty }

  public mutating func join(_ other: EnableWinsFlag, own: VersionVector, other context: VersionVector) {
    function.join(other.function, own: own, other: context)
  }

  public mutating func remove(seenBy vector: VersionVector) { function.remove(seenBy: vector) }

  public func containsParts(of other: EnableWinsFlag, seenBy own: VersionVector) -> Bool {
    function.containsParts(of: other.function, seenBy: own)
  }

  public func forEachDot(_ body: (Dot) -> Void) { function.forEachDot(body) }
}
