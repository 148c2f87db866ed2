/// One key of an eventual keyspace: its values and states, and all that was seen of its writes.
///
/// A product of lattices over one context. ``join(_:)`` is the one operation by which records merge: it
/// commutes, associates and is idempotent, for all records that come about by the operations here
/// and by joins of whole records.
///
/// Invariants: the context contains each live dot; states ascend by kind, none twice, none empty. The
/// context of a record never shrinks: a record without live parts is a tombstone, which says what was
/// deleted. A plain value.
public struct Record: Hashable, Sendable {
  /// All that was seen of this key's writes.
  public internal(set) var context: VersionVector
  public internal(set) var siblings: SiblingSet
  /// Ascending by kind; one at most where all writers agree on the key's type.
  public internal(set) var states: [RecordState]

  /// A key that was never written.
  public init() {
    context = VersionVector()
    siblings = SiblingSet()
    states = []
  }

  /// - Precondition: the type's invariants.
  package init(context: VersionVector, siblings: SiblingSet, states: [RecordState]) {
    self.context = context
    self.siblings = siblings
    self.states = states
  }

  /// Whether no value and no state is live.
  public var isTombstone: Bool { siblings.isEmpty && states.isEmpty }

  /// The greatest time of any value or register in it; zero where none has one.
  public var highestTimestamp: Timestamp {
    var highest = siblings.latest?.timestamp ?? .zero
    for state in states { highest = max(highest, state.highestTimestamp) }
    return highest
  }

  /// Calls `body` with each live dot; with the same one again where a write made several parts.
  public func forEachDot(_ body: (Dot) -> Void) {
    siblings.forEachDot(body)
    for state in states { state.forEachDot(body) }
  }

  // MARK: Writing

  /// Writes a value, in the place of what its writer has read.
  ///
  /// - Parameters:
  ///   - value: any bytes.
  ///   - expiry: milliseconds since 1970 from which on the value counts as deleted; 0 for never.
  ///   - replacing: the context that the writer read with what it replaces, of this same key; empty to
  ///     replace nothing, ``context`` to replace all that is here.
  ///   - sibling: one more value to replace, where it is here: the writer's own last one, beside
  ///     others from the same store that it has not read, which no vector could tell apart.
  ///   - dot: a new one, minted by the store that holds this record.
  ///   - timestamp: greater than that of what is replaced.
  /// - Throws: ``CausalityError`` with code `.dotAlreadySeen` where the record or `replacing` has seen the
  ///   dot: then the store's count is not what it was. Nothing has changed.
  /// - Complexity: O(n) of the record's parts.
  public mutating func put(
    _ value: [UInt8], expiry: UInt64 = 0, replacing: VersionVector, and sibling: Dot? = nil, dot: Dot,
    timestamp: Timestamp
  ) throws(CausalityError) {
    try delete(replacing: replacing, and: sibling, dot: dot)
    siblings.insert(Sibling(dot: dot, timestamp: timestamp, expiry: expiry, value: value))
  }

  /// Deletes what the writer has read, states too.
  ///
  /// A delete has a dot of its own: without it, replicas that saw the delete and one that saw neither
  /// it nor the value would have contexts from which the difference cannot be told.
  ///
  /// - Parameters: as of ``put(_:expiry:replacing:and:dot:timestamp:)``.
  /// - Throws: ``CausalityError`` with code `.dotAlreadySeen`; nothing has changed then.
  /// - Complexity: O(n) of the record's parts.
  public mutating func delete(
    replacing: VersionVector, and sibling: Dot? = nil, dot: Dot
  ) throws(CausalityError) {
    try context.checkNew(dot)
    try replacing.checkNew(dot)
    siblings.remove(seenBy: replacing)
    if let sibling { siblings.remove(sibling) }
    if !states.isEmpty {
      for position in states.indices { states[position].remove(seenBy: replacing) }
      states.removeAll { $0.isEmpty }
    }
    // All that was read with it was of full states, so what it has seen is here or replaced.
    context.merge(replacing)
    context.include(dot)
  }

  /// The state of a type; empty where there is none.
  public func state<State: MergeableState>(as type: State.Type) -> State {
    for state in states where state.kind == State.kind { return State(state) ?? State() }
    return State()
  }

  /// Changes the state of a type, which is empty where there is none. Removals are changes too: each has
  /// its dot.
  ///
  ///     try record.update(PNCounter.self, dot: dot) { counter, dot in
  ///       try counter.increment(by: 1, dot: dot)
  ///     }
  ///
  /// - Parameters:
  ///   - type: which state.
  ///   - dot: a new one, minted by the store that holds this record.
  ///   - body: changes the state, with no other dot than the one it is given.
  /// - Throws: ``CausalityError`` with code `.dotAlreadySeen`, or what `body` throws; nothing has
  ///   changed then.
  /// - Complexity: what `body` does, and O(n) of the state's parts.
  @discardableResult
  public mutating func update<State: MergeableState, Result>(
    _ type: State.Type, dot: Dot, _ body: (inout State, Dot) throws -> Result
  ) throws -> Result {
    try context.checkNew(dot)
    var state = state(as: type)
    let result = try body(&state, dot)
    var position = 0
    while position < states.count, states[position].kind < State.kind { position &+= 1 }
    let found = position < states.count && states[position].kind == State.kind
    switch (found, state.isEmpty) {
    case (true, true): states.remove(at: position)
    case (true, false): states[position] = state.recordState
    case (false, true): break
    case (false, false): states.insert(state.recordState, at: position)
    }
    context.include(dot)
    return result
  }

  /// Drops the values that have expired and keeps the context: so a record becomes a tombstone.
  ///
  /// It mints no dot, being a function of the record and the time alone: every replica does the same.
  ///
  /// - Parameter milliseconds: since 1970.
  /// - Returns: whether anything had expired.
  public mutating func expire(at milliseconds: UInt64) -> Bool { siblings.expire(at: milliseconds) }
}
