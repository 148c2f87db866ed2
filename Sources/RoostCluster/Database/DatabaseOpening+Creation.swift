import RoostCausality
import RoostEnvironment
import RoostStorage

// Where no store says that a database is there already, one is made.

extension DatabaseOpening {
  /// Makes a database of all the given stores.
  ///
  /// Everything is written to every store before the first of them says that it is complete: so one
  /// that does say so proves that all have their records.
  static func create(
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

  /// The ring of a database that is made, of these stores.
  static func makeRing(
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
}
