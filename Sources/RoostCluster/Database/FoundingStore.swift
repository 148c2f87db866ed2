import RoostCausality
package import RoostEnvironment
import RoostStorage

/// A store on its way into a cluster: open, with an identity, and not yet told what database it is of, or
/// told so by an earlier process.
///
/// The identity is durable before anybody hears of it: a process that is killed while the cluster is being
/// founded comes back as the same member. Not thread-safe.
package final class FoundingStore {
  private var candidate: DatabaseOpening.Candidate
  private let options: DatabaseOptions
  private let environment: Environment

  /// Opens the store in a directory, or makes one.
  ///
  /// - Throws: `.invalidOption`, `.foreignStore` (a store with trees of its own), what opening a store
  ///   throws.
  package init(
    _ directory: String, _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) {
    try options.validate()
    var options = options
    // All members but this one are other processes'.
    options.allowsMissingStores = true
    options.isNodeOfCluster = true
    let path = try DatabaseOpening.normalized([directory])[0]
    var candidate = try DatabaseOpening.openStore(path, options, environment)
    do throws(DatabaseError) {
      try DatabaseOpening.read(&candidate)
      if candidate.identity == nil {
        candidate.identity = IdentityRecord(
          database: DatabaseID(environment.randomness),
          member: MemberID(rawValue: Member.newReplica(environment.randomness)), isComplete: false,
          replica: ReplicaID(rawValue: Member.newReplica(environment.randomness)), closed: nil)
        try Self.write(candidate)
      }
    } catch {
      DatabaseOpening.letGo(candidate, environment)
      throw error
    }
    self.candidate = candidate
    self.options = options
    self.environment = environment
  }

  private var identity: IdentityRecord { candidate.identity! }

  package var member: MemberID { identity.member }
  /// The database's that it is of; before it is a member, of the one that it would make.
  package var database: DatabaseID { identity.database }
  package var isMember: Bool { identity.isComplete }
  /// What its clock was surely below when it was last in use.
  var lastLife: Timestamp { candidate.clock ?? .zero }
  var path: String { candidate.path }

  /// Makes the database's part of it that is here.
  ///
  /// - Parameters:
  ///   - ring: as the cluster's directory has it.
  ///   - keyspaces: those of the cluster; more may be known here.
  ///   - isReaped: whether the cluster has reaped anything: then what the store has of partitions that were
  ///     others' in between is deleted.
  /// - Throws: `.foreignStore` where it is another database's, `.notAMember` where the ring does not have it,
  ///   `.corruption` where a keyspace does not fit the ring, and what writing to it throws. The store is
  ///   closed then, and has nothing of what was damaged.
  package func complete(
    _ database: DatabaseID, _ ring: RingState, _ keyspaces: [Schema.Keyspace], isReaped: Bool = false
  ) throws(DatabaseError) -> DatabaseCore {
    do throws(DatabaseError) {
      if isMember {
        guard identity.database == database else {
          throw DatabaseError(
            .foreignStore,
            "\(candidate.path) belongs to the database \(identity.database), the cluster's is \(database)")
        }
        // Before the store knows the new ring: whoever is killed here does it again.
        if isReaped, let known = candidate.ring { try forget(ring.regained(by: member, since: known), ring) }
        if (candidate.ring?.revision ?? 0) < ring.revision { candidate.ring = ring }
      } else {
        guard ring.ring.member(member) != nil else {
          throw DatabaseError(
            .notAMember,
            "the cluster was founded without the store in \(candidate.path), which has not asked to join")
        }
        candidate.identity!.database = database
        candidate.identity!.isComplete = true
        candidate.ring = ring
        candidate.clock = .zero
        candidate.schema = Schema()
      }
      // A disk that was rolled back to a clean close looks as it did then, and the others have seen dots that
      // it would mint again: so no incarnation outlives its process where there are others.
      if ring.ring.members.count > 1 { candidate.identity!.closed = nil }
      var schema = candidate.schema ?? Schema()
      if schema.adopt(keyspaces) { schema.revision += 1 }
      try schema.check(ring.ring)
      candidate.schema = schema
      // All or nothing: a store that is a member has its ring and its schema.
      try Self.write(candidate)
      var candidates = [candidate]
      return try DatabaseOpening.assemble(&candidates, options, environment)
    } catch {
      DatabaseOpening.letGo(candidate, environment)
      throw error
    }
  }

  /// Deletes partitions that the store has had before and has again.
  ///
  /// Whoever is the first of a partition's list has its transactional keys alone: what of them was committed
  /// since it came back is nowhere else, and the operator is to know.
  private func forget(_ partitions: [Int], _ ring: RingState) throws(DatabaseError) {
    for partition in partitions {
      if ring.ring.replica(of: partition, slot: 0) == member {
        options.warn(
          "the store in \(candidate.path) goes back to before partition \(partition) came to it: what it has "
            + "of that is deleted; transactional keys of it, if there were any, are lost")
      }
      try storing("partition \(partition) of an earlier time could not be deleted") { () throws(StoreError) in
        try candidate.store.deletePartition(partition)
      }
    }
  }

  /// Closes the store, which stays what it is.
  package func letGo() { DatabaseOpening.letGo(candidate, environment) }

  private static func write(_ candidate: DatabaseOpening.Candidate) throws(DatabaseError) {
    try storing("\(candidate.path) could not be made a member") { () throws(StoreError) in
      var batch = WriteBatch()
      if let identity = candidate.identity {
        batch.put(Member.SystemKey.identity, identity.encoded(), in: candidate.system)
      }
      if let ring = candidate.ring { batch.put(Member.SystemKey.ring, ring.encoded(), in: candidate.system) }
      if let schema = candidate.schema {
        batch.put(Member.SystemKey.schema, schema.encoded(), in: candidate.system)
      }
      if let clock = candidate.clock {
        batch.put(Member.SystemKey.clock, ClockRecord.encode(clock), in: candidate.system)
      }
      try candidate.store.commit(batch, .synced)
    }
  }
}

extension Schema {
  /// Takes in the keyspaces that it does not have.
  ///
  /// - Returns: whether there were any.
  mutating func adopt(_ others: [Keyspace]) -> Bool {
    let known = Set(keyspaces.map(\.id))
    let new = others.filter { !known.contains($0.id) }
    keyspaces += new
    keyspaces.sort { $0.name < $1.name }
    return !new.isEmpty
  }
}

extension DatabaseCore {
  /// Takes in the keyspaces of the cluster that are not known here.
  ///
  /// - Throws: what writing to a store throws.
  package func adopt(_ keyspaces: [Schema.Keyspace]) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      var next = schema
      if next.adopt(keyspaces) { try install(next) }
    }
  }
}
