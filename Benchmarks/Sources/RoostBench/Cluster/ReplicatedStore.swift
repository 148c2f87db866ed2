import Roost

/// What a write must survive at each replica that counts.
enum WriteDurability: String, CaseIterable, Codable, Sendable {
  /// The end of the process.
  case applied
  /// Power loss.
  case synced
}

/// Whose servers are measured.
enum ClusterEngine: String, CaseIterable, Codable, Sendable {
  case roost
  case roostTLS = "roost-tls"
  case redis
  case etcd

  /// What an acknowledged write and a read promise: said beside the figures, since they are not alike.
  var guarantees: String {
    switch self {
    case .roost, .roostTLS:
      "N = 3, W = 2, R = 2: a write is acknowledged by two of three replicas, any of them coordinates; a "
        + "read joins what two hold, so it sees every acknowledged write. Eventual: not linearizable among "
        + "clients that write one key at once. Goes on without any one node, with no failover"
    case .redis:
      "one primary, two replicas, SET and WAIT 1 in one message: acknowledged once the primary and one "
        + "replica have it. Reads ask the primary alone (R = 1). Replication is asynchronous all the same: "
        + "an acknowledged write can be lost in a failover, and without the primary nothing goes on until "
        + "somebody makes another. synced: appendfsync always; WAIT does not promise the replica's disk"
    case .etcd:
      "three members, Raft: a write is synced by a majority, in one order for all keys; reads are "
        + "linearizable. More is promised than by the others, and there is no weaker write: applied is not "
        + "offered. The client's path is HTTP with JSON (the gRPC gateway), which costs more than gRPC"
    }
  }

  /// Which of the durabilities it has.
  var durabilities: [WriteDurability] { self == .etcd ? [.synced] : WriteDurability.allCases }
}

/// Servers that hold each key several times, and what clients they have. Started by one task, and used by it.
protocol ReplicatedStore: AnyObject {
  var processes: [ServerProcess] { get }
  /// Whether calls of clients block their thread, so that each needs one of its own.
  var blocks: Bool { get }
  /// Has writes from now on survive that much.
  func prepare(_ durability: WriteDurability) throws
  /// - Parameter index: clients are spread over the servers by it, where any server does.
  func client(_ index: Int) throws -> any ReplicatedClient
}

/// One of those who read and write, one call at a time.
protocol ReplicatedClient: AnyObject, Sendable {
  /// Returns once it is acknowledged as its engine's guarantees say.
  func put(_ key: [UInt8], _ value: [UInt8], _ durability: WriteDurability) async throws
  func get(_ key: [UInt8]) async throws -> [UInt8]?
  func close() async
}

extension ReplicatedClient {
  func close() async {}
}
