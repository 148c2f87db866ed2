/// A record that is one value and nothing else, as most are, without the arrays that a ``Record`` has:
/// what reads carry around until someone asks for more than the value. A plain value.
package struct SoleRecord: Hashable, Sendable {
  private let dot: Dot
  private let timestamp: Timestamp
  /// Milliseconds since 1970; 0 for never.
  package let expiry: UInt64
  package let value: [UInt8]
  private let seen: CompactVector

  /// - Parameters:
  ///   - sole: what was found in `bytes`.
  ///   - bytes: the same encoding.
  /// - Complexity: O(n) of the value and the context.
  package init(_ sole: SoleSibling, in bytes: RawSpan) {
    dot = sole.dot
    timestamp = sole.timestamp
    expiry = sole.expiry
    value = unsafe bytes.extracting(sole.value).withUnsafeBytes { unsafe [UInt8]($0) }
    if let entry = sole.onlyEntry {
      seen = .one(entry)
    } else {
      // It was read well when `sole` was found.
      seen = .other((try? VersionVector(decoding: bytes.extracting(sole.context))) ?? VersionVector())
    }
  }

  /// A version that a transaction committed, as a record. It names no store's write: the replica is 0, which
  /// none has, and the counter its time.
  package init(committedAt time: Timestamp, _ value: [UInt8]) {
    dot = Dot(replica: ReplicaID(rawValue: 0), counter: max(1, time.rawValue))
    timestamp = time
    expiry = 0
    self.value = value
    seen = CompactVector(dot)
  }

  package var context: VersionVector { seen.vector }

  package var sibling: Sibling { Sibling(dot: dot, timestamp: timestamp, expiry: expiry, value: value) }

  package var record: Record {
    Record(context: context, siblings: SiblingSet(function: DotFunction(sorted: [sibling])), states: [])
  }
}
