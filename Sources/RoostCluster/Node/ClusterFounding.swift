package import RoostEnvironment
import RoostStorage

// How a cluster begins: each node writes its store into the directory as a founder. Once as many are there as
// were asked for, whoever sees it makes the ring of those that registered first, and writes it as the
// directory's `database`, if nobody has before. All nodes take what stands there.
//
// A node that comes later, with a store that the ring does not have, may ask to join: then it is a candidate
// in the directory for as long as it waits, until an operator's change of the members (`MembersRequest`) has
// it in the ring.

/// A node that has registered, and waits for its cluster to be founded. Not thread-safe, but for `cancel`.
package final class ClusterFounding: @unchecked Sendable {
  let store: FoundingStore
  let options: DatabaseOptions
  let cluster: ClusterOptions
  let directory: any ClusterDirectory
  let environment: Environment
  private let lock = Lock()
  private let changed: Condition
  private let address: NodeAddress
  private var lease: DirectoryLease?
  /// Whether it asks for a place in a cluster that there is.
  private var isCandidate = false
  /// Told once where it waits for an operator, before it does. Set before the wait begins.
  package var asksToJoin: (@Sendable () -> Void)?
  // Guarded by `lock`.
  private var hasChanged = true
  private var isCancelled = false

  /// Opens the node's store, and registers it where the cluster does not know it yet.
  ///
  /// - Parameters:
  ///   - path: the store's directory.
  ///   - address: what people know the store by, from now on.
  /// - Throws: `.invalidOption`, `.foreignStore`, what opening a store or the directory throws.
  package init(
    at path: String, _ options: DatabaseOptions, _ cluster: ClusterOptions,
    directory: any ClusterDirectory, address: NodeAddress, _ environment: Environment
  ) throws(DatabaseError) {
    try cluster.validate()
    try options.validate()
    _ = try ReapingRule(cluster, options)
    store = try FoundingStore(path, options, environment)
    self.options = options
    self.cluster = cluster
    self.directory = directory
    self.environment = environment
    changed = Condition(lock)
    self.address = address
    do throws(DatabaseError) { try register() } catch {
      store.letGo()
      throw error
    }
  }

  /// Says in the directory that this store waits, for as long as it does: one that came once and never again
  /// must not get a place in the ring.
  private func register() throws(DatabaseError) {
    if store.isMember { return }
    if let lease { if try directory.renew(lease) { return } }
    let name =
      isCandidate ? ClusterRecordName.candidate(store.member) : ClusterRecordName.founder(store.member)
    let founder = FounderRecord(
      cluster: cluster.cluster, name: address.description, zone: cluster.zone, weight: cluster.weight)
    let granted = try directory.grantLease(cluster.lease)
    let old = try directory.record(name)
    let version = try directory.compareAndSet(
      name, version: old?.version ?? 0, founder.encoded(), lease: granted)
    lease = version == nil ? nil : granted
    if isCandidate, lease != nil {
      asksToJoin?()
      asksToJoin = nil
    }
  }

  /// The number of its store, by which an operator admits it.
  package var member: MemberID { store.member }

  /// Says that it asks to join, where the cluster is there without it; before ``finish(until:)``, which does
  /// it else.
  ///
  /// - Throws: what the directory throws.
  package func askToJoin() throws(DatabaseError) {
    guard cluster.joins, !store.isMember, !isCandidate else { return }
    guard let record = try directory.record(ClusterRecordName.database) else { return }
    guard try DatabaseRecord(decoding: record.value).ring.ring.member(store.member) == nil else { return }
    withdraw()
    isCandidate = true
    try register()
  }

  /// Whether its store is a member already.
  package var isMember: Bool { store.isMember }

  /// Ends the wait in ``finish(until:)``, from any thread.
  package func cancel() {
    lock.withLock {
      isCancelled = true
      changed.broadcast()
    }
  }

  /// Lets the store go: the cluster waits on without this node, which may come back.
  package func letGo() {
    withdraw()
    store.letGo()
  }

  /// Where the directory cannot be told, the lease tells.
  private func withdraw() {
    if let lease { try? directory.revoke(lease) }
    lease = nil
  }

  /// Waits until the cluster is founded.
  ///
  /// - Parameter deadline: of the monotonic clock, in nanoseconds; `nil` for what the options say.
  /// - Returns: the part of its database that is here.
  /// - Throws: `.deadlineExceeded` (says how many founders there are), `.closed` where it was cancelled,
  ///   `.notAMember`, `.foreignStore`, `.tooManyReplicas`, what the directory or the store throws. The store
  ///   is closed then.
  package func finish(until deadline: UInt64? = nil) throws(DatabaseError) -> DatabaseCore {
    let limit = cluster.foundingTimeout.map { environment.time.monotonicNanoseconds &+ $0.wholeNanoseconds }
    let deadline = deadline ?? limit ?? .max
    let (database, schema, isReaped): (DatabaseRecord, Schema, Bool)
    do throws(DatabaseError) {
      database = try waitForDatabase(until: deadline)
      if store.isMember, !cluster.brokenReaping.contains(.rolledBackDisk) {
        try ReapingEvidence.check(
          store.member, at: store.path, lastLife: store.lastLife, directory,
          slack: ReapingRule.slack(options.maximumClockOffset))
      }
      schema = try directory.record(ClusterRecordName.schema).map { record throws(DatabaseError) in
        try Schema(decoding: record.value)
      } ?? Schema()
      isReaped =
        try !directory.records(prefix: ReapingEvidence.names).isEmpty
        && !cluster.brokenReaping.contains(.earlierTenures)
    } catch {
      letGo()
      throw error
    }
    withdraw()
    return try store.complete(
      database.database, database.ring, schema.keyspaces, isReaped: isReaped)
  }

  private func waitForDatabase(until deadline: UInt64) throws(DatabaseError) -> DatabaseRecord {
    let watch = directory.watch(prefix: "") { [weak self] _ in self?.directoryChanged() }
    defer { watch.cancel() }
    while true {
      if let record = try directory.record(ClusterRecordName.database) {
        let database = try DatabaseRecord(decoding: record.value)
        guard database.cluster == cluster.cluster else {
          throw DatabaseError(
            .foreignStore,
            "the directory is the cluster `\(database.cluster)`'s, not the cluster `\(cluster.cluster)`'s")
        }
        guard cluster.joins, !store.isMember, database.ring.ring.member(store.member) == nil else {
          return database
        }
        if !isCandidate {
          withdraw()
          isCandidate = true
        }
        try register()
        try wait(
          until: deadline,
          "to be admitted to the cluster `\(cluster.cluster)` as the member \(store.member)")
        continue
      }
      if store.isMember {
        throw DatabaseError(
          .notAMember, "the directory knows no database of the cluster that the store was a member of")
      }
      try register()
      let count = try found()
      guard count < cluster.foundingNodes else { continue }
      try wait(
        until: deadline,
        "for the cluster `\(cluster.cluster)` to be founded: \(count) of \(cluster.foundingNodes) nodes have "
          + "registered")
    }
  }

  private func directoryChanged() {
    lock.withLock {
      hasChanged = true
      changed.broadcast()
    }
  }

  private func wait(until deadline: UInt64, _ what: @autoclosure () -> String) throws(DatabaseError) {
    // The lease is kept up meanwhile.
    let next = environment.time.monotonicNanoseconds &+ cluster.lease.wholeNanoseconds / 3
    try lock.withLock { () throws(DatabaseError) in
      while !hasChanged {
        if isCancelled { throw DatabaseError(.closed, "the node was ended while it waited \(what())") }
        guard environment.time.monotonicNanoseconds < deadline else {
          throw DatabaseError(.deadlineExceeded, "waited \(what())")
        }
        if environment.time.monotonicNanoseconds >= next { break }
        _ = environment.time.wait(on: changed, untilMonotonicNanoseconds: min(deadline, next))
      }
      hasChanged = false
    }
  }

  /// Makes the ring, where enough have registered.
  ///
  /// - Returns: how many have.
  private func found() throws(DatabaseError) -> Int {
    var founders: [(version: UInt64, member: MemberID, founder: FounderRecord)] = []
    for record in try directory.records(prefix: ClusterRecordName.founders) {
      let founder = try FounderRecord(decoding: record.value)
      guard founder.cluster == cluster.cluster else { continue }
      founders.append((record.version, try FounderRecord.member(ofRecord: record.name), founder))
    }
    guard founders.count >= cluster.foundingNodes else { return founders.count }
    var members: [RingMember] = []
    var places: [MemberID: String] = [:]
    founders.sort { $0.version < $1.version }
    for (_, member, founder) in founders.prefix(cluster.foundingNodes) {
      members.append(
        RingMember(id: member, name: founder.name, weight: founder.weight, zone: founder.zone))
      places[member] = founder.name
    }
    let ring: Ring
    do throws(RingError) {
      ring = try Ring(
        partitionCount: options.partitionCount(stores: members.count),
        replicas: cluster.replicas ?? min(3, members.count), members: members)
    } catch { throw DatabaseError(error) }
    let database = DatabaseRecord(
      cluster: cluster.cluster, database: store.database, ring: RingState(ring: ring, places: places))
    // Where another founder was first, its ring is the one.
    _ = try directory.compareAndSet(
      ClusterRecordName.database, version: 0, database.encoded(), lease: nil)
    return founders.count
  }
}
