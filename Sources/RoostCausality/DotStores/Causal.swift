/// A dot store with what its holder has seen: a replicated data type that stands by itself.
///
///     var here = Causal<ORSet>()
///     try here.update(dot: dot) { set, dot in set.insert(element, dot: dot) }
///     here.join(there)
public struct Causal<State: DotStore>: Hashable, Sendable {
  public private(set) var state = State()
  /// All that was seen; contains each dot of ``state``.
  public private(set) var context = VersionVector()

  public init() {}

  /// Makes one change, removals included.
  ///
  /// - Parameters:
  ///   - dot: a new one, which names this change alone.
  ///   - body: changes the state, with no other dot than the one it is given.
  /// - Throws: ``CausalityError`` with code `.dotAlreadySeen`, or what `body` throws; nothing has
  ///   changed then.
  @discardableResult
  public mutating func update<Result>(
    dot: Dot, _ body: (inout State, Dot) throws -> Result
  ) throws -> Result {
    try context.checkNew(dot)
    var changed = state
    let result = try body(&changed, dot)
    state = changed
    context.include(dot)
    return result
  }

  /// Becomes the least state at or above both.
  ///
  /// - Returns: whether this has changed.
  /// - Complexity: O(n) of the parts of both; allocates nothing where `other` is known already.
  @discardableResult
  public mutating func join(_ other: Causal) -> Bool {
    if other.isAtMost(self) { return false }
    state.join(other.state, own: context, other: other.context)
    context.merge(other.context)
    return true
  }

  /// How the two relate: `.before` where joining `other` in would give `other`.
  public func compare(to other: Causal) -> CausalOrder {
    CausalOrder(atMost: isAtMost(other), atLeast: other.isAtMost(self))
  }

  private func isAtMost(_ other: Causal) -> Bool {
    context.isAtMost(other.context) && state.containsParts(of: other.state, seenBy: context)
  }
}

extension VersionVector {
  /// - Throws: ``CausalityError`` with code `.dotAlreadySeen`.
  func checkNew(_ dot: Dot) throws(CausalityError) {
    guard contains(dot) else { return }
    throw CausalityError(
      .dotAlreadySeen, "\(dot) was to name a new write, and \(self[dot.replica]) of its replica were seen")
  }
}
