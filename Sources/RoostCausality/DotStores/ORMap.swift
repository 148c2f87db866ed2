/// An observed-remove map: each field is one of the other states, one level deep.
///
/// A field is named by bytes *and* kind: where two replicas at once make a counter and a set of one
/// name, both are there. Removing a field takes away the parts that the removal has seen; what
/// raced it stays. A field without a live part is not there.
///
/// Invariant: fields ascend by name, bytewise, then kind; no two are the same; none is empty, none a
/// map. A plain value.
public struct ORMap: MergeableState {
  public struct Field: Hashable, Sendable {
    public let name: [UInt8]
    public internal(set) var state: RecordState

    public var kind: RecordKind { state.kind }
  }

  /// Ascending by name, then kind.
  public private(set) var fields: [Field]

  public init() { fields = [] }

  /// - Parameter fields: as the invariant says.
  init(sorted fields: [Field]) { self.fields = fields }

  /// The field of this name and type; empty where it is not there.
  ///
  /// - Complexity: O(log n) comparisons.
  public func field<State: FieldState>(_ name: [UInt8], as type: State.Type) -> State {
    let (position, found) = find(name, State.kind)
    guard found, let state = State(fields[position].state) else { return State() }
    return state
  }

  /// Changes the field of this name and type, which is empty where it is not there. Where `body`
  /// leaves it empty it is gone.
  ///
  /// - Parameters:
  ///   - name: any bytes.
  ///   - type: which of the types.
  ///   - body: changes the field, with the dot that the whole map's change has.
  /// - Throws: what `body` throws; nothing has changed then.
  /// - Complexity: O(n) where fields come or go, else O(log n) comparisons; and what `body` does.
  @discardableResult
  public mutating func update<State: FieldState, Result>(
    _ name: [UInt8], as type: State.Type, _ body: (inout State) throws -> Result
  ) rethrows -> Result {
    let (position, found) = find(name, State.kind)
    var state = found ? State(fields[position].state) ?? State() : State()
    let result = try body(&state)
    switch (found, state.isEmpty) {
    case (true, true): fields.remove(at: position)
    case (true, false): fields[position].state = state.recordState
    case (false, true): break
    case (false, false):
      fields.insert(Field(name: name, state: state.recordState), at: position)
    }
    return result
  }

  /// Removes the field of this name and kind, if it is there.
  ///
  /// - Parameters:
  ///   - name: any bytes.
  ///   - kind: `nil` for all kinds.
  /// - Returns: whether there was one.
  /// - Complexity: O(n).
  @discardableResult
  public mutating func remove(_ name: [UInt8], kind: RecordKind? = nil) -> Bool {
    let count = fields.count
    fields.removeAll { $0.name == name && (kind == nil || $0.kind == kind) }
    return fields.count < count
  }

  public mutating func removeAll() { fields = [] }

  /// Where the field is, or belongs.
  private func find(_ name: [UInt8], _ kind: RecordKind) -> (position: Int, found: Bool) {
    var low = 0
    var high = fields.count
    while low < high {
      let middle = (low &+ high) >> 1
      let order = fields[middle].compare(name, kind)
      if order == 0 { return (middle, true) }
      if order < 0 { low = middle &+ 1 } else { high = middle }
    }
    return (low, false)
  }
}

extension ORMap.Field {
  /// Negative, zero or positive as this field sorts before, with or after that of `name` and `kind`.
  func compare(_ name: [UInt8], _ kind: RecordKind) -> Int {
    let order = compareBytes(self.name, name)
    return order != 0 ? order : Int(self.kind.rawValue) - Int(kind.rawValue)
  }
}

extension ORMap {
  public static let kind = RecordKind.map

  public init?(_ state: RecordState) {
    guard case .map(let map) = state else { return nil }
    self = map
  }

  public var recordState: RecordState { .map(self) }

  public var isEmpty: Bool { fields.isEmpty }

  public mutating func join(_ other: ORMap, own: VersionVector, other context: VersionVector) {
    let theirs = other.fields
    var joined: [Field] = []
    joined.reserveCapacity(max(fields.count, theirs.count))
    var i = 0
    var j = 0
    while i < fields.count || j < theirs.count {
      let order =
        i == fields.count
        ? 1 : j == theirs.count ? -1 : fields[i].compare(theirs[j].name, theirs[j].kind)
      var field = order <= 0 ? fields[i] : theirs[j]
      if order < 0 {
        field.state.remove(seenBy: context)
      } else if order > 0 {
        field.state.remove(seenBy: own)
      } else {
        field.state.join(theirs[j].state, own: own, other: context)
      }
      if !field.state.isEmpty { joined.append(field) }
      if order <= 0 { i &+= 1 }
      if order >= 0 { j &+= 1 }
    }
    fields = joined
  }

  public mutating func remove(seenBy vector: VersionVector) {
    for position in fields.indices { fields[position].state.remove(seenBy: vector) }
    fields.removeAll { $0.state.isEmpty }
  }

  public func containsParts(of other: ORMap, seenBy own: VersionVector) -> Bool {
    var i = 0
    for theirs in other.fields {
      while i < fields.count, fields[i].compare(theirs.name, theirs.kind) < 0 { i &+= 1 }
      let isHere = i < fields.count && fields[i].compare(theirs.name, theirs.kind) == 0
      let holds =
        isHere
        ? fields[i].state.containsParts(of: theirs.state, seenBy: own)
        : theirs.state.isUnseen(by: own)
      if !holds { return false }
    }
    return true
  }

  public func forEachDot(_ body: (Dot) -> Void) {
    for field in fields { field.state.forEachDot(body) }
  }
}
