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
  /// How many stores hold each key, 1 to as many as the database has replicas; `nil` for just as many.
  public var replicas: Int?
  /// How many replicas answer a read in a cluster, and how many have a write, where a request does not say.
  package private(set) var quorums: KeyspaceQuorums
  /// Whether the keyspace's keys are written by transactions only.
  public private(set) var isTransactional = false

  init(siblings: Siblings, replicas: Int?, _ quorums: KeyspaceQuorums = KeyspaceQuorums()) {
    self.siblings = siblings
    self.replicas = replicas
    self.quorums = quorums
  }

  /// How many replicas answer a read in a cluster; `nil` for a majority of them.
  public var readQuorum: Int? { quorums.read }
  /// How many replicas have a write in a cluster when it is acknowledged; `nil` for a majority of them.
  public var writeQuorum: Int? { quorums.write }

  /// Keys written at any replica; concurrent writes are kept as siblings, typed values are merged as
  /// CRDTs.
  ///
  /// - Parameters:
  ///   - siblings: what concurrent plain values become.
  ///   - replicas: how many stores hold each key: 1 to ``DatabaseOptions/replicas``, of a cluster the number
  ///     that it was founded with; `nil` for just as many, and for a keyspace that is there for what it was
  ///     made with. Fewer are the first ones of each partition's list. They are as evenly spread over the
  ///     stores as it happens, and over zones where there are as many zones as the database has replicas.
  ///     With one, losing a disk loses keys; and transactions with effects on keys of a partition abort while
  ///     the first place of its list moves between nodes.
  ///   - readQuorum: at a node of a cluster, how many replicas answer a read, 1 to their number, where the
  ///     request does not say. `nil` for a majority; for a keyspace that is there, for what it was made with.
  ///   - writeQuorum: as `readQuorum`, how many replicas have a write when it is acknowledged. Where both
  ///     together are more than there are replicas, a read meets each acknowledged write. What fewer than a
  ///     majority have may be lost with a node that is given up for dead.
  ///
  /// Without a cluster a keyspace cannot be made with quorums: all stores that are present answer.
  public static func eventual(
    _ siblings: Siblings = .keep, replicas: Int? = nil, readQuorum: Int? = nil, writeQuorum: Int? = nil
  ) -> KeyspacePolicy {
    KeyspacePolicy(
      siblings: siblings, replicas: replicas, KeyspaceQuorums(read: readQuorum, write: writeQuorum))
  }

  /// ``eventual(_:replicas:readQuorum:writeQuorum:)`` with siblings kept, on as many stores as the
  /// database has replicas.
  public static var eventual: KeyspacePolicy { eventual() }

  /// Keys written by transactions only, as versions at commit timestamps.
  ///
  /// Each key is on one store, whatever ``DatabaseOptions/replicas`` says: its partition's first replica.
  /// Losing that disk loses the key. Such a keyspace has no indexes and no change feed.
  /// In a cluster its partitions move between nodes while all members are there; and once there is such a
  /// keyspace, written or not, no dead member that has held partitions can be replaced.
  public static var transactional: KeyspacePolicy {
    var policy = KeyspacePolicy(siblings: .keep, replicas: nil)
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

extension KeyspacePolicy.Kind: CustomStringConvertible {
  /// The name that operators see and give.
  package var description: String {
    switch self {
    case .keep: "siblings"
    case .lastWriterWins: "lww"
    case .resolve: "resolve"
    case .transactional: "transactional"
    }
  }
}
