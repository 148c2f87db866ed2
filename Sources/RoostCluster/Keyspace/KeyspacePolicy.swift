/// What a keyspace promises about its keys: chosen when it is created, and kept.
public struct KeyspacePolicy: Sendable {
  /// What concurrent writes of plain values become.
  public enum Siblings: Sendable {
    /// All are kept until a write that saw them replaces them. A read may return several values.
    case keep
    /// The one with the latest hybrid logical timestamp counts: the others are decided against.
    case lastWriterWins
    /// A read returns what `resolve` makes of the values: `nil` reads as absent. It runs on reads
    /// only and nothing of it is stored, because two stored resolutions would be concurrent again.
    /// It must be a pure function, and must not mind the order.
    case resolve(with: @Sendable (_ values: [[UInt8]]) -> [UInt8]?)
  }

  public var siblings: Siblings
  /// How many stores hold each key; 0 for as many as the database has replicas, and no other number
  /// is taken yet.
  public var replicas: Int
  /// Whether the keyspace's keys are written by transactions only.
  public private(set) var isTransactional = false

  init(siblings: Siblings, replicas: Int) {
    self.siblings = siblings
    self.replicas = replicas
  }

  /// Keys written at any replica; concurrent writes are kept as siblings, typed values are merged as
  /// CRDTs.
  ///
  /// - Parameters:
  ///   - siblings: what concurrent plain values become.
  ///   - replicas: how many stores hold each key: as many as ``DatabaseOptions/replicas``, or `nil` for
  ///     the same.
  public static func eventual(_ siblings: Siblings = .keep, replicas: Int? = nil) -> KeyspacePolicy {
    KeyspacePolicy(siblings: siblings, replicas: replicas ?? 0)
  }

  /// ``eventual(_:replicas:)`` with siblings kept, on as many stores as the database has replicas.
  public static var eventual: KeyspacePolicy { eventual() }

  /// Keys written by transactions only, as versions at commit timestamps.
  ///
  /// Each key is on one store, whatever ``DatabaseOptions/replicas`` says: its partition's first replica.
  /// Losing that disk loses the key. Such a keyspace has no indexes and no change feed.
  /// In a cluster its partitions are not moved between nodes.
  public static var transactional: KeyspacePolicy {
    var policy = KeyspacePolicy(siblings: .keep, replicas: 0)
    policy.isTransactional = true
    return policy
  }

  /// What of the policy is kept on disk.
  package enum Kind: UInt8, Sendable {
    case keep = 1
    case lastWriterWins = 2
    case resolve = 3
    case transactional = 4
  }

  package var kind: Kind {
    if isTransactional { return .transactional }
    return switch siblings {
    case .keep: .keep
    case .lastWriterWins: .lastWriterWins
    case .resolve: .resolve
    }
  }
}
