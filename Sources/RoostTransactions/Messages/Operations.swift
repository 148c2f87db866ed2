package import RoostCausality
package import RoostCluster

/// A key of a transactional keyspace, and the partition that its hash puts it in.
package struct KeyReference: Hashable, Comparable, Sendable {
  /// The keyspace's id in the schema.
  package var keyspace: UInt64
  package var partition: Int
  package var key: [UInt8]

  package init(keyspace: UInt64, partition: Int, key: [UInt8]) {
    self.keyspace = keyspace
    self.partition = partition
    self.key = key
  }

  /// The key tells them apart: its partition follows from it.
  package func hash(into hasher: inout Hasher) {
    unsafe key.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
  }

  package static func < (a: KeyReference, b: KeyReference) -> Bool {
    if a.keyspace != b.keyspace { return a.keyspace < b.keyspace }
    if a.partition != b.partition { return a.partition < b.partition }
    return a.key.lexicographicallyPrecedes(b.key)
  }
}

/// The keys of one partition of a keyspace from `lower` up to, and not with, `upper`: present or not.
package struct RangeReference: Hashable, Sendable {
  package var keyspace: UInt64
  package var partition: Int
  package var lower: [UInt8]
  /// `nil` for all that follow.
  package var upper: [UInt8]?

  package init(keyspace: UInt64, partition: Int, lower: [UInt8], upper: [UInt8]?) {
    self.keyspace = keyspace
    self.partition = partition
    self.lower = lower
    self.upper = upper
  }

  /// What of it is left from a key on.
  package func from(_ key: [UInt8]) -> RangeReference {
    RangeReference(keyspace: keyspace, partition: partition, lower: key, upper: upper)
  }

  package func contains(_ reference: KeyReference) -> Bool {
    reference.keyspace == keyspace && reference.partition == partition
      && contains(key: reference.key)
  }

  /// Of a key in the same partition.
  func contains(key: [UInt8]) -> Bool {
    if key.lexicographicallyPrecedes(lower) { return false }
    guard let upper else { return true }
    return key.lexicographicallyPrecedes(upper)
  }
}

/// What a transaction locks.
package enum LockTarget: Hashable, Sendable {
  case shared(KeyReference)
  case exclusive(KeyReference)
  /// A range is only ever read: gaps included.
  case sharedRange(RangeReference)
}

/// What a transaction writes.
package struct TransactionWrite: Hashable, Sendable {
  package var target: KeyReference
  /// `nil` deletes.
  package var value: [UInt8]?

  package init(_ target: KeyReference, _ value: [UInt8]?) {
    self.target = target
    self.value = value
  }
}

/// What a transaction reads at one participant.
package enum TransactionRead: Hashable, Sendable {
  case keys([KeyReference])
  /// Entries in key order, up to `limit` of them.
  case range(RangeReference, limit: Int)

  /// The partitions that it reads.
  package var partitions: [Int] {
    switch self {
    case .keys(let keys): keys.map(\.partition)
    case .range(let range, _): [range.partition]
    }
  }
}

/// What a read found.
package struct ReadEntry: Hashable, Sendable {
  package var target: KeyReference
  package var value: [UInt8]
  /// The commit timestamp of the version.
  package var timestamp: Timestamp

  package init(_ target: KeyReference, _ value: [UInt8], at timestamp: Timestamp) {
    self.target = target
    self.value = value
    self.timestamp = timestamp
  }
}

package struct ReadAnswer: Hashable, Sendable {
  /// Keys that are absent or deleted have no entry.
  package var entries: [ReadEntry]
  /// Of a range: whether its end was reached.
  package var isComplete: Bool
  /// Of a range whose end was not reached: the key to go on from. There may be no entries: much was
  /// passed over.
  package var next: [UInt8]?

  package init(_ entries: [ReadEntry] = [], isComplete: Bool = true, next: [UInt8]? = nil) {
    self.entries = entries
    self.isComplete = isComplete
    self.next = next
  }
}

/// What a transaction does to a key of an eventual keyspace, once it has committed.
package struct EventualEffect: Hashable, Sendable {
  package enum Change: Hashable, Sendable {
    case increment(Int64)
    /// With the encoding of the context that the value replaces, if any.
    case put([UInt8], context: [UInt8]?)
    case delete(context: [UInt8]?)
  }

  package var keyspace: UInt64
  package var key: [UInt8]
  package var change: Change
  /// The one store that does it; never another (interleaving 14).
  package var target: MemberID

  package init(keyspace: UInt64, key: [UInt8], change: Change, target: MemberID) {
    self.keyspace = keyspace
    self.key = key
    self.change = change
    self.target = target
  }

  /// Of key, value and context, and the lengths and numbers beside them.
  var byteCount: Int {
    let bytes =
      switch change {
      case .increment: 0
      case .put(let value, let context): value.count + (context?.count ?? 0)
      case .delete(let context): context?.count ?? 0
      }
    return key.count + 16 + bytes
  }
}
