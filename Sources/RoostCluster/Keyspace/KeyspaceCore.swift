import RoostCausality
import RoostEnvironment
import RoostStorage

/// A keyspace as one process holds it: a tree of records and one of changes in every member's store.
///
/// Synchronous; the face puts `async` around it. Thread-safe.
package final class KeyspaceCore: @unchecked Sendable {
  package let name: String
  package let schemaID: UInt64
  private let policyLock = Lock()
  private var openedWith: KeyspacePolicy
  /// As the schema has it: a policy that resolves on read may be opened without its function.
  package let kind: KeyspacePolicy.Kind
  /// How many of the ring's replicas hold this keyspace's keys: the first of each partition's list.
  package let replicas: Int
  /// What a request goes by that does not say how many replicas are to answer.
  let quorums: KeyspaceQuorums
  package let shared: DatabaseShared
  let parts: PublishedSlots<KeyspacePart>
  /// What contexts and tokens of this keyspace are bound to.
  let bindingSeed: UInt64
  /// Of the hashes of leaves that are kept: the same at all nodes of a cluster.
  let leafSeed: UInt64
  /// Wakes whoever waits for changes.
  package var signal: ChangeSignal { shared.signal }
  /// Those that were declared. Shared with whoever moves the keyspace's keys.
  let indexes: KeyspaceIndexes
  /// What a transactional keyspace has in place of `parts`; `nil` in an eventual one.
  package let versions: VersionedKeyspace?

  init(
    _ schema: Schema.Keyspace, _ policy: KeyspacePolicy, _ shared: DatabaseShared,
    _ indexes: KeyspaceIndexes? = nil
  ) {
    self.indexes = indexes ?? KeyspaceIndexes(schema)
    name = schema.name
    schemaID = schema.id
    openedWith = policy
    kind = schema.kind
    replicas = schema.replicas
    quorums = schema.quorums
    self.shared = shared
    parts = PublishedSlots(capacity: DatabaseCore.slotLimit)
    versions = schema.kind == .transactional ? VersionedKeyspace(schema, shared) : nil
    var identity = FieldWriter()
    identity.write(shared.id)
    identity.write(fixed: schema.id)
    bindingSeed = Checksum.xxh64(identity.bytes)
    leafSeed = Checksum.xxh64(identity.bytes, seed: 1)
  }

  /// What it was opened with. Where several asked for it, the function that resolves is the last one's.
  package var policy: KeyspacePolicy { policyLock.withLock { openedWith } }

  /// Takes over the function of a policy that resolves on read: whoever opened the keyspace before
  /// may not have had it.
  func adopt(_ policy: KeyspacePolicy) {
    guard case .resolve = policy.siblings else { return }
    policyLock.withLock { openedWith.siblings = policy.siblings }
  }

  /// Whether stores keep the leaves of its hash trees: where several have its keys, to be compared. With one
  /// replica most puts would pass the leaves by (`putSole`).
  var keepsLeaves: Bool { shared.keepsLeaves && replicas > 1 }

  /// Opens the keyspace's trees in a member's store. With the database's `topology` held.
  func attach(_ member: Member) throws(DatabaseError) {
    if let versions { return try versions.attach(member) }
    let name = name
    let part = try storing("the keyspace `\(name)` could not be opened in \(member.path)") {
      () throws(StoreError) in
      var options = TreeOptions()
      options.cutPrefixLength = StoredKey.prefixBytes
      let records = try member.store.tree(Self.recordTree(name), options)
      // Puts look what is under their keys, and most find nothing.
      try records.keepKeyFilter()
      let leaves = keepsLeaves ? try member.store.tree(Self.leafTree(name)) : nil
      return KeyspacePart(
        member, records: records,
        changes: try member.store.tree(Self.changeTree(name), options),
        // Nothing that is in the store was ever above the clock.
        LatestChanges(
          partitionCount: shared.routes.partitionCount, start: shared.clock.latest.rawValue),
        RecentPuts(shared.recentPutMemory),
        leaves.map { KeptLeaves($0, seed: leafSeed, path: member.path) })
    }
    for index in indexes.kept {
      try index.attach(part, keyspace: name)
      try index.finishIfEmpty(part)
    }
    parts.publish(part, at: member.slot)
    // A store that was a member before may have to go on.
    for index in indexes.kept { build(index) }
  }

  /// Takes a member that leaves out.
  func withdraw(_ slot: Int) {
    parts.withdraw(slot)
    versions?.withdraw(slot)
  }

  package static func recordTree(_ keyspace: String) -> String { "keyspace/" + keyspace }
  package static func changeTree(_ keyspace: String) -> String { "changes/" + keyspace }
  package static let leafTrees = "leaves/"
  package static func leafTree(_ keyspace: String) -> String { leafTrees + keyspace }

  // MARK: - Where keys are

  /// A key's hash and partition.
  package typealias Place = (hash: UInt64, partition: Int)

  /// Where a key is, once its length was found good.
  @inline(__always)
  func locate(_ key: RawSpan) throws(DatabaseError) -> Place {
    guard key.byteCount >= 1, key.byteCount <= StoredKey.longestKey else { throw badKey(key.byteCount) }
    let hash = Placement.hash(key)
    return (hash, Placement.partition(ofHash: hash, count: shared.routes.partitionCount))
  }

  @inline(never)
  private func badKey(_ count: Int) -> DatabaseError {
    DatabaseError(
      .invalidArgument,
      count == 0
        ? "a key must have at least one byte"
        : "a key of \(count) bytes; the limit is \(StoredKey.longestKey)")
  }

  /// What a context of the key is bound to.
  @inline(__always)
  package func binding(_ key: RawSpan) -> UInt64 { Checksum.xxh64(key, seed: bindingSeed) }

  /// The first present member's part of a partition.
  @inline(__always)
  func firstPart(_ partition: Int) throws(DatabaseError) -> KeyspacePart {
    let slot = shared.routes.owner(partition)
    if slot != Int(RouteTable.none), let part = parts[slot] { return part }
    return try laterPart(partition)
  }

  @inline(never)
  private func laterPart(_ partition: Int) throws(DatabaseError) -> KeyspacePart {
    try shared.checkOpen()
    try checkEventual()
    for replica in 0..<replicas {
      let slot = shared.routes.owner(partition, replica)
      if slot != Int(RouteTable.none), let part = parts[slot] { return part }
    }
    throw DatabaseError(
      .unreachable, "no open store holds partition \(partition) of the keyspace `\(name)`")
  }

  /// - Throws: `.wrongPolicy` where the keyspace is transactional. It has no parts, so that every call that
  ///   looks for one comes here.
  package func checkEventual() throws(DatabaseError) {
    if versions == nil { return }
    throw DatabaseError(
      .wrongPolicy,
      "the keyspace `\(name)` is transactional: it has no contexts, conditions, times to live, typed values, "
        + "indexes or feed")
  }

  /// All present parts of a partition, its replicas in order, and last the one it is moving to.
  func allParts(
    _ partition: Int
  ) throws(DatabaseError) -> (owners: [KeyspacePart], pending: KeyspacePart?) {
    var owners: [KeyspacePart] = []
    for replica in 0..<replicas {
      let slot = shared.routes.owner(partition, replica)
      if slot != Int(RouteTable.none), let part = parts[slot] { owners.append(part) }
    }
    if owners.isEmpty { _ = try laterPart(partition) }
    return (owners, pendingPart(partition))
  }

  /// The part that a partition is moving to, where it is, with this keyspace's keys, and its store is open.
  @inline(__always)
  func pendingPart(_ partition: Int) -> KeyspacePart? {
    let target = shared.routes.pendingOwner(partition, ofFirst: replicas)
    return target < parts.capacity ? parts[target] : nil
  }

  /// Nothing is written to a partition that may be another store's by now, which is not open.
  @inline(__always)
  func checkWritable(_ partition: Int) throws(DatabaseError) {
    if shared.routes.pendingOwner(partition, ofFirst: replicas) == Int(RouteTable.absent) {
      throw movingAway(partition)
    }
  }

  @inline(never)
  private func movingAway(_ partition: Int) -> DatabaseError {
    DatabaseError(
      .unreachable,
      "partition \(partition) is moving to a store that is not open, and may be there already: it "
        + "cannot be written meanwhile")
  }

  /// Whether a write to the key's partition is likely to wait for the engine. A hint.
  package func mayWait(_ key: RawSpan) -> Bool {
    guard let place = try? locate(key) else { return false }
    return mayWait(place, at: shared.clock.physicalMilliseconds)
  }

  @inline(__always)
  func mayWait(_ place: Place, at physical: UInt64) -> Bool {
    let partition = place.partition
    guard let part = try? firstPart(partition) else { return false }
    if unsafe part.member.unretainedStore.borrow({ $0.mayWait }) { return true }
    // A bound that the clock is past is written to every store first, with the stripe held.
    if shared.clock.mayWait(physical) { return true }
    if pendingPart(partition)?.member.store.mayWait == true { return true }
    guard replicas > 1 else { return false }
    for replica in 1..<replicas {
      let slot = shared.routes.owner(partition, replica)
      if slot != Int(RouteTable.none), parts[slot]?.member.store.mayWait == true { return true }
    }
    return false
  }
}

/// A keyspace's trees in one member's store.
final class KeyspacePart: Sendable {
  let member: Member
  let records: Tree
  let changes: Tree
  let latestChanges: LatestChanges
  let recentPuts: RecentPuts
  /// Of the hash trees that replicas compare; `nil` where no other process has replicas of the keyspace.
  let leaves: KeptLeaves?
  /// Held while a record is reaped: the mark of what was reaped only rises.
  let reaping = Lock()

  init(
    _ member: Member, records: Tree, changes: Tree, _ latestChanges: LatestChanges,
    _ recentPuts: RecentPuts, _ leaves: KeptLeaves?
  ) {
    self.member = member
    self.records = records
    self.changes = changes
    self.latestChanges = latestChanges
    self.recentPuts = recentPuts
    self.leaves = leaves
  }
}
