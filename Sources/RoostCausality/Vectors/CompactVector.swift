/// A version vector as it is carried by what every read and write makes: nearly always of one replica,
/// and then without an array. A plain value.
///
/// Invariant: a vector of one entry is `one`, so that what is equal as vectors is equal here.
package enum CompactVector: Hashable, Sendable {
  case one(VersionVector.Entry)
  /// Of no replica, or of several.
  case other(VersionVector)

  package init(_ vector: VersionVector) {
    self = vector.entries.count == 1 ? .one(vector.entries[0]) : .other(vector)
  }

  /// What has seen `dot`, and so everything of its replica before it.
  package init(_ dot: Dot) {
    self = .one(VersionVector.Entry(replica: dot.replica, counter: dot.counter))
  }

  package var vector: VersionVector {
    switch self {
    case .one(let entry): VersionVector(sorted: [entry])
    case .other(let vector): vector
    }
  }

  package var isEmpty: Bool {
    switch self {
    case .one: false
    case .other(let vector): vector.isEmpty
    }
  }

  /// How far `replica` was seen; 0 where nothing of it was.
  package subscript(replica: ReplicaID) -> UInt64 {
    switch self {
    case .one(let entry): entry.replica == replica ? entry.counter : 0
    case .other(let vector): vector[replica]
    }
  }
}
