import RoostEnvironment
import RoostStorage

// By which ring a node goes, and how two nodes find out that they go by different ones.
//
// A change of the ring changes the lists of a few partitions at a time. So messages between replicas do not
// name the whole ring: they name the list of the one partition that they are about, by a hash of who is in
// it and of whom it is moving to. Where that is not the receiver's, one of the two has missed a change of
// this partition: the one with the lower revision looks into the directory. Partitions that stay where they
// are never notice.
//
// A keyspace that has fewer replicas than the database is held by the first members of each list. So once a
// cluster has one, the order counts too: a list never changes its order from then on, and no member its place
// but by a move, which brings what the place is to have (`Ring.plan(to:keepsOrder:)`).

/// By which list of a partition a message goes. A plain value.
struct RingPrint: Hashable, Sendable {
  /// Of the sender's ring state.
  var revision: UInt64
  /// Of the partition's list.
  var print: UInt64

  func write(to writer: inout FieldWriter) {
    writer.write(varint: revision)
    writer.write(fixed: print)
  }

  init(revision: UInt64, print: UInt64) {
    self.revision = revision
    self.print = print
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    revision = try reader.readOrdinal()
    print = try reader.readFixed()
  }
}

/// A cluster's ring as a node goes by it: what its store has made durable, and what the routes of its process
/// say. Immutable, but for the plan, which is made when it is first asked for.
final class RingView: @unchecked Sendable {
  let state: RingState
  let change: MembershipChange?
  /// Whether the directory said so since this process began: a store may have missed much.
  let isConfirmed: Bool
  /// Whether the cluster has had transactions.
  let hasTransactions: Bool
  /// Whether it may have keyspaces with fewer replicas than the database.
  let hasFewerReplicas: Bool
  /// Members that have held a partition since: none of them is given up for dead.
  let holders: Set<MemberID>
  private let pending: [Int: PartitionMove]
  private let prints: [UInt64]
  private let lock = Lock()
  // Guarded by `lock`.
  private var planned: RingPlan?

  init(
    _ state: RingState, _ change: MembershipChange?, isConfirmed: Bool, hasTransactions: Bool = false,
    hasFewerReplicas: Bool = false, holders: Set<MemberID> = []
  ) {
    self.state = state
    self.hasTransactions = hasTransactions
    self.hasFewerReplicas = hasFewerReplicas
    self.holders = holders
    self.change = change
    self.isConfirmed = isConfirmed
    pending = Dictionary(state.copies.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
    prints = (0..<state.ring.partitionCount).map { [pending] partition in
      let (replicas, move) = (state.ring.replicas(of: partition), pending[partition])
      return hasFewerReplicas ? Self.orderedPrint(replicas, move) : Self.print(replicas, move?.to)
    }
  }

  /// The hash of a partition's list: XXH64 of its members by rising number, 8 bytes each, and behind them the
  /// one that it is moving to, where there is one.
  ///
  /// The order says who is asked first, and nothing of who holds what.
  static func print(_ replicas: [MemberID], _ pending: MemberID?) -> UInt64 {
    var writer = FieldWriter()
    for member in replicas.sorted() { writer.write(fixed: member.rawValue) }
    if let pending { writer.write(fixed: pending.rawValue) }
    return Checksum.xxh64(writer.bytes)
  }

  /// The hash where the order says who holds what: XXH64, seed 1, of the members in their order, and behind
  /// them the one that it is moving to and the place that it is to have, as 8 bytes too.
  static func orderedPrint(_ replicas: [MemberID], _ move: PartitionMove?) -> UInt64 {
    var writer = FieldWriter()
    for member in replicas { writer.write(fixed: member.rawValue) }
    if let move {
      writer.write(fixed: move.to.rawValue)
      writer.write(fixed: UInt64(move.slot))
    }
    // Never that of a list whose order says nothing.
    return Checksum.xxh64(writer.bytes, seed: 1)
  }

  var revision: UInt64 { state.revision }
  var ring: Ring { state.ring }

  func print(of partition: Int) -> RingPrint { RingPrint(revision: revision, print: prints[partition]) }

  /// The same of several: by the hash of their lists' hashes, in the order given.
  func print(of partitions: [Int]) -> RingPrint {
    var writer = FieldWriter()
    for partition in partitions { writer.write(fixed: prints[partition]) }
    return RingPrint(revision: revision, print: Checksum.xxh64(writer.bytes))
  }

  func replicas(of partition: Int) -> [MemberID] { ring.replicas(of: partition) }

  /// Whom a partition is moving to.
  func pending(of partition: Int) -> MemberID? { pending[partition]?.to }

  func isReplica(_ member: MemberID, of partition: Int) -> Bool {
    (0..<ring.replicas).contains { ring.replica(of: partition, slot: $0) == member }
  }

  // MARK: - Of a keyspace, which may have fewer replicas than the database

  /// The members that hold a keyspace's keys of a partition.
  func replicas(of partition: Int, in keyspace: KeyspaceCore) -> [MemberID] {
    (0..<min(keyspace.replicas, ring.replicas)).map { ring.replica(of: partition, slot: $0) }
  }

  /// Whom a keyspace's keys of a partition are moving to.
  func pending(of partition: Int, in keyspace: KeyspaceCore) -> MemberID? {
    pending[partition].flatMap { $0.slot < keyspace.replicas ? $0.to : nil }
  }

  func isReplica(_ member: MemberID, of partition: Int, in keyspace: KeyspaceCore) -> Bool {
    (0..<min(keyspace.replicas, ring.replicas)).contains {
      ring.replica(of: partition, slot: $0) == member
    }
  }

  /// Whether a member takes a keyspace's writes of a partition: as a replica, or because it is moving there.
  func takesWrites(_ member: MemberID, of partition: Int, in keyspace: KeyspaceCore) -> Bool {
    pending(of: partition, in: keyspace) == member || isReplica(member, of: partition, in: keyspace)
  }

  /// All members, those among them that hold nothing any more and have yet to say that they are gone.
  var everybody: [MemberID] {
    ring.members.map(\.id) + state.places.keys.filter { ring.member($0) == nil }.sorted()
  }

  /// Whether a member is a replica of a partition, and no move of it away has begun.
  func staysReplica(_ member: MemberID, of partition: Int) -> Bool {
    isReplica(member, of: partition)
      && !state.copies.contains { $0.partition == partition && $0.from == member }
  }

  /// Whether it has a part in the cluster, if only to delete what it gave away.
  func knows(_ member: MemberID) -> Bool { ring.member(member) != nil || state.places[member] != nil }

  /// Whether a member holds nothing any more, and has yet to say that it is gone.
  func isDeparting(_ member: MemberID) -> Bool { ring.member(member) == nil && state.places[member] != nil }

  /// Whether it has also deleted all that it held: what is left is to give away what it keeps for others.
  func isLeaving(_ member: MemberID) -> Bool {
    isDeparting(member) && !state.drops.contains { $0.member == member }
  }

  /// Whether who has which place of a list changes by a move only.
  var keepsOrder: Bool { hasTransactions || hasFewerReplicas }

  /// What is left to move of the change under way; `nil` where there is none, or it was cancelled.
  ///
  /// - Complexity: as `Ring.plan`, the first time.
  var plan: RingPlan? {
    guard let change, !change.isCancelled else { return nil }
    return lock.withLock {
      // As `DatabaseRecord.planRest`.
      if planned == nil { planned = try? ring.plan(to: ring.staying, keepsOrder: true) }
      return planned
    }
  }
}
