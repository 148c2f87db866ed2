import RoostEnvironment
import RoostStorage

// What must be so of directories, stores and options before a database is made of them.

extension DatabaseOpening {
  static func checkOptions(
    _ options: DatabaseOptions, _ paths: [String]
  ) throws(DatabaseError) {
    for directory in options.members.keys.sorted()
    where !paths.contains(withoutTrailingSlashes(directory)) {
      throw DatabaseError(
        .invalidOption, "members names \(directory), which is not among the directories")
    }
  }

  /// A ring that cannot be is refused before the first directory is made for it.
  static func checkRing(
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

  /// A directory without a store: where one of the database's was last, it is missing, as if it had
  /// not been named; else it is a stranger.
  static func checkAbsent(
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

  static func checkSameDatabase(
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

  static func checkMembers(
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
}
