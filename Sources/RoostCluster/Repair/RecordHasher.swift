import RoostCausality
import RoostStorage

// What is hashed of a key and its record:
//
//   input  := key lengthPrefixed | entry count varint | (replica u64, counter varint)* | dots
//           | state count varint | state*
//   dots   := count varint | (replica u64, counter varint)*
//   state  := kind u8 | count varint | part*, or dots where the kind's parts are nothing but dots
//   part   := of a set: element lengthPrefixed, dots; of a map: name lengthPrefixed, state
//
// It is what a join looks at and nothing else: the context, the live dots, and which element or field each is
// under. What a dot names (a value, its time and expiry, a counter's totals) is left out: it is the same
// wherever the dot is. A value that has expired counts as it stands in the record: one replica may have
// written the expiry down and another not, and that is a difference which a join mends.
//
// A hash without the context would miss deletes, and one without the dots expiries (REPLICATION: "delete that
// no tree sees"). Equal input is equal records as far as joins go, since lengths and counts stand before all
// that varies.

/// Hashes keys with what their records know. Both replicas of a comparison use the same seed: that of the
/// leaves that are kept, or, where all records are read, a new one for each; what chance made equal under one
/// is found under the next.
///
/// Keeps a buffer; used by one thread at a time.
struct RecordHasher {
  var seed: UInt64
  private var input: [UInt8] = []

  init(seed: UInt64) { self.seed = seed }

  /// The leaf that a key is in, of ``HashTree/leafCount``.
  func leaf(of key: RawSpan) -> Int {
    Int(truncatingIfNeeded: Checksum.xxh64(key, seed: seed) >> HashTree.leafShift)
  }

  /// The hash of a key and what is known of it.
  ///
  /// - Complexity: O(n) of the key's length and the record's entries, dots and names.
  mutating func hash(_ key: RawSpan, _ record: Record) -> UInt64 {
    input.removeAll(keepingCapacity: true)
    append(count: key.byteCount)
    unsafe key.withUnsafeBytes { unsafe input.append(contentsOf: $0) }
    append(count: record.context.entries.count)
    for entry in record.context.entries {
      append(fixed: entry.replica.rawValue)
      append(varint: entry.counter)
    }
    append(count: record.siblings.count)
    record.siblings.forEachDot { append($0) }
    append(count: record.states.count)
    for state in record.states { append(state) }
    return Checksum.xxh64(input, seed: seed)
  }

  private mutating func append(_ state: RecordState) {
    input.append(state.kind.rawValue)
    switch state {
    case .set(let set):
      append(count: set.elements.count)
      for element in set.elements {
        append(name: element.value)
        append(dots: element.dots)
      }
    case .map(let map):
      append(count: map.fields.count)
      for field in map.fields {
        append(name: field.name)
        append(field.state)
      }
    case .gCounter, .counter, .register, .flag:
      var dots: [Dot] = []
      state.forEachDot { dots.append($0) }
      append(dots: dots)
    }
  }

  private mutating func append(dots: [Dot]) {
    append(count: dots.count)
    for dot in dots { append(dot) }
  }

  private mutating func append(_ dot: Dot) {
    append(fixed: dot.replica.rawValue)
    append(varint: dot.counter)
  }

  private mutating func append(name: [UInt8]) {
    append(count: name.count)
    input += name
  }

  private mutating func append(count: Int) { append(varint: UInt64(count)) }
  private mutating func append(fixed value: UInt64) { input.append(integer: value.littleEndian) }

  private mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      input.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    input.append(UInt8(truncatingIfNeeded: rest))
  }
}
