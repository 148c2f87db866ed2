package import RoostCausality

// What is done to typed states, as values: so that a node that is no replica of a key can have it done at
// one.
//
//   change := field (0 u8, or 1 u8 | name lengthPrefixed) | kind u8 | what the kind takes
//   increment (1) takes: amount varint, zigzag;  count up (2): amount varint;  assign (3): value
//   lengthPrefixed insert (7), remove (8) take: count varint | (element lengthPrefixed)*
//   remove field (10) takes: the state's kind u8, as in records, or 0 for all
//   clear (4), enable (5), disable (6) and remove all (9) take nothing

/// A change of a key's typed state, or of a field of the map that is under the key. A plain value.
package struct StateChange: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    /// Of a counter.
    case increment(Int64)
    /// Of a grow-only counter.
    case countUp(UInt64)
    /// Of a register.
    case assign([UInt8])
    case clear
    /// Of a flag.
    case enable
    case disable
    /// Of a set.
    case insert([[UInt8]])
    case remove([[UInt8]])
    case removeAll
    /// Of the map itself: its field, of all kinds or of one.
    case removeField(RecordKind?)
  }

  /// Of the map; `nil` for the key's own state.
  package var field: [UInt8]?
  package var kind: Kind

  package init(_ kind: Kind, field: [UInt8]? = nil) {
    self.kind = kind
    self.field = field
  }

  /// Whether what is seen decides what goes: a replica catches up first.
  package var removes: Bool {
    switch kind {
    case .increment, .countUp, .assign, .enable, .insert: false
    case .clear, .disable, .remove, .removeAll, .removeField: true
    }
  }

  /// Of all that it brings.
  var byteCount: Int {
    let own =
      switch kind {
      case .assign(let value): value.count
      case .insert(let elements), .remove(let elements): elements.reduce(0) { $0 + $1.count + 9 }
      default: 0
      }
    return own + (field?.count ?? 0)
  }

  func write(to writer: inout FieldWriter) {
    writer.write(bound: field)
    func write(_ number: UInt8, _ elements: [[UInt8]]) {
      writer.write(byte: number)
      writer.write(count: elements.count)
      for element in elements { writer.write(lengthPrefixed: element) }
    }
    switch kind {
    case .increment(let amount):
      writer.write(byte: 1)
      writer.write(varint: UInt64(bitPattern: amount << 1 ^ amount >> 63))
    case .countUp(let amount):
      writer.write(byte: 2)
      writer.write(varint: amount)
    case .assign(let value):
      writer.write(byte: 3)
      writer.write(lengthPrefixed: value)
    case .clear: writer.write(byte: 4)
    case .enable: writer.write(byte: 5)
    case .disable: writer.write(byte: 6)
    case .insert(let elements): write(7, elements)
    case .remove(let elements): write(8, elements)
    case .removeAll: writer.write(byte: 9)
    case .removeField(let kind):
      writer.write(byte: 10)
      writer.write(byte: kind?.rawValue ?? 0)
    }
  }

  /// - Throws: what the reader says of damage.
  init(from reader: inout FieldReader) throws(DatabaseError) {
    field = try reader.readBound()
    let number = try reader.readByte()
    switch number {
    case 1:
      let zigzag = try reader.readVarint()
      kind = .increment(Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1))
    case 2: kind = .countUp(try reader.readVarint())
    case 3: kind = .assign(try reader.readLengthPrefixed())
    case 4: kind = .clear
    case 5: kind = .enable
    case 6: kind = .disable
    case 7, 8:
      var elements: [[UInt8]] = []
      for _ in 0..<(try reader.readCount()) { elements.append(try reader.readLengthPrefixed()) }
      kind = number == 7 ? .insert(elements) : .remove(elements)
    case 9: kind = .removeAll
    case 10:
      guard field != nil else { throw reader.damaged("no field to remove") }
      let raw = try reader.readByte()
      let only = RecordKind(rawValue: raw)
      guard raw == 0 || only != nil else { throw reader.damaged("a state of kind \(raw)") }
      kind = .removeField(only)
    default: throw reader.damaged("a change of kind \(number)")
    }
  }
}

extension KeyspaceCore {
  /// Changes a key's typed state, or a field of its map.
  ///
  /// - Returns: how many elements, fields or values it changed; 0 where nothing was written.
  /// - Throws: as ``change(_:_:_:)``.
  package func apply(_ change: StateChange, to key: RawSpan) throws(DatabaseError) -> Int {
    switch change.kind {
    case .increment(let amount):
      try apply(change, to: key, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: amount, dot: stamp.dot)
        return 1
      }
    case .countUp(let amount):
      try apply(change, to: key, GCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: amount, dot: stamp.dot)
        return 1
      }
    case .assign(let value):
      try apply(change, to: key, LWWRegister.self) { register, stamp throws(CausalityError) in
        register.assign(value, timestamp: stamp.timestamp, dot: stamp.dot)
        return 1
      }
    case .clear:
      try apply(change, to: key, LWWRegister.self) { register, _ throws(CausalityError) in
        let isChanged = !register.isEmpty
        register.clear()
        return isChanged ? 1 : 0
      }
    case .enable:
      try apply(change, to: key, EnableWinsFlag.self) { flag, stamp throws(CausalityError) in
        flag.enable(dot: stamp.dot)
        return 1
      }
    case .disable:
      try apply(change, to: key, EnableWinsFlag.self) { flag, _ throws(CausalityError) in
        let isChanged = flag.isEnabled
        flag.disable()
        return isChanged ? 1 : 0
      }
    case .insert(let elements):
      try apply(change, to: key, ORSet.self) { set, stamp throws(CausalityError) in
        for element in elements { set.insert(element, dot: stamp.dot) }
        return elements.count
      }
    case .remove(let elements):
      try apply(change, to: key, ORSet.self) { set, _ throws(CausalityError) in
        elements.count { set.remove($0) }
      }
    case .removeAll:
      try apply(change, to: key, ORSet.self) { set, _ throws(CausalityError) in
        let count = set.count
        set.removeAll()
        return count
      }
    case .removeField(let kind):
      try self.change(key, ORMap.self, removes: true) { map, _ throws(CausalityError) in
        let isChanged = map.remove(change.field ?? [], kind: kind)
        return (isChanged, isChanged ? 1 : 0)
      }
    }
  }

  /// - Parameter body: returns how much it changed; where that is 0 nothing is written.
  private func apply<State: FieldState>(
    _ change: StateChange, to key: RawSpan, _ type: State.Type,
    _ body: (inout State, Stamp) throws(CausalityError) -> Int
  ) throws(DatabaseError) -> Int {
    guard let field = change.field else {
      return try self.change(key, State.self, removes: change.removes) {
        state, stamp throws(CausalityError) in
        let count = try body(&state, stamp)
        return (count > 0, count)
      }
    }
    return try self.change(key, ORMap.self, removes: change.removes) { map, stamp throws(CausalityError) in
      var state = map.field(field, as: State.self)
      let count = try body(&state, stamp)
      if count > 0 { map.update(field, as: State.self) { $0 = state } }
      return (count > 0, count)
    }
  }
}
