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

  /// A directory without a store: where one of the database's was last, it is missing, as if it had
  /// not been named; else it is a stranger.
  private static func checkAbsent(
    _ absent: [String], _ states: [RingState], _ named: String
  ) throws(DatabaseError) {
    let places = Set(states.max { $0.revision < $1.revision }?.places.values.map { $0 } ?? [])
    for path in absent where !places.contains(path) {
      throw DatabaseError(
        .notAMember,
        "\(path) holds no store, and none of the database in \(named) was there; open without it, "
          + "then add it")
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

  private static func checkOptions(
    _ options: DatabaseOptions, _ paths: [String]
  ) throws(DatabaseError) {
    for directory in options.members.keys.sorted()
    where !paths.contains(withoutTrailingSlashes(directory)) {
      throw DatabaseError(
        .invalidOption, "members names \(directory), which is not among the directories")
    }
  }

  /// A ring that cannot be is refused before the first directory is made for it.
  private static func checkRing(
    _ paths: [String], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) {
    for path in paths {
      let marker = try storing("\(path) could not be opened") { () throws(StoreError) in
        try Store.markerInfo(in: path, environment.fileSystem)
      }
      if marker != nil { return }
    }
    _ = try makeRing(paths, options) { MemberID(rawValue: UInt64($0 + 1)) }
  }

  private static func makeRing(
    _ paths: [String], _ options: DatabaseOptions, _ id: (_ index: Int) -> MemberID
  ) throws(DatabaseError) -> Ring {
    let wishes = Dictionary(
      options.members.map { (withoutTrailingSlashes($0.key), $0.value) }, uniquingKeysWith: { $1 })
    var members: [RingMember] = []
    for (index, path) in paths.enumerated() {
      let wish = wishes[path] ?? DatabaseOptions.Member()
      members.append(
        RingMember(id: id(index), name: memberName(path), weight: wish.weight, zone: wish.zone))
    }
    do throws(RingError) {
      return try Ring(
        partitionCount: options.partitionCount(stores: paths.count), replicas: options.replicas,
        members: members)
    } catch { throw DatabaseError(error) }
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
    for keyspace in schema.keyspaces
    where keyspace.kind != .transactional
      && (keyspace.replicas > ringState.ring.replicas
        || keyspace.hasFewerReplicas != (keyspace.replicas < ringState.ring.replicas))
    {
      throw DatabaseError(
        .corruption,
        "the keyspace `\(keyspace.name)` has \(keyspace.replicas) replicas in the schema, the ring "
          + "\(ringState.ring.replicas)")
    }
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

  // MARK: - Creation

  /// Makes a database of all the given stores.
  ///
  /// Everything is written to every store before the first of them says that it is complete: so one
  /// that does say so proves that all have their records.
  private static func create(
    _ candidates: inout [Candidate], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) {
    if options.creation == .mustExist {
      throw DatabaseError(.notAMember, "\(candidates[0].path) holds no database")
    }
    let id = DatabaseID(environment.randomness)
    let ids = candidates.map { _ in MemberID(rawValue: Member.newReplica(environment.randomness)) }
    let ring = try makeRing(candidates.map(\.path), options) { ids[$0] }
    let places = Dictionary(uniqueKeysWithValues: zip(ids, candidates.map(\.path)))
    let ringState = RingState(ring: ring, places: places)
    let schema = Schema()
    for isComplete in [false, true] {
      for index in candidates.indices {
        let identity = IdentityRecord(
          database: id, member: ids[index], isComplete: isComplete,
          replica: ReplicaID(rawValue: Member.newReplica(environment.randomness)), closed: nil)
        candidates[index].identity = identity
        candidates[index].ring = ringState
        candidates[index].schema = schema
        let candidate = candidates[index]
        try storing("the database could not be created in \(candidate.path)") { () throws(StoreError) in
          var batch = WriteBatch()
          batch.put(Member.SystemKey.identity, identity.encoded(), in: candidate.system)
          batch.put(Member.SystemKey.ring, ringState.encoded(), in: candidate.system)
          batch.put(Member.SystemKey.schema, schema.encoded(), in: candidate.system)
          batch.put(Member.SystemKey.clock, ClockRecord.encode(.zero), in: candidate.system)
          try candidate.store.commit(batch, .synced)
        }
      }
    }
  }

  /// What a member is called: its directory's last component.
  static func memberName(_ path: String) -> String {
    String(path.split(separator: "/").last ?? "store")
  }

  // MARK: - Checks

  private static func checkSameDatabase(
    _ candidates: [Candidate], _ database: DatabaseID, _ named: String
  ) throws(DatabaseError) {
    for candidate in candidates {
      guard let identity = candidate.identity else {
        throw DatabaseError(
          .notAMember,
          "\(candidate.path) is no member of the database in \(named); open without it, then add it")
      }
      guard identity.database == database else {
        throw DatabaseError(
          .foreignStore,
          "\(candidate.path) belongs to the database \(identity.database), \(named) to \(database)")
      }
    }
  }

  private static func checkMembers(
    _ candidates: [Candidate], _ ringState: RingState, _ schema: Schema, _ options: DatabaseOptions
  ) throws(DatabaseError) {
    var present: Set<MemberID> = []
    for candidate in candidates {
      let member = candidate.identity!.member
      // A node that has given its last partition away may have to go on deleting it.
      let isDeparting = options.isNodeOfCluster && ringState.places[member] != nil
      guard isDeparting || ringState.ring.members.contains(where: { $0.id == member }) else {
        throw DatabaseError(
          .notAMember, "\(candidate.path) has left the database, or never completed joining it")
      }
      guard present.insert(member).inserted else {
        let other = candidates.first { $0.identity!.member == member }!
        throw DatabaseError(
          .foreignStore, "\(candidate.path) and \(other.path) are copies of one store")
      }
    }
    let missing = ringState.ring.members.filter { !present.contains($0.id) }
    if missing.isEmpty || options.allowsMissingStores { return }
    var unreachable: [Int] = []
    var thinner = 0
    for partition in 0..<ringState.ring.partitionCount {
      let replicas = ringState.ring.replicas(of: partition)
      if replicas.allSatisfy({ !present.contains($0) }) {
        unreachable.append(partition)
      } else if replicas.contains(where: { !present.contains($0) }) {
        thinner += 1
      }
    }
    let names = missing.map { ringState.places[$0.id] ?? $0.name }.joined(separator: ", ")
    var text = "the database has more stores than were opened: \(names) missing. "
    text +=
      unreachable.isEmpty
      ? "No partition would be out of reach"
      : "Out of reach: \(unreachable.count) of \(ringState.ring.partitionCount) partitions "
        + "(\(PartitionList.text(unreachable)))"
    if thinner > 0 { text += "; \(thinner) more have fewer replicas" }
    if schema.hasFewerReplicas { text += "; keyspaces on fewer stores than the others may miss more" }
    throw DatabaseError(.missingStore, text)
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
