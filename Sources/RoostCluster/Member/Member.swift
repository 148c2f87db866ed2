package import RoostCausality
package import RoostEnvironment
package import RoostStorage

/// One open store of a database: its system tree, and the identity under which it mints dots.
///
/// Thread-safe.
@safe
package final class Member: @unchecked Sendable {
  /// The tree that holds what the database knows of itself.
  package static let systemTree = "database"
  /// The tree of what transactions are prepared and decided here.
  package static let transactionTree = "transactions"

  package enum SystemKey {
    package static let identity = "identity"
    package static let clock = "clock"
    package static let ring = "ring"
    package static let schema = "schema"
    package static let handover = "handover"
    /// Begins the keys of what a node of a cluster has given up, one a partition.
    package static let handovers = "handover/"
  }

  /// Its place in the tables of this process.
  package let slot: Int
  package let id: MemberID
  package let path: String
  package let store: Store
  /// `store`, for writes: counting its references is slow, because it has weak ones.
  let unretainedStore: Unmanaged<Store>
  package let system: Tree
  /// Runs what would block callers' threads: syncs on the urgent lane, moves on the other.
  package let workers: any Workers
  private let environment: Environment
  /// As ``DatabaseOptions/keepsIncarnations``.
  private let keepsIncarnation: Bool
  package let calls: DeferredCalls
  /// Keeps commits of versions and the collection of old ones apart.
  package let versionGate = VersionGate()

  /// Guards the identity, and that dots rise.
  private let lock = Lock()
  private var identity: IdentityRecord
  private var counter: UInt64

  init(
    slot: Int, path: String, store: Store, system: Tree, identity: IdentityRecord, counter: UInt64,
    keepsIncarnation: Bool = false, _ environment: Environment
  ) {
    self.slot = slot
    self.id = identity.member
    self.path = path
    self.store = store
    unsafe unretainedStore = Unmanaged.passUnretained(store)
    self.system = system
    self.identity = identity
    self.counter = counter
    self.keepsIncarnation = keepsIncarnation
    self.environment = environment
    workers = environment.makeWorkers()
    calls = DeferredCalls(store, workers, path)
  }

  // MARK: - Dots

  /// The incarnation that mints now.
  package var replica: ReplicaID { lock.withLock { identity.replica } }

  /// Names a new write. Under the key's lock.
  @inline(__always)
  func mint() -> Dot {
    lock.withLock {
      counter &+= 1
      return Dot(replica: identity.replica, counter: counter)
    }
  }

  /// Names a put, unless it needs the dot of another incarnation, or a newer one. Under the key's lock.
  @inline(__always)
  func mint(for put: SolePut) -> Dot? {
    lock.withLock {
      let replica = identity.replica
      if let needed = put.replica, needed != replica { return nil }
      if put.seen > counter { return nil }
      counter &+= 1
      return Dot(replica: replica, counter: counter)
    }
  }

  /// Whether a state names this incarnation with a counter that it has not reached: then someone
  /// holds dots that this store has lost, or never minted.
  func isAheadOfUs(_ vector: CompactVector) -> Bool {
    lock.withLock { vector[identity.replica] > counter }
  }

  /// Takes a new incarnation: a durable one, before it mints its first dot.
  ///
  /// Whatever happened to the dots of the old one, none of the new can meet them.
  ///
  /// - Parameter known: of the old one, as far as a record has seen it: where the rule is broken on purpose,
  ///   it goes on from there.
  func takeNewIncarnation(after known: UInt64 = 0) throws(DatabaseError) {
    // Held across the sync: until the record is durable nobody mints, as either.
    try lock.withLock { () throws(DatabaseError) in
      if keepsIncarnation {
        counter = max(counter, known)
        return
      }
      var next = identity
      next.replica = ReplicaID(rawValue: Self.newReplica(environment.randomness))
      next.closed = nil
      try write(next)
      identity = next
      counter = 0
    }
  }

  static func newReplica(_ randomness: any Randomness) -> UInt64 {
    while true {
      let value = randomness.next()
      if value != 0 { return value }
    }
  }

  private func write(_ record: IdentityRecord) throws(DatabaseError) {
    try storing("the identity of \(path) could not be written") { () throws(StoreError) in
      try system.put(SystemKey.identity, record.encoded(), .synced)
    }
  }

  // MARK: - System records

  /// Writes a record of the system tree durably.
  func writeSystem(_ key: String, _ value: [UInt8]) throws(DatabaseError) {
    try storing("\(key) of \(path) could not be written") { () throws(StoreError) in
      try system.put(key, value, .synced)
    }
  }

  /// Removes a record of the system tree durably.
  func removeSystem(_ key: String) throws(DatabaseError) {
    try storing("\(key) of \(path) could not be removed") { () throws(StoreError) in
      try system.delete(key, .synced)
    }
  }

  // MARK: - Closing

  /// Notes a clean close, so that the next open goes on as the same incarnation, and closes.
  ///
  /// - Parameter isClean: whether to note it; else the next open takes it for one after a kill.
  func close(isClean: Bool = true) throws(DatabaseError) {
    workers.shutdown()
    calls.close()
    var first: DatabaseError?
    do throws(DatabaseError) {
      try lock.withLock { () throws(DatabaseError) in
        guard isClean else { return }
        var record = identity
        record.closed = try IdentityRecord.CleanClose.now(counter, path, environment)
        if record.closed != nil { try write(record) }
      }
    } catch { first = error }
    do throws(StoreError) { try store.close() } catch {
      if first == nil { first = DatabaseError(error, "\(path) could not be closed") }
    }
    if let first { throw first }
  }
}
