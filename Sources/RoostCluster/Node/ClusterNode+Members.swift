import RoostEnvironment

// How the members of a cluster are changed. An operator's wish is planned by whichever node is told, and
// written into the directory by compare-and-set: the ring with the new members among them, holding nothing
// yet, and those that go marked so. From then on each node does its part (`NodeMoves`).

extension ClusterNode {
  /// Begins a change of who the members are and of their weights, or cancels the one under way.
  ///
  /// - Returns: how far it is: at its beginning, where it was begun by this.
  /// - Throws: `.busy` (another change is under way), `.notAMember` (no such member, or no such candidate),
  ///   `.tooManyReplicas` (for the members that there would be), `.invalidMembers` (too many of them, or one
  ///   that is there already), `.invalidArgument` (a weight outside 1
  ///   to 1000, a zone too long, a member called dead that seems to be there), `.wrongPolicy` (one called
  ///   dead that has held partitions of a cluster with transactions), `.indeterminate` (the directory may
  ///   have it), what the directory throws.
  package func changeMembers(_ request: MembersRequest) throws(DatabaseError) -> ChangeProgress {
    try checkServing()
    if request.cancels {
      try changeRecord { record in record.cancel() }
      return changeProgress
    }
    guard (1...MembersRequest.mostChanges).contains(request.changes.count) else {
      throw DatabaseError(
        .invalidArgument,
        "\(request.changes.count) changes at once; 1 to \(MembersRequest.mostChanges) are allowed")
    }
    if !request.isForced { try checkDead(request) }
    var candidates: [MemberID: FounderRecord] = [:]
    for record in try directory.records(prefix: ClusterRecordName.candidates) {
      let candidate = try FounderRecord(decoding: record.value)
      guard candidate.cluster == options.cluster else { continue }
      candidates[try FounderRecord.member(ofRecord: record.name)] = candidate
    }
    let known = candidates
    try changeRecord { record throws(DatabaseError) in try record.begin(request, candidates: known) }
    return changeProgress
  }

  /// Says in the directory, for good, that the cluster has transactions: from then on partitions move, and
  /// members leave, by the word of whoever knows of them. Said when its first transactional keyspace is made,
  /// whether that is ever written or not.
  ///
  /// - Throws: `.busy` while its members are being changed; what the directory throws.
  package func noteTransactions() throws(DatabaseError) {
    if lock.withLock({ hasNotedTransactions }) { return }
    try changeRecord { record throws(DatabaseError) in
      if record.hasTransactions { return false }
      guard record.change == nil, record.ring.copies.isEmpty, record.ring.drops.isEmpty else {
        throw DatabaseError(.busy, "the cluster's members are being changed: transactions begin after that")
      }
      record.hasTransactions = true
      record.holders = Set(record.ring.ring.members.map(\.id))
      return true
    }
    lock.withLock { hasNotedTransactions = true }
  }

  /// Says in the directory, for good, that the cluster may have keyspaces with fewer replicas than the
  /// database: from then on no list changes its order, and messages go by it.
  ///
  /// - Throws: `.busy` while its members are being changed: the change may put lists in another order; what
  ///   the directory throws.
  func noteFewerReplicas() throws(DatabaseError) {
    try changeRecord { record throws(DatabaseError) in
      if record.hasFewerReplicas { return false }
      guard record.change == nil, record.ring.copies.isEmpty, record.ring.drops.isEmpty else {
        throw DatabaseError(
          .busy,
          "the cluster's members are being changed: its first keyspace with fewer replicas than the database "
            + "is made after that")
      }
      record.hasFewerReplicas = true
      return true
    }
  }

  /// A member whose store goes on being written to elsewhere must not be taken for gone.
  private func checkDead(_ request: MembersRequest) throws(DatabaseError) {
    for member in request.dead where member == local.id || !peers.isSuspected(member, at: now) {
      throw DatabaseError(
        .invalidArgument, "member \(member) seems to be there: stop it first, or let it leave as it is")
    }
  }

  /// The stores that ask to join, by their numbers, with the names under which they registered.
  ///
  /// - Throws: what the directory throws.
  package func candidates() throws(DatabaseError) -> [(
    member: MemberID, name: String, zone: String, weight: Int
  )] {
    var found: [(member: MemberID, name: String, zone: String, weight: Int)] = []
    for record in try directory.records(prefix: ClusterRecordName.candidates) {
      let candidate = try FounderRecord(decoding: record.value)
      guard candidate.cluster == options.cluster else { continue }
      found.append(
        (try FounderRecord.member(ofRecord: record.name), candidate.name, candidate.zone, candidate.weight))
    }
    return found
  }

  /// How far the change under way is, as this node knows it.
  package var changeProgress: ChangeProgress {
    let view = view
    var progress = ChangeProgress()
    progress.revision = view.revision
    progress.isUnderWay = view.change != nil
    progress.isCancelled = view.change?.isCancelled ?? false
    progress.movesLeft = view.plan?.moves.count ?? view.state.copies.count
    progress.moving = view.state.copies
    progress.dropsLeft = view.state.drops.count
    progress.leaving =
      view.ring.leaving.map(\.id) + view.state.places.keys.filter { view.isDeparting($0) }.sorted()
    moves.add(to: &progress)
    return progress
  }
}

extension MembersRequest {
  /// Those that it calls dead.
  var dead: [MemberID] {
    changes.compactMap { change in
      switch change {
      case .remove(let member, true), .replace(let member, _, true): member
      case .admit, .remove, .weigh, .replace: nil
      }
    }
  }
}

extension DatabaseRecord {
  /// Begins a change.
  ///
  /// - Returns: `false` where it is as asked for already.
  fileprivate mutating func begin(
    _ request: MembersRequest, candidates: [MemberID: FounderRecord]
  ) throws(DatabaseError) -> Bool {
    for member in request.dead where hasTransactions && holders.contains(member) {
      throw DatabaseError(
        .wrongPolicy,
        "the cluster has a transactional keyspace, or has had transactions, and member \(member) may alone "
          + "have keys of theirs and know what became of some: it cannot be given up for dead; start it "
          + "again, and let it leave")
    }
    if let change, !(change.isCancelled && ring.copies.isEmpty) {
      throw DatabaseError(
        .busy, "the cluster's members are being changed since revision \(change.number): wait, or cancel it")
    }
    var wanted = ring.ring.staying
    var next = MembershipChange(number: ring.revision + 1)
    next.isForced = request.isForced
    next.dead = request.dead
    var names: [MemberID: String] = [:]
    for change in request.changes {
      switch change {
      case .admit(let member, let weight, let zone):
        let candidate = try candidateRecord(member, candidates, wanted)
        names[member] = candidate.name
        wanted.append(
          RingMember(
            id: member, name: candidate.name, weight: weight ?? candidate.weight, zone: zone ?? candidate.zone
          ))
      case .remove(let member, let isDead):
        // One that has given all away may be called dead yet, so that nobody waits for it.
        guard wanted.contains(where: { $0.id == member }) || isDead && ring.places[member] != nil else {
          throw unknown(member)
        }
        wanted.removeAll { $0.id == member }
      case .weigh(let member, let weight):
        guard let index = wanted.firstIndex(where: { $0.id == member }) else { throw unknown(member) }
        wanted[index].weight = weight
      case .replace(let member, let other, _):
        guard let index = wanted.firstIndex(where: { $0.id == member }) else { throw unknown(member) }
        let candidate = try candidateRecord(other, candidates, wanted)
        names[other] = candidate.name
        let weight = wanted[index].weight
        wanted[index] = RingMember(id: other, name: candidate.name, weight: weight, zone: candidate.zone)
      }
    }
    for member in wanted {
      do throws(RingError) { try Ring.check(member) } catch {
        throw DatabaseError(.invalidArgument, error.message)
      }
    }
    let plan = try self.plan(to: wanted)
    if plan.isEmpty, plan.moves.isEmpty, next.dead.isEmpty { return false }
    ring = ring.adopting(plan)
    // One that was admitted and taken out again by the same request has no place.
    for (member, name) in names where wanted.contains(where: { $0.id == member }) {
      ring.places[member] = name
    }
    change = next
    forgetDead()
    return true
  }

  /// What is left of a change that has begun. Lists keep their order, whatever they hold: which of two
  /// members gives its place away may depend on it, so that to order them anew for each plan need never end.
  ///
  /// - Throws: as `Ring.plan`.
  func planRest() throws(DatabaseError) -> RingPlan {
    do throws(RingError) { return try ring.ring.plan(to: ring.ring.staying, keepsOrder: true) } catch {
      throw DatabaseError(error)
    }
  }

  /// How the ring comes to have these members. Where the first of a list have what the others do not, only a
  /// move changes who has which place: who owns the partition's transactional keys, and who has the keyspaces
  /// with fewer replicas than the database.
  ///
  /// - Throws: as `Ring.plan`.
  func plan(to wanted: [RingMember]) throws(DatabaseError) -> RingPlan {
    let plan: RingPlan
    do throws(RingError) { plan = try ring.ring.plan(to: wanted, keepsOrder: keepsOrder) } catch {
      throw DatabaseError(error)
    }
    let isKept = (0..<ring.ring.partitionCount).allSatisfy {
      plan.start.replicas(of: $0) == ring.ring.replicas(of: $0)
    }
    guard isKept || !keepsOrder else {
      throw DatabaseError(.corruption, "the plan of the ring gives partitions away that nothing moves")
    }
    return plan
  }

  private func candidateRecord(
    _ member: MemberID, _ candidates: [MemberID: FounderRecord], _ wanted: [RingMember]
  ) throws(DatabaseError) -> FounderRecord {
    guard !wanted.contains(where: { $0.id == member }), ring.ring.member(member) == nil else {
      throw DatabaseError(.invalidMembers, "\(member) is a member already")
    }
    guard let candidate = candidates[member] else {
      throw DatabaseError(.notAMember, "no store with the number \(member) asks to join")
    }
    return candidate
  }

  private func unknown(_ member: MemberID) -> DatabaseError {
    DatabaseError(.notAMember, "the cluster has no member \(member)")
  }

  /// Ends the change: no more moves are begun, and those under way are given up.
  ///
  /// - Returns: `false` where there is none.
  fileprivate mutating func cancel() -> Bool {
    guard let change, !change.isCancelled else { return false }
    self.change?.isCancelled = true
    ring.giveUpCopies()
    forgetDead()
    return true
  }

  /// Nobody waits for what is gone for good: what it has is not to be dropped, and it gets no word any more.
  mutating func forgetDead() {
    for member in change?.dead ?? [] {
      ring.drops.removeAll { $0.member == member }
      if ring.ring.member(member) == nil { ring.places[member] = nil }
    }
  }

  /// Forgets the change once nothing of it is left to do.
  mutating func settle() {
    holders = holders.filter { ring.ring.member($0) != nil || ring.places[$0] != nil }
    guard let change, ring.copies.isEmpty, ring.drops.isEmpty,
      ring.places.keys.allSatisfy({ ring.ring.member($0) != nil })
    else { return }
    if !change.isCancelled {
      guard let plan = try? planRest(), plan.isEmpty, plan.moves.isEmpty else { return }
    }
    self.change = nil
  }
}

/// How far a change of a cluster's members is. A plain value.
///
///   progress := version u8 (1) | revision varint | flags u8 (bit 0 under way, bit 1 cancelled)
///             | moves left varint | count varint | move* | drops left varint | count varint | leaving u64*
///             | moves done varint | keys varint | bytes varint | waits since varint
///             | waits for lengthPrefixed
///   move     := partition varint | slot varint | from u64 | to u64
package struct ChangeProgress: Hashable, Sendable {
  /// Of the ring state that it is about.
  package var revision: UInt64 = 0
  package var isUnderWay = false
  package var isCancelled = false
  /// Those that have begun among them.
  package var movesLeft = 0
  /// Those that have begun.
  package var moving: [PartitionMove] = []
  /// Partitions that are to be deleted where they were.
  package var dropsLeft = 0
  /// Members that are about to go.
  package var leaving: [MemberID] = []
  /// What the node that says this was brought since it was started: moves, keys that differed, bytes.
  package var movesDone: UInt64 = 0
  package var keys: UInt64 = 0
  package var bytes: UInt64 = 0
  /// Milliseconds since 1970; 0 where that node waits for nothing.
  package var waitsSince: UInt64 = 0
  /// For what; empty where for nothing.
  package var waitsFor = ""

  package init() {}

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    write(to: &writer)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the progress of a change")
    _ = try reader.readVersion(upTo: 1)
    try self.init(from: &reader)
    try reader.readEnd()
  }

  /// Without a version: as a part of another message.
  func write(to writer: inout FieldWriter) {
    writer.write(varint: revision)
    writer.write(byte: (isUnderWay ? 1 : 0) | (isCancelled ? 2 : 0))
    writer.write(count: movesLeft)
    writer.write(count: moving.count)
    for move in moving {
      writer.write(count: move.partition)
      writer.write(count: move.slot)
      writer.write(fixed: move.from.rawValue)
      writer.write(fixed: move.to.rawValue)
    }
    writer.write(count: dropsLeft)
    writer.write(count: leaving.count)
    for member in leaving { writer.write(fixed: member.rawValue) }
    for count in [movesDone, keys, bytes, waitsSince] { writer.write(varint: count) }
    writer.write(text: waitsFor)
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    revision = try reader.readOrdinal()
    let flags = try reader.readByte()
    guard flags < 4 else { throw reader.damaged("flags of \(flags)") }
    isUnderWay = flags & 1 != 0
    isCancelled = flags & 2 != 0
    movesLeft = Int(try reader.readOrdinal())
    for _ in 0..<(try reader.readCount(of: 18)) {
      moving.append(
        PartitionMove(
          partition: Int(try reader.readOrdinal()), slot: Int(try reader.readOrdinal()),
          from: MemberID(rawValue: try reader.readFixed()), to: MemberID(rawValue: try reader.readFixed())))
    }
    dropsLeft = Int(try reader.readOrdinal())
    for _ in 0..<(try reader.readCount(of: 8)) { leaving.append(MemberID(rawValue: try reader.readFixed())) }
    movesDone = try reader.readVarint()
    keys = try reader.readVarint()
    bytes = try reader.readVarint()
    waitsSince = try reader.readVarint()
    waitsFor = try reader.readText()
  }
}
