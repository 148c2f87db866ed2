/// How records are read: the grammar is in `Record+Encoding.swift`.
///
/// Every count is held against the bytes that are left before anything is allocated for it, and what
/// would not be written as it was read is refused: what decodes, encodes to the same bytes.
extension Record {
  /// Reads an encoding: all of `bytes`.
  ///
  /// - Throws: ``CausalityError`` with code `.damaged` or `.newerFormat`, and the offset.
  /// - Complexity: O(n) of the bytes; allocates a small multiple of them.
  public init(decoding bytes: RawSpan) throws(CausalityError) {
    var reader = ByteReader(bytes)
    let version = try reader.readVersion(upTo: Self.newestVersion)
    context = try reader.readVector()
    siblings = SiblingSet(function: try reader.readSiblings(context))
    states = try reader.readStates(context, version)
    try reader.expectEnd()
    guard version == Self.version || hasOperations else {
      throw reader.damaged("version \(version) without an operation")
    }
  }

  /// Reads an encoding: all of `bytes`. Throws as ``init(decoding:)-(RawSpan)`` does.
  public init(decoding bytes: [UInt8]) throws(CausalityError) {
    try self.init(decoding: bytes.rawSpan)
  }
}

extension VersionVector {
  /// Reads the vector of a record: all of `bytes`, as where ``SoleSibling`` says it stands.
  ///
  /// - Throws: ``CausalityError`` with code `.damaged`.
  package init(decoding bytes: RawSpan) throws(CausalityError) {
    var reader = ByteReader(bytes)
    self = try reader.readVector()
    try reader.expectEnd()
  }
}

extension ByteReader {
  @_lifetime(self: copy self)
  mutating func readVector() throws(CausalityError) -> VersionVector {
    guard let count = readCount(of: 9) else { throw damaged("a context's count") }
    var entries: [VersionVector.Entry] = []
    entries.reserveCapacity(count)
    for _ in 0..<count {
      guard let rawReplica = readUInt64(), let counter = readVarint() else {
        throw damaged("a context is cut short")
      }
      let replica = ReplicaID(rawValue: rawReplica)
      guard counter >= 1 else { throw damaged("a context's counter is 0") }
      if let last = entries.last, last.replica >= replica {
        throw damaged("a context's replicas are out of order")
      }
      entries.append(VersionVector.Entry(replica: replica, counter: counter))
    }
    return VersionVector(sorted: entries)
  }

  @inline(__always)
  @_lifetime(self: copy self)
  fileprivate mutating func readDot(_ context: VersionVector) throws(CausalityError) -> Dot {
    guard let index = readVarint(), let counter = readVarint() else {
      throw damaged("a dot is cut short")
    }
    guard index < UInt64(context.entries.count) else { throw damaged("a dot of no replica") }
    let entry = context.entries[Int(truncatingIfNeeded: index)]
    guard counter >= 1, counter <= entry.counter else {
      throw damaged("a dot that the context does not contain")
    }
    return Dot(replica: entry.replica, counter: counter)
  }

  @_lifetime(self: copy self)
  fileprivate mutating func readSiblings(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<Sibling> {
    guard let count = readCount(of: 12) else { throw damaged("the siblings' count") }
    var siblings: [Sibling] = []
    siblings.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expect(dot, after: siblings.last?.dot)
      guard let timestamp = readUInt64(), let expiry = readVarint(), let value = readLengthPrefixed()
      else { throw damaged("a sibling is cut short") }
      siblings.append(
        Sibling(dot: dot, timestamp: Timestamp(rawValue: timestamp), expiry: expiry, value: value))
    }
    return DotFunction(sorted: siblings)
  }

  @inline(__always)
  fileprivate func expect(_ dot: Dot, after last: Dot?) throws(CausalityError) {
    if let last, last >= dot { throw damaged("dots are out of order") }
  }

  @_lifetime(self: copy self)
  fileprivate mutating func readStates(
    _ context: VersionVector, _ version: UInt8
  ) throws(CausalityError) -> [RecordState] {
    guard let count = readCount(of: 4) else { throw damaged("the states' count") }
    var states: [RecordState] = []
    states.reserveCapacity(count)
    for _ in 0..<count {
      let state = try readState(context, version, isField: false)
      if let last = states.last, last.kind >= state.kind { throw damaged("states are out of order") }
      states.append(state)
    }
    return states
  }

  @_lifetime(self: copy self)
  private mutating func readState(
    _ context: VersionVector, _ version: UInt8, isField: Bool
  ) throws(CausalityError) -> RecordState {
    guard let byte = readUInt8(), let kind = RecordKind(rawValue: byte) else {
      throw damaged("a state of an unknown kind")
    }
    // The least that a part takes: a dot is two bytes.
    switch kind {
    case .gCounter: return .gCounter(GCounter(function: try readTotals(context)))
    case .counter: return .counter(try readCounter(context, version))
    case .register: return .register(LWWRegister(function: try readWrites(context)))
    case .flag: return .flag(EnableWinsFlag(function: try readDots(context)))
    case .set: return .set(ORSet(sorted: try readElements(context)))
    case .map:
      if isField { throw damaged("a map in a map") }
      return .map(ORMap(sorted: try readFields(context, version)))
    }
  }

  /// - Parameter size: the least number of bytes that a part takes.
  @_lifetime(self: copy self)
  private mutating func readPartCount(of size: Int) throws(CausalityError) -> Int {
    guard let count = readCount(of: size) else { throw damaged("a state's count") }
    guard count >= 1 else { throw damaged("an empty state") }
    return count
  }

  @_lifetime(self: copy self)
  private mutating func readTotals(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<GCounter.Entry> {
    let count = try readPartCount(of: 3)
    var entries: [GCounter.Entry] = []
    entries.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expectReplica(of: dot, after: entries.last?.dot)
      guard let total = readVarint() else { throw damaged("a counter is cut short") }
      entries.append(GCounter.Entry(dot: dot, total: total))
    }
    return DotFunction(sorted: entries)
  }

  /// Counters have one entry a replica.
  private func expectReplica(of dot: Dot, after last: Dot?) throws(CausalityError) {
    if let last, last.replica >= dot.replica { throw damaged("a counter's replicas are out of order") }
  }

  @_lifetime(self: copy self)
  private mutating func readCounter(
    _ context: VersionVector, _ version: UInt8
  ) throws(CausalityError) -> PNCounter {
    let totals = try readTotalsOfBothSigns(context)
    let operations = try version > 1 ? readOperations(context) : DotFunction()
    let counter = PNCounter(function: totals, remembered: operations)
    if counter.isEmpty { throw damaged("an empty state") }
    return counter
  }

  @_lifetime(self: copy self)
  private mutating func readOperations(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<PNCounter.Operation> {
    guard let count = readCount(of: 19) else { throw damaged("the count of operations") }
    var operations: [PNCounter.Operation] = []
    operations.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expect(dot, after: operations.last?.dot)
      guard let high = readUInt64(), let low = readUInt64(), let zigzag = readVarint() else {
        throw damaged("an operation is cut short")
      }
      let amount = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
      operations.append(
        PNCounter.Operation(dot: dot, id: OperationID(high: high, low: low), amount: amount))
    }
    return DotFunction(sorted: operations)
  }

  @_lifetime(self: copy self)
  private mutating func readTotalsOfBothSigns(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<PNCounter.Entry> {
    guard let count = readCount(of: 4) else { throw damaged("a state's count") }
    var entries: [PNCounter.Entry] = []
    entries.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expectReplica(of: dot, after: entries.last?.dot)
      guard let positive = readVarint(), let negative = readVarint() else {
        throw damaged("a counter is cut short")
      }
      entries.append(PNCounter.Entry(dot: dot, positive: positive, negative: negative))
    }
    return DotFunction(sorted: entries)
  }

  @_lifetime(self: copy self)
  private mutating func readWrites(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<LWWRegister.Write> {
    let count = try readPartCount(of: 11)
    var writes: [LWWRegister.Write] = []
    writes.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expect(dot, after: writes.last?.dot)
      guard let timestamp = readUInt64(), let value = readLengthPrefixed() else {
        throw damaged("a register is cut short")
      }
      writes.append(
        LWWRegister.Write(dot: dot, timestamp: Timestamp(rawValue: timestamp), value: value))
    }
    return DotFunction(sorted: writes)
  }

  @_lifetime(self: copy self)
  private mutating func readDots(
    _ context: VersionVector
  ) throws(CausalityError) -> DotFunction<Dot> {
    let count = try readPartCount(of: 2)
    var dots: [Dot] = []
    dots.reserveCapacity(count)
    for _ in 0..<count {
      let dot = try readDot(context)
      try expect(dot, after: dots.last)
      dots.append(dot)
    }
    return DotFunction(sorted: dots)
  }

  @_lifetime(self: copy self)
  private mutating func readElements(
    _ context: VersionVector
  ) throws(CausalityError) -> [ORSet.Element] {
    let count = try readPartCount(of: 4)
    var elements: [ORSet.Element] = []
    elements.reserveCapacity(count)
    for _ in 0..<count {
      guard let value = readLengthPrefixed() else { throw damaged("a set is cut short") }
      if let last = elements.last, compareBytes(last.value, value) >= 0 {
        throw damaged("a set's elements are out of order")
      }
      elements.append(ORSet.Element(value: value, insertions: try readDots(context)))
    }
    return elements
  }

  @_lifetime(self: copy self)
  private mutating func readFields(
    _ context: VersionVector, _ version: UInt8
  ) throws(CausalityError) -> [ORMap.Field] {
    let count = try readPartCount(of: 5)
    var fields: [ORMap.Field] = []
    fields.reserveCapacity(count)
    for _ in 0..<count {
      guard let name = readLengthPrefixed() else { throw damaged("a map is cut short") }
      let field = ORMap.Field(name: name, state: try readState(context, version, isField: true))
      if let last = fields.last, last.compare(field.name, field.kind) >= 0 {
        throw damaged("a map's fields are out of order")
      }
      fields.append(field)
    }
    return fields
  }
}
