import RoostCausality
import RoostEnvironment
import RoostStorage

// How a store joins:
//
// 1. Its directory is opened, as at the database's opening. What it holds of an earlier time in this
//    database is deleted; a store of anything else is refused.
// 2. It is given its records: a new member id, and the ring as it is, which does not name it. Until
//    the next step it is `.notAMember`, and may be added again.
// 3. The ring that names it is made durable in all stores, in its own last. From the first of them on
//    the database needs its directory to open.
//
// A store that leaves gives up its partitions first; the mover lets go of it with the last one.

extension DatabaseCore {
  /// Makes a store of a directory a member, and has its share of the partitions move there.
  ///
  /// - Returns: its id.
  package func addStore(
    _ directory: String, weight: Int, zone: String
  ) throws(DatabaseError) -> MemberID {
    let path = try DatabaseOpening.normalized([directory])[0]
    try checkMember(path, weight, zone)
    return try ringChanges.withLock { () throws(DatabaseError) in
      try topology.withLock { () throws(DatabaseError) in
        try checkChangeable()
        if let known = presentMembers.first(where: { $0.path == path }) {
          throw DatabaseError(.invalidArgument, "\(known.path) is a store of the database already")
        }
        if nextSlot == Self.slotLimit {
          throw DatabaseError(
            .invalidMembers, "too many stores came and went since the database was opened: open it again")
        }
      }
      var candidate = try DatabaseOpening.openStore(path, joiningOptions, shared.environment)
      do throws(DatabaseError) {
        try DatabaseOpening.read(&candidate)
        let joiner = candidate
        try topology.withLock { () throws(DatabaseError) in try checkJoiner(joiner) }
      } catch {
        // It may be another database's, which goes on with it as it was.
        DatabaseOpening.letGo(candidate, shared.environment)
        throw error
      }
      do throws(DatabaseError) { return try admit(candidate, weight, zone) } catch {
        try? candidate.store.close()
        throw error
      }
    }
  }

  /// Has a member's partitions move to the others; with the last of them it leaves.
  package func removeStore(_ member: MemberID) throws(DatabaseError) {
    try changeRing { staying throws(DatabaseError) in
      guard staying.contains(where: { $0.id == member }) else {
        // It is leaving already.
        return
      }
      staying.removeAll { $0.id == member }
    }
  }

  /// Gives a member another weight or zone; `nil` leaves them as they are.
  package func changeStore(
    _ member: MemberID, weight: Int?, zone: String?
  ) throws(DatabaseError) {
    try changeRing { staying throws(DatabaseError) in
      guard let index = staying.firstIndex(where: { $0.id == member }) else {
        throw DatabaseError(.notAMember, "the member \(member) is leaving the database")
      }
      if let weight { staying[index].weight = weight }
      if let zone { staying[index].zone = zone }
      try checkMember(staying[index].name, staying[index].weight, staying[index].zone)
    }
  }

  /// The member whose store is in a directory.
  ///
  /// - Throws: `.notAMember`, `.closed`.
  package func memberID(at directory: String) throws(DatabaseError) -> MemberID {
    let path = DatabaseOpening.withoutTrailingSlashes(directory)
    return try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      for member in presentMembers where member.path == path { return member.id }
      for (id, place) in ringState.places where place == path {
        if ringState.ring.member(id) != nil { return id }
      }
      let known = presentMembers.map(\.path).joined(separator: ", ")
      throw DatabaseError(.notAMember, "\(path) is no store of the database; its stores are \(known)")
    }
  }

  /// - Throws: `.notAMember`, `.closed`.
  package func checkMember(_ member: MemberID) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      if ringState.ring.member(member) == nil {
        throw DatabaseError(.notAMember, "no store of the database has the id \(member)")
      }
    }
  }

  // MARK: - Steps

  /// Plans the ring of other members and has the partitions move. What moves already goes on where
  /// the new plan wants it too, and is given up else.
  private func changeRing(
    _ change: (inout [RingMember]) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    try ringChanges.withLock { () throws(DatabaseError) in
      var leavers: [Member] = []
      // With those that were to leave and got a partition meanwhile, which the mover had begun to bring.
      var asked: [Member] = []
      do throws(DatabaseError) {
        while true {
          let others = try topology.withLock { () throws(DatabaseError) in
            try checkChangeable()
            var staying = ringState.ring.staying
            try change(&staying)
            return try adopt(staying, ringState, letting: leavers)
          }
          if others.isEmpty { break }
          leavers = others
          asked += others
          for leaver in others { try prepareToLeave(leaver) }
        }
      } catch {
        let transactions = topology.withLock { self.transactions }
        for member in asked { transactions?.resume(member) }
        throw error
      }
      let (transactions, answering, ring) = topology.withLock {
        (self.transactions, heir(of: leavers), ringState.ring)
      }
      for member in asked where ring.member(member.id) != nil { transactions?.resume(member) }
      guard let answering else { return }
      for leaver in leavers where ring.member(leaver.id) == nil {
        transactions?.left(leaver, heir: answering)
      }
    }
  }

  /// Who answers for stores that leave without a partition to hand over. With `topology` held.
  private func heir(of leavers: [Member]) -> Member? {
    let staying = Set(ringState.ring.staying.map(\.id))
    return presentMembers.first { member in
      staying.contains(member.id) && !leavers.contains { $0.id == member.id }
    }
  }

  /// Has all end that a store which holds no partition has to do with transactions. Without `topology`, which
  /// they may need. Where this fails, the store is to go on: `resume`.
  ///
  /// - Throws: `.busy` where transactions that it coordinates take too long.
  private func prepareToLeave(_ member: Member) throws(DatabaseError) {
    guard let transactions = topology.withLock({ self.transactions }) else { return }
    let time = shared.environment.time
    let end = time.monotonicNanoseconds &+ (transactions.longestMilliseconds &+ 2_000) &* 1_000_000
    while true {
      try shared.checkOpen()
      if try transactions.stopCoordinating(at: member), transactions.quiet(member) {
        if let heir = topology.withLock({ heir(of: [member]) }) {
          try transactions.copyRecords(of: member, to: heir)
        }
        return
      }
      guard time.monotonicNanoseconds < end else {
        throw DatabaseError(.busy, "transactions that \(member.path) coordinates are not over")
      }
      transfers.pause(milliseconds: 1)
    }
  }

  /// With `topology` held.
  ///
  /// - Parameter leavers: stores that leave with this very ring, and are ready to.
  /// - Returns: those that would leave and are not: nothing was done then.
  @discardableResult
  private func adopt(
    _ members: [RingMember], _ state: RingState, letting leavers: [Member] = []
  ) throws(DatabaseError) -> [Member] {
    let plan: RingPlan
    do throws(RingError) {
      plan = try ringState.ring.plan(to: members, keepsOrder: schema.keepsOrder)
    } catch { throw DatabaseError(error) }
    let next = state.adopting(plan)
    if next == ringState, adoption == nil { return [] }
    let others = presentMembers.filter { member in
      ringState.ring.member(member.id) != nil && next.ring.member(member.id) == nil
    }
    if !others.isEmpty, transactions == nil, hasHadTransactions {
      throw DatabaseError(.busy, "no store can leave before the database's transactions are open")
    }
    if let transactions {
      if others.contains(where: { other in !leavers.contains { $0.id == other.id } }) { return others }
      if let heir = heir(of: others) {
        for leaver in others { try transactions.bequeath(from: leaver, to: heir) }
      }
    }
    try install(next)
    adoption = nil
    transfers.withRecord { record in
      record.moves = plan.moves
      record.plan += 1
      record.movesDone = 0
      record.keys = 0
      record.bytes = 0
      record.copy = record.copy.flatMap { next.copies.contains($0.move) ? $0.adopted(by: record.plan) : nil }
      // Whoever gained a partition by the last plan may have lost it by this one.
      record.renewed = []
    }
    scheduleTransfers()
    return []
  }

  private func admit(
    _ candidate: DatabaseOpening.Candidate, _ weight: Int, _ zone: String
  ) throws(DatabaseError) -> MemberID {
    try topology.withLock { () throws(DatabaseError) in
      try checkChangeable()
      try clear(candidate)
      let identity = IdentityRecord(
        database: id, member: MemberID(rawValue: Member.newReplica(shared.environment.randomness)),
        isComplete: true,
        replica: ReplicaID(rawValue: Member.newReplica(shared.environment.randomness)), closed: nil)
      try writeRecords(candidate, identity)
      let member = Member(
        slot: nextSlot, path: candidate.path, store: candidate.store, system: candidate.system,
        identity: identity, counter: 0, shared.environment)
      nextSlot += 1
      do throws(DatabaseError) { try publish(member, weight, zone) } catch {
        withdraw(member)
        throw error
      }
      return member.id
    }
  }

  private func checkJoiner(_ candidate: DatabaseOpening.Candidate) throws(DatabaseError) {
    guard let identity = candidate.identity else { return }
    guard identity.database == id else {
      throw DatabaseError(
        .foreignStore, "\(candidate.path) belongs to another database, \(identity.database)")
    }
    if ringState.ring.member(identity.member) != nil {
      throw DatabaseError(
        .invalidMembers, "\(candidate.path) is a copy of a store of the database: empty it first")
    }
    if let theirs = candidate.ring, theirs.revision > ringState.revision {
      throw DatabaseError(
        .foreignStore,
        "\(candidate.path) knows a later ring than this database: other copies of it were in use since")
    }
  }

  /// Deletes what a store holds of the time when it was a member before.
  private func clear(_ candidate: DatabaseOpening.Candidate) throws(DatabaseError) {
    try storing("\(candidate.path) could not be cleared") { () throws(StoreError) in
      for name in candidate.store.treeNames where name != Member.systemTree {
        try candidate.store.dropTree(name)
      }
    }
  }

  private func writeRecords(
    _ candidate: DatabaseOpening.Candidate, _ identity: IdentityRecord
  ) throws(DatabaseError) {
    let ring = ringState.encoded()
    let schema = schema.encoded()
    let clock = ClockRecord.encode(shared.clock.durableBound)
    try storing("\(candidate.path) could not be written") { () throws(StoreError) in
      var batch = WriteBatch()
      batch.put(Member.SystemKey.identity, identity.encoded(), in: candidate.system)
      batch.put(Member.SystemKey.ring, ring, in: candidate.system)
      batch.put(Member.SystemKey.schema, schema, in: candidate.system)
      batch.put(Member.SystemKey.clock, clock, in: candidate.system)
      batch.delete(Member.SystemKey.handover, in: candidate.system)
      try candidate.store.commit(batch, .synced)
    }
  }

  private func publish(_ member: Member, _ weight: Int, _ zone: String) throws(DatabaseError) {
    for keyspace in keyspaces.values { try keyspace.attach(member) }
    for keyspace in transferKeyspaces.values { try keyspace.attach(member) }
    try transactions?.joined(member)
    // Before the ring names it, so that the ring is written to its store too.
    shared.members.publish(member, at: member.slot)
    slotOf[member.id] = member.slot
    // A bound that was raised since its records were written reached the others only.
    try member.writeSystem(Member.SystemKey.clock, ClockRecord.encode(shared.clock.durableBound))
    var state = ringState
    state.places[member.id] = member.path
    let joiner = RingMember(
      id: member.id, name: DatabaseOpening.memberName(member.path), weight: weight, zone: zone)
    try adopt(ringState.ring.staying + [joiner], state)
  }

  /// Undoes ``publish(_:_:_:)``; the caller closes the store.
  private func withdraw(_ member: Member) {
    shared.members.withdraw(member.slot)
    slotOf[member.id] = nil
    for keyspace in keyspaces.values { keyspace.withdraw(member.slot) }
    for keyspace in transferKeyspaces.values { keyspace.withdraw(member.slot) }
    transactions?.withdrew(member)
    shared.clock.finishRaising()
    member.workers.shutdown()
    // Whoever caught sight of it and waits for its disk is told.
    member.calls.close()
  }

  // MARK: - Checks

  private var joiningOptions: DatabaseOptions {
    var options = shared.options
    options.creation = .createIfMissing
    return options
  }

  /// With `topology` held.
  func checkChangeable() throws(DatabaseError) {
    try shared.checkOpen()
    guard hasAllStores else {
      let missing = ringState.ring.members.filter { slotOf[$0.id] == nil }
        .map { ringState.places[$0.id] ?? $0.name }
      throw DatabaseError(
        .missingStore, "the ring cannot be changed while stores are missing: "
          + missing.joined(separator: ", "))
    }
  }

  private func checkMember(_ name: String, _ weight: Int, _ zone: String) throws(DatabaseError) {
    guard RingMember.weights.contains(weight) else {
      throw DatabaseError(
        .invalidArgument, "the weight of \(name) is \(weight), must be 1 to 1000")
    }
    guard zone.utf8.count <= RingMember.maximumTextBytes else {
      throw DatabaseError(
        .invalidArgument, "a zone of \(zone.utf8.count) bytes; the limit is \(RingMember.maximumTextBytes)")
    }
  }
}
