public import RoostCluster
import RoostEnvironment
public import RoostNetwork

/// The members of the cluster that a database is a node of: who they are, who asks to become one, and how
/// they are changed while the cluster serves.
///
/// ```swift
/// guard let cluster = database.cluster else { return }
/// for candidate in try await cluster.candidates() { try await cluster.admit(candidate.id) }
/// try await cluster.waitUntilBalanced(timeout: .seconds(600))
/// ```
///
/// A change is written into the cluster's directory at once, and carried out by all nodes in the background:
/// partitions move one by one, reads and writes go on. One change is under way at a time. Any node begins,
/// follows or cancels it; it goes on where that node ends.
///
/// Of the databases in one process the same is said of stores: ``Database/addStore(at:weight:zone:)``,
/// ``Database/removeStore(_:)-(MemberID)``, ``Database/rebalance``.
///
/// Thread-safe.
public struct ClusterMembers: Sendable {
  let database: Database
  let node: ClusterNode
  let network: Network

  /// This node's own number.
  public var own: MemberID { node.local.id }

  /// The members as this node knows them, those that are leaving among them. O(partitions · replicas).
  public var members: [ClusterMember] { node.status.members.map(ClusterMember.init) }

  /// This node's connections: those to the others, of which each has its address as in ``members``, and those
  /// that others have made. O(connections).
  public var networkStatistics: NetworkStatistics { network.statistics }

  /// Who asks to join: nodes that were started with ``ClusterOptions/joins`` and wait.
  ///
  /// - Throws: ``DatabaseError``: what the cluster's directory throws; `.closed`; `.notAMember` where this
  ///   node has left.
  public func candidates() async throws -> [ClusterCandidate] {
    let node = node
    return try await onWorkersOfItsOwn { () throws(DatabaseError) in try node.askingToJoin() }
  }

  /// Makes a member of a store that asks to join, and has its share of the partitions move there.
  ///
  /// - Parameters:
  ///   - candidate: one of ``candidates()``.
  ///   - weight: its share beside the others', 1 to 1000; `nil` for what its node says.
  ///   - zone: what fails together with it, at most 255 bytes; `nil` for what its node says.
  /// - Throws: ``DatabaseError`` with `.notAMember` (it does not ask to join, or no longer),
  ///   `.invalidMembers` (it is a member; too many members), `.invalidArgument` (weight or zone), `.busy`
  ///   (another change is under way), `.indeterminate` (it may have begun: ``rebalance`` tells); what the
  ///   directory throws; `.closed`.
  /// - Complexity: plans (``Ring/plan(to:)``) and changes the directory's record once.
  public func admit(_ candidate: MemberID, weight: Int? = nil, zone: String? = nil) async throws {
    try await change(MembersRequest([.admit(candidate, weight: weight, zone: zone)]))
  }

  /// Has a member give its partitions to the others. When it has nothing left, not even writes that it keeps
  /// for others, its calls throw `.notAMember`: then it is to be closed.
  ///
  /// - Parameters:
  ///   - isDead: its store is gone for good: the other replicas bring what it had, nobody waits for it, and
  ///     it is refused should it come back.
  ///   - isForced: partitions move though so many of their replicas are dead that acknowledged writes may be
  ///     lost, and a keyspace's keys that the dead alone had are; so are those that beside them only a member
  ///     still has that had given its place to a dead one, where that place comes back to it: it deletes what
  ///     it had first. And what seems to be there may be called dead. Replicas that are only out of reach are
  ///     waited for all the same.
  /// - Throws: as ``admit(_:weight:zone:)``; `.notAMember` (no such member), `.tooManyReplicas` (fewer
  ///   members than replicas would be left), `.invalidArgument` (called dead, it seems to be there),
  ///   `.wrongPolicy` (called dead, it has held partitions of a cluster with a transactional keyspace,
  ///   written or not: it alone may have keys of transactions, and know what became of some).
  public func remove(_ member: MemberID, isDead: Bool = false, isForced: Bool = false) async throws {
    try await change(MembersRequest([.remove(member, isDead: isDead)], isForced: isForced))
  }

  /// Gives a member another weight, and has partitions move accordingly.
  ///
  /// - Parameter weight: its share of the partitions beside the others', 1 to 1000.
  /// - Throws: as ``remove(_:isDead:isForced:)``.
  public func setWeight(_ weight: Int, of member: MemberID) async throws {
    try await change(MembersRequest([.weigh(member, weight)]))
  }

  /// Has a store that asks to join take a member's place, with its weight: what the one had the other gets,
  /// and nothing else moves.
  ///
  /// - Parameters:
  ///   - isDead, isForced: as in ``remove(_:isDead:isForced:)``.
  /// - Throws: as ``admit(_:weight:zone:)`` and ``remove(_:isDead:isForced:)``.
  public func replace(
    _ member: MemberID, by candidate: MemberID, isDead: Bool = false, isForced: Bool = false
  ) async throws {
    try await change(
      MembersRequest([.replace(member, by: candidate, isDead: isDead)], isForced: isForced))
  }

  /// Ends the change under way: what has moved stays where it is, what is moving stays where it was. Where
  /// none is under way, nothing happens.
  ///
  /// - Throws: as ``admit(_:weight:zone:)``.
  public func cancelChange() async throws { try await change(.cancel) }

  /// How far the change under way is, as this node knows it. O(partitions · replicas) where it has changed.
  public var rebalance: ClusterRebalance { ClusterRebalance(node.changeProgress) }

  /// Waits until no change is under way, as far as this node knows: one that it began itself or has heard of.
  ///
  /// - Throws: ``DatabaseError`` with `.deadlineExceeded` (the message says what is left and what this node
  ///   waits for; the change goes on), `.notAMember` (this node has left the cluster), `.closed`.
  public func waitUntilBalanced(timeout: Duration) async throws {
    let node = node
    try await onWorkersOfItsOwn { () throws(DatabaseError) in try node.waitUntilSettled(timeout) }
  }

  private func change(_ request: MembersRequest) async throws(DatabaseError) {
    let node = node
    _ = try await onWorkersOfItsOwn { () throws(DatabaseError) in try node.changeMembers(request) }
  }

  /// The directory may be a file that others have locked, and a wait may last: nothing else stands behind it.
  private func onWorkersOfItsOwn<R: Sendable>(
    _ body: @escaping @Sendable () throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    try await database.onOwnWorkers { _ throws(DatabaseError) in try body() }
  }
}

extension Database {
  /// The members of the cluster that this database is a node of; `nil` where it is of none.
  public var cluster: ClusterMembers? {
    membership.map { ClusterMembers(database: self, node: $0.node, network: $0.service.network) }
  }
}

/// A member of a cluster as one of its nodes sees it. A value.
public struct ClusterMember: Hashable, Sendable {
  public enum State: Hashable, Sendable {
    /// The node that says this.
    case this
    case reachable
    /// Nothing was heard of it for a while. It is asked last.
    case unreachable
  }

  public var id: MemberID
  /// Where its node listened when it became a member, `host:port`.
  public var name: String
  /// Where it listens now; `nil` where that is not known.
  public var address: String?
  /// What fails together with it; empty where it says nothing.
  public var zone: String
  /// Its share of the partitions beside the others', 1 to 1000; 0 where it is leaving.
  public var weight: Int
  /// Partitions that it holds.
  public var partitions: Int
  public var state: State

  init(_ member: NodeStatus.Member) {
    id = member.id
    name = member.name
    address = member.address.isEmpty ? nil : member.address
    zone = member.zone
    weight = member.weight
    partitions = member.partitions
    state =
      switch member.state {
      case .this: .this
      case .reachable: .reachable
      case .unreachable: .unreachable
      }
  }
}

/// How far a change of a cluster's members is. A value.
public struct ClusterRebalance: Hashable, Sendable {
  /// No change is under way: nothing moves, nothing has to, and nothing of what moved is left where it was.
  public var isBalanced: Bool
  /// Whether the change was cancelled: what it had begun is being cleared away.
  public var isCancelled: Bool
  /// Those that have begun among them.
  public var movesLeft: Int
  /// Those that have begun.
  public var moving: [PartitionMove]
  /// Partitions to delete from members that have given them away.
  public var dropsLeft: Int
  /// Members that are about to go.
  public var leaving: [MemberID]
  /// What this node was brought since it was started: partitions, keys that it lacked, bytes.
  public var movesDone: UInt64
  public var keysMoved: UInt64
  public var bytesMoved: UInt64
  /// Why nothing goes on at this node; `nil` where nothing holds it up. It is tried again by itself.
  public var waitsFor: String?

  init(_ progress: ChangeProgress) {
    isBalanced = !progress.isUnderWay
    isCancelled = progress.isCancelled
    movesLeft = progress.movesLeft
    moving = progress.moving
    dropsLeft = progress.dropsLeft
    leaving = progress.leaving
    movesDone = progress.movesDone
    keysMoved = progress.keys
    bytesMoved = progress.bytes
    waitsFor = progress.waitsFor.isEmpty ? nil : progress.waitsFor
  }
}
