import RoostCausality
package import RoostEnvironment
import RoostStorage

// How a database is opened:
//
// 1. Each directory's marker is looked at, then its store is opened (which replaces the marker). A
//    directory without a store is left alone until it is known that the others are no whole
//    database: only then is one made there.
// 2. The identity records tell who is who. Where no store says that creation was completed, the
//    database is made, from the beginning: nobody can have used it yet.
// 3. The ring and the schema of the highest revision count; stores that lag are brought up to them. What a
//    store gave up for another is settled by that ring, or, without some store, served by nobody.
//    A member whose store was not given is missing: an error that names it, unless asked for.
// 4. Each store goes on as the incarnation that it was only after a clean close of just this
//    directory; else it takes a new one. The record that says "open" is durable before any dot is
//    minted.

/// Opens the stores of a database and makes one of them.
package enum DatabaseOpening {
  struct Parts {
    var environment: Environment
    var options: DatabaseOptions
    var id: DatabaseID
  }

  /// A store that was opened, and what it says of itself.
  struct Candidate {
    var path: String
    var store: Store
    var system: Tree
    var marker: FileInfo?
    var identity: IdentityRecord?
    var ring: RingState?
    var schema: Schema?
    var clock: Timestamp?
    var handover: HandoverRecord?
    /// Of a node of a cluster.
    var givenUp: [HandoverRecord] = []
  }

  package static func open(
    _ directories: [String], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) -> DatabaseCore {
    try options.validate()
    let paths = try normalized(directories)
    try checkOptions(options, paths)
    try checkRing(paths, options, environment)
    var candidates: [Candidate] = []
    do throws(DatabaseError) {
      candidates = try openStores(paths, options, environment)
      if options.opensKnownStores { try openKnownStores(&candidates, options, environment) }
      return try assemble(&candidates, options, environment)
    } catch {
      for candidate in candidates { letGo(candidate, environment) }
      throw error
    }
  }

  /// Opens the stores that there are, then makes those that there are not, where they are wanted. In
  /// the order of the paths.
  private static func openStores(
    _ paths: [String], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) -> [Candidate] {
    var found: [String: Candidate] = [:]
    do throws(DatabaseError) {
      var present: Set<String> = []
      for path in paths {
        let marker = try storing("\(path) could not be opened") { () throws(StoreError) in
          try Store.markerInfo(in: path, environment.fileSystem)
        }
        if marker != nil { present.insert(path) }
      }
      if options.creation == .mustNotExist, let path = paths.first(where: { present.contains($0) }) {
        throw DatabaseError(
          StoreError(.alreadyExists, "there is a store already", file: path), "\(path) must be empty")
      }
      for path in paths where present.contains(path) {
        found[path] = try openStore(path, options, environment)
        try read(&found[path]!)
      }
      let absent = paths.filter { found[$0] == nil }
      if let whole = paths.lazy.compactMap({ found[$0] }).first(where: { $0.identity?.isComplete == true }) {
        try checkAbsent(absent, paths.compactMap { found[$0]?.ring }, whole.path)
      } else {
        for path in absent { found[path] = try openStore(path, options, environment) }
      }
      return paths.compactMap { found[$0] }
    } catch {
      for candidate in found.values { letGo(candidate, environment) }
      throw error
    }
  }

  static func normalized(_ directories: [String]) throws(DatabaseError) -> [String] {
    guard !directories.isEmpty else {
      throw DatabaseError(.invalidArgument, "a database needs at least one directory")
    }
    guard directories.count <= DatabaseCore.slotLimit / 2 else {
      throw DatabaseError(
        .invalidArgument, "\(directories.count) directories; the limit is \(DatabaseCore.slotLimit / 2)")
    }
    var paths: [String] = []
    for directory in directories {
      let path = withoutTrailingSlashes(directory)
      guard !path.isEmpty else { throw DatabaseError(.invalidArgument, "a directory's name is empty") }
      guard !paths.contains(path) else {
        throw DatabaseError(.invalidArgument, "the directory \(path) is named twice")
      }
      paths.append(path)
    }
    return paths
  }

  static func withoutTrailingSlashes(_ path: String) -> String {
    var path = Substring(path)
    while path.count > 1, path.hasSuffix("/") { path = path.dropLast() }
    return String(path)
  }

  static func storeOptions(_ options: DatabaseOptions) -> StoreOptions {
    var storeOptions = options.store
    storeOptions.creation = options.creation
    // Syncs are asked for by name, once for all that waits.
    storeOptions.durability = .applied
    return storeOptions
  }

  static func openStore(
    _ path: String, _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) -> Candidate {
    let (marker, store) = try storing("\(path) could not be opened") { () throws(StoreError) in
      (
        try Store.markerInfo(in: path, environment.fileSystem),
        try Store.open(at: path, storeOptions(options), environment: environment)
      )
    }
    do throws(DatabaseError) {
      // A plain store is left as it is.
      if let strange = store.treeNames.first, store.existingTree(Member.systemTree) == nil {
        throw DatabaseError(
          .foreignStore, "\(path) is a store with trees of its own (`\(strange)`), not a database's")
      }
      let system = try storing("\(path) could not be opened") { () throws(StoreError) in
        try store.tree(Member.systemTree)
      }
      return Candidate(path: path, store: store, system: system, marker: marker)
    } catch {
      try? store.close()
      throw error
    }
  }

  static func read(_ candidate: inout Candidate) throws(DatabaseError) {
    let path = candidate.path
    func record(_ key: String) throws(DatabaseError) -> [UInt8]? {
      let system = candidate.system
      return try storing("\(key) of \(path) could not be read") { () throws(StoreError) in
        try system.get(key)
      }
    }
    if let bytes = try record(Member.SystemKey.identity) {
      candidate.identity = try IdentityRecord(decoding: bytes)
    }
    if let bytes = try record(Member.SystemKey.ring) { candidate.ring = try RingState(decoding: bytes) }
    if let bytes = try record(Member.SystemKey.schema) { candidate.schema = try Schema(decoding: bytes) }
    if let bytes = try record(Member.SystemKey.clock) { candidate.clock = try ClockRecord.decode(bytes) }
    if let bytes = try record(Member.SystemKey.handover) {
      candidate.handover = try HandoverRecord(decoding: bytes)
    }
    candidate.givenUp = try HandoverRecord.ofNode(candidate.system, at: path)
  }

  static func assemble(
    _ candidates: inout [Candidate], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) -> DatabaseCore {
    let complete = candidates.filter { $0.identity?.isComplete == true }
    if complete.isEmpty {
      try create(&candidates, options, environment)
    } else {
      try checkSameDatabase(candidates, complete[0].identity!.database, complete[0].path)
    }
    // The highest revision is what was decided last; whoever lags was not reached in time.
    let ringState = candidates.compactMap(\.ring).max { $0.revision < $1.revision }
    guard var ringState, let schema = Schema.merged(candidates.compactMap(\.schema)) else {
      throw DatabaseError(.corruption, "no store of the database has its ring and its schema")
    }
    try checkMembers(candidates, ringState, schema, options)
    try schema.check(ringState.ring)
    for candidate in candidates {
      if ringState.places[candidate.identity!.member] != candidate.path {
        ringState.places[candidate.identity!.member] = candidate.path
      }
    }
    let isWhole = ringState.ring.members.count == candidates.count
    if !ringState.copies.isEmpty, isWhole, candidates.contains(where: { cleanClose($0) == nil }) {
      ringState.giveUpCopies()
    }
    let clock = candidates.compactMap { max($0.clock ?? .zero, $0.handover?.highest ?? .zero) }.max() ?? .zero
    var members: [Member] = []
    for (slot, candidate) in candidates.enumerated() {
      members.append(try join(candidate, slot, ringState, schema, options, environment))
    }
    var withheld = try settleHandovers(candidates, members, ringState, isWhole: isWhole)
    // A node hears from its directory what became of these. Whoever opens its store without it cannot know.
    if !options.isNodeOfCluster {
      withheld.formUnion(candidates.flatMap { $0.givenUp.map(\.partition) })
    }
    let parts = Parts(
      environment: environment, options: options, id: candidates[0].identity!.database)
    return DatabaseCore(parts, ringState, schema, members, clockAbove: clock, withheld: withheld)
  }

  /// Settles what stores have given up for others. With all stores there the ring says who has it, and
  /// all of them know that ring by now.
  ///
  /// - Returns: the partitions of which nobody can say whether they were taken over.
  private static func settleHandovers(
    _ candidates: [Candidate], _ members: [Member], _ ringState: RingState, isWhole: Bool
  ) throws(DatabaseError) -> Set<Int> {
    var withheld: Set<Int> = []
    for (candidate, member) in zip(candidates, members) {
      guard let handover = candidate.handover else { continue }
      if isWhole {
        try member.removeSystem(Member.SystemKey.handover)
      } else if handover.partition < ringState.ring.partitionCount,
        ringState.ring.replica(of: handover.partition, slot: 0) == member.id
      {
        withheld.insert(handover.partition)
      }
    }
    return withheld
  }

  // MARK: - Joining

  /// The clean close after which a store goes on as the incarnation that it was: of just this
  /// directory.
  static func cleanClose(_ candidate: Candidate) -> IdentityRecord.CleanClose? {
    guard let closed = candidate.identity?.closed, let marker = candidate.marker,
      closed.device == marker.device, closed.inode == marker.inode,
      closed.changeNanoseconds == marker.changeNanoseconds
    else { return nil }
    return closed
  }

  /// Makes a member of a store: settles its incarnation and brings its records up to date.
  private static func join(
    _ candidate: Candidate, _ slot: Int, _ ringState: RingState, _ schema: Schema,
    _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) -> Member {
    var identity = candidate.identity!
    var counter: UInt64 = 0
    if let closed = cleanClose(candidate) {
      counter = closed.counter
    } else if !options.keepsIncarnations {
      identity.replica = ReplicaID(rawValue: Member.newReplica(environment.randomness))
    }
    identity.closed = nil
    // Some store says so, and then all have their records: this one must not be taken for the
    // leftover of a creation that was never completed, later, when it is opened alone.
    identity.isComplete = true
    let record = identity
    try storing("\(candidate.path) could not be opened") { () throws(StoreError) in
      if !options.isNodeOfCluster || ringState.ring.replicas == 1 {
        // They would not be kept, and be wrong when the store is a cluster's again.
        for name in candidate.store.treeNames where name.hasPrefix(KeyspaceCore.leafTrees) {
          try candidate.store.dropTree(name)
        }
      }
      var batch = WriteBatch()
      batch.put(Member.SystemKey.identity, record.encoded(), in: candidate.system)
      if candidate.ring != ringState {
        batch.put(Member.SystemKey.ring, ringState.encoded(), in: candidate.system)
      }
      if candidate.schema != schema {
        batch.put(Member.SystemKey.schema, schema.encoded(), in: candidate.system)
      }
      try candidate.store.commit(batch, .synced)
    }
    return Member(
      slot: slot, path: candidate.path, store: candidate.store, system: candidate.system,
      identity: identity, counter: counter, keepsIncarnation: options.keepsIncarnations, environment)
  }
}
