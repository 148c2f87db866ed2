// How an increment that is tried again counts once.
//
// 1. An increment with an id is a part of its own, with the dot of the write that made it; where several
//    replicas took attempts at the same one, each has made such a part. Joins treat them as all other parts.
// 2. The counter's value has each id once: the part of the least dot counts. So it does not matter which
//    attempts reached whom, in what order, or how often.
// 3. Parts are not kept for ever. Once no attempt at an id can be taken any more, and all parts of the id
//    there ever were are known, the replica that made the least one moves its amount into its own entry and
//    drops all of them. Nobody else does, so it is moved once; and whoever still holds one of them drops it
//    when it hears.
//
// Whether step 3's condition holds, no value can know: see the callers of ``PNCounter/fold(before:dot:)``.

extension PNCounter {
  /// An increment that is remembered by its id.
  public struct Operation: Hashable, Sendable {
    /// Of the write that made it.
    public let dot: Dot
    public let id: OperationID
    public let amount: Int64
  }

  /// How many increments a counter remembers at most: it takes no more with an id then, until some are
  /// folded.
  public static let operationLimit = 4_096

  /// The increments that are remembered, attempts at several replicas among them; ascending by dot.
  public var operations: [Operation] { remembered.parts }

  /// Those that count: of each id the one of the least dot.
  var countedOperations: [Operation] {
    if remembered.parts.count < 2 { return remembered.parts }
    var seen = Set<OperationID>(minimumCapacity: remembered.parts.count)
    return remembered.parts.filter { seen.insert($0.id).inserted }
  }

  /// Whether the increment was counted and is remembered.
  ///
  /// - Complexity: O(n) of the operations.
  public func remembers(_ id: OperationID) -> Bool { remembered.parts.contains { $0.id == id } }

  /// Counts up, or down where `amount` is negative, unless that increment is remembered.
  ///
  /// - Parameters:
  ///   - amount: the same at each attempt; where it is not, that of the least dot counts.
  ///   - id: names the increment.
  ///   - dot: a new one.
  /// - Returns: whether it counted; where not, nothing has changed.
  /// - Throws: ``CausalityError`` with code `.tooManyOperations`, and as ``increment(by:dot:)``; nothing has
  ///   changed then.
  /// - Complexity: O(n) of the replicas and operations.
  @discardableResult
  public mutating func increment(
    by amount: Int64, operation id: OperationID, dot: Dot
  ) throws(CausalityError) -> Bool {
    if remembers(id) { return false }
    guard remembered.parts.count < Self.operationLimit else {
      throw CausalityError(
        .tooManyOperations,
        "a counter that remembers \(remembered.parts.count) increments by their ids already")
    }
    try checkSum(adding: amount)
    remembered.insert(Operation(dot: dot, id: id, amount: amount))
    return true
  }

  /// How many of the increments that `replica` took first were begun before a time.
  ///
  /// - Complexity: O(n) of the operations.
  package func foldableCount(of replica: ReplicaID, before milliseconds: UInt64) -> Int {
    countedOperations.count { $0.dot.replica == replica && $0.id.milliseconds < milliseconds }
  }

  /// Forgets the ids of increments that were begun before a time and that the dot's replica took first:
  /// their amounts go into its entry. The value stays.
  ///
  /// Only where no attempt at them can be taken any more, by any replica, and this state has seen whatever
  /// any replica ever took: else one that turns up later counts again.
  ///
  /// - Parameters:
  ///   - milliseconds: since 1970.
  ///   - dot: a new one, of the replica whose entry it is. An increment may have the same.
  /// - Returns: how many; 0 where nothing has changed.
  /// - Complexity: O(n) of the operations.
  @discardableResult
  package mutating func fold(before milliseconds: UInt64, dot: Dot) -> Int {
    let entry = function.only(of: dot.replica)
    var positive = entry?.positive ?? 0
    var negative = entry?.negative ?? 0
    var folded = Set<OperationID>()
    for operation in countedOperations
    where operation.dot.replica == dot.replica && operation.id.milliseconds < milliseconds {
      let up = positive.addingReportingOverflow(operation.amount > 0 ? operation.amount.magnitude : 0)
      let down = negative.addingReportingOverflow(operation.amount < 0 ? operation.amount.magnitude : 0)
      // What the entry has no room for stays as it is.
      if up.overflow || down.overflow { continue }
      (positive, negative) = (up.partialValue, down.partialValue)
      folded.insert(operation.id)
    }
    if folded.isEmpty { return 0 }
    remembered.removeAll { folded.contains($0.id) }
    function.setOnly(Entry(dot: dot, positive: positive, negative: negative))
    return folded.count
  }
}

extension PNCounter.Operation: Dotted {}

extension RecordState {
  /// The counters in it: itself, or a map's fields.
  package func forEachCounter(_ body: (PNCounter) -> Void) {
    switch self {
    case .counter(let counter): body(counter)
    case .map(let map): for field in map.fields { field.state.forEachCounter(body) }
    case .gCounter, .register, .flag, .set: break
    }
  }
}

extension Record {
  /// Whether any counter in it remembers increments by their ids.
  var hasOperations: Bool {
    var found = false
    for state in states { state.forEachCounter { if !$0.remembered.isEmpty { found = true } } }
    return found
  }
}
