// How records are written.
//
//     record  := version u8 | vector | count varint | sibling* | count varint | state*
//     vector  := count varint | (replica u64 LE | counter varint)*
//     sibling := dot | timestamp u64 LE | expiry varint | value lengthPrefixed
//     dot     := index varint, of its replica in the record's vector | counter varint
//     state   := kind u8 | body
//
//     1 grow-only counter   count varint | (dot | total varint)*
//     2 counter             count varint | (dot | positive varint | negative varint)*
//       in version 2, then: count varint | (dot | id high u64 LE | id low u64 LE | amount zigzag varint)*
//     3 register            count varint | (dot | timestamp u64 LE | value lengthPrefixed)*
//     4 flag                count varint | dot*
//     5 set                 count varint | (element lengthPrefixed | count varint | dot*)*
//     6 map                 count varint | (name lengthPrefixed | state of kind 1 to 5)*
//
// A record has one encoding: everything ascends as the types' invariants say, varints have no needless
// byte, nothing in a state is empty. The version is 2 where some counter remembers operations, else 1.

extension Record {
  /// Of all records but those whose counters remember operations: older readers know no other.
  static let version: UInt8 = 1
  static let newestVersion: UInt8 = 2

  /// Appends the encoding.
  ///
  /// - Complexity: O(n) of the encoding's bytes; per dot, O(log n) of the replicas in the context.
  public func encode(into bytes: inout [UInt8]) {
    let version = hasOperations ? Self.newestVersion : Self.version
    bytes.append(version)
    bytes.append(context)
    bytes.appendCount(siblings.function.parts.count)
    for sibling in siblings.function.parts {
      bytes.append(sibling.dot, context)
      bytes.appendUInt64(sibling.timestamp.rawValue)
      bytes.appendVarint(sibling.expiry)
      bytes.appendLengthPrefixed(sibling.value)
    }
    bytes.appendCount(states.count)
    for state in states { bytes.append(state, context, version) }
  }

  /// The encoding.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    var size = 16 + 20 * context.entries.count
    for sibling in siblings.function.parts { size += 40 + sibling.value.count }
    bytes.reserveCapacity(size)
    encode(into: &bytes)
    return bytes
  }
}

extension [UInt8] {
  mutating func append(_ vector: VersionVector) {
    appendCount(vector.entries.count)
    for entry in vector.entries {
      appendUInt64(entry.replica.rawValue)
      appendVarint(entry.counter)
    }
  }

  @inline(__always)
  fileprivate mutating func append(_ dot: Dot, _ context: VersionVector) {
    let index = context.position(of: dot.replica)
    precondition(
      index < context.entries.count && context.entries[index].replica == dot.replica
        && dot.counter <= context.entries[index].counter, "the context contains each live dot")
    appendCount(index)
    appendVarint(dot.counter)
  }

  fileprivate mutating func append(_ dots: DotFunction<Dot>, _ context: VersionVector) {
    appendCount(dots.parts.count)
    for dot in dots.parts { append(dot, context) }
  }

  fileprivate mutating func append(_ state: RecordState, _ context: VersionVector, _ version: UInt8) {
    append(state.kind.rawValue)
    switch state {
    case .gCounter(let counter):
      appendCount(counter.entries.count)
      for entry in counter.entries {
        append(entry.dot, context)
        appendVarint(entry.total)
      }
    case .counter(let counter):
      appendCount(counter.entries.count)
      for entry in counter.entries {
        append(entry.dot, context)
        appendVarint(entry.positive)
        appendVarint(entry.negative)
      }
      if version > 1 {
        appendCount(counter.operations.count)
        for operation in counter.operations {
          append(operation.dot, context)
          appendUInt64(operation.id.high)
          appendUInt64(operation.id.low)
          appendVarint(UInt64(bitPattern: operation.amount << 1 ^ operation.amount >> 63))
        }
      }
    case .register(let register):
      appendCount(register.writes.count)
      for write in register.writes {
        append(write.dot, context)
        appendUInt64(write.timestamp.rawValue)
        appendLengthPrefixed(write.value)
      }
    case .flag(let flag):
      append(flag.function, context)
    case .set(let set):
      appendCount(set.elements.count)
      for element in set.elements {
        appendLengthPrefixed(element.value)
        append(element.insertions, context)
      }
    case .map(let map):
      appendCount(map.fields.count)
      for field in map.fields {
        appendLengthPrefixed(field.name)
        append(field.state, context, version)
      }
    }
  }
}
