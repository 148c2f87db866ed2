/// A put that leaves a record of one value, whose context is of one replica: as most do. Then there is
/// no record to build: what matters of the old one stands at the front of its encoding, and the new
/// encoding is written as it is.
///
/// Says the same as ``Record/put(_:expiry:replacing:and:dot:timestamp:)`` with an encoding after it.
/// A plain value.
package struct SolePut: Equatable, Sendable {
  /// Who must make the put's dot; `nil` where anyone may.
  package let replica: ReplicaID?
  /// What of that replica was seen: the dot must be newer.
  package let seen: UInt64

  /// - Parameters:
  ///   - old: what is under the key; `nil` where nothing ever was.
  ///   - context: what the writer has read.
  ///   - replacesAll: whether the put also replaces what the writer has not read.
  /// - Returns: `nil` where a value would stay beside the new one, or the context would be of several
  ///   replicas. Then take the record.
  /// - Complexity: O(1).
  package init?(over old: SoleSibling?, context: CausalContext?, replacesAll: Bool) {
    var known: VersionVector.Entry?
    if let old {
      guard let entry = old.onlyEntry else { return nil }
      known = entry
    }
    var read: VersionVector.Entry?
    if let context {
      guard context.dot == nil else { return nil }
      switch context.seen {
      case .one(let entry): read = entry
      case .other(let vector): guard vector.isEmpty else { return nil }
      }
    }
    if let known, let read, known.replica != read.replica { return nil }
    if let old, !replacesAll {
      guard let read, old.dot.counter <= read.counter else { return nil }
    }
    replica = known?.replica ?? read?.replica
    seen = max(known?.counter ?? 0, read?.counter ?? 0)
  }

  /// Over a value that `replica` put, in the incarnation that it still is: whatever its dot was, the next
  /// one is newer. The put replaces what is there, read or not.
  ///
  /// - Parameter replica: the only one in the context of what is under the key.
  /// - Returns: `nil` where the context would be of several replicas. Then take the record.
  /// - Complexity: O(1).
  package init?(overOwnOf replica: ReplicaID, context: CausalContext?) {
    var read: VersionVector.Entry?
    if let context {
      guard context.dot == nil else { return nil }
      switch context.seen {
      case .one(let entry): read = entry
      case .other(let vector): guard vector.isEmpty else { return nil }
      }
    }
    if let read, read.replica != replica { return nil }
    self.replica = replica
    seen = read?.counter ?? 0
  }

  /// Bytes that an encoding takes at most, beside the value's.
  package static let overheadBytes = 1 + 1 + 8 + 1 + 1 + 8 + 1 + 4 * ByteWriter.longestVarint

  /// Writes the encoding of the record that the put leaves.
  ///
  /// - Parameter dot: as ``replica`` and ``seen`` ask for.
  /// - Complexity: O(n) of the value.
  package func encode(
    _ value: RawSpan, expiry: UInt64, dot: Dot, timestamp: Timestamp, into bytes: inout ByteWriter
  ) {
    precondition(dot.replica == replica ?? dot.replica && dot.counter > seen, "the dot is new")
    bytes.write(Record.version)
    // The context: of one replica.
    bytes.write(1 as UInt8)
    bytes.write(dot.replica.rawValue)
    bytes.write(varint: dot.counter)
    // One value, made by the context's first and only replica.
    bytes.write(1 as UInt8)
    bytes.write(0 as UInt8)
    bytes.write(varint: dot.counter)
    bytes.write(timestamp.rawValue)
    bytes.write(varint: expiry)
    bytes.write(varint: UInt64(truncatingIfNeeded: value.byteCount))
    bytes.write(value)
    // No states.
    bytes.write(0 as UInt8)
  }
}
