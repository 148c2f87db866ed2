/// How records merge and relate.
extension Record {
  /// Becomes the least record at or above both: what one side has seen and does not hold goes, all else
  /// stays.
  ///
  /// - Parameter other: the whole record of the same key at another replica.
  /// - Returns: whether this record has changed.
  /// - Complexity: O(n) of the parts of both; allocates nothing where `other` is known already.
  @discardableResult
  public mutating func join(_ other: Record) -> Bool {
    if other.isAtMost(self) { return false }
    siblings.join(other.siblings, own: context, other: other.context)
    if !states.isEmpty || !other.states.isEmpty {
      states = joinedStates(with: other)
    }
    context.merge(other.context)
    return true
  }

  private func joinedStates(with other: Record) -> [RecordState] {
    var joined: [RecordState] = []
    var i = 0
    var j = 0
    while i < states.count || j < other.states.count {
      let mine = i < states.count ? states[i].kind.rawValue : .max
      let theirs = j < other.states.count ? other.states[j].kind.rawValue : .max
      var state = mine <= theirs ? states[i] : other.states[j]
      if mine < theirs {
        state.remove(seenBy: other.context)
      } else if theirs < mine {
        state.remove(seenBy: context)
      } else {
        state.join(other.states[j], own: context, other: other.context)
      }
      if !state.isEmpty { joined.append(state) }
      if mine <= theirs { i &+= 1 }
      if theirs <= mine { j &+= 1 }
    }
    return joined
  }

  /// How the two relate: `.before` where joining `other` in would give `other`.
  ///
  /// By context and live dots: of two with the same context, the one that holds less is after.
  ///
  /// - Complexity: O(n) of the parts of both.
  public func compare(to other: Record) -> CausalOrder {
    CausalOrder(atMost: isAtMost(other), atLeast: other.isAtMost(self))
  }

  /// Whether joining this into `other` would change nothing there: `other` has seen all that this
  /// has, and holds nothing that was seen here and removed.
  private func isAtMost(_ other: Record) -> Bool {
    guard context.isAtMost(other.context),
      siblings.containsParts(of: other.siblings, seenBy: context)
    else { return false }
    for theirs in other.states {
      let mine = states.first { $0.kind == theirs.kind }
      let holds = mine?.containsParts(of: theirs, seenBy: context) ?? theirs.isUnseen(by: context)
      if !holds { return false }
    }
    return true
  }
}
