/// Which members hold which partition.
///
/// A database has a fixed number of partitions; a key belongs to one by its hash (``Placement``). Each
/// partition has a preference list of `replicas` members, the coordinator first. The ring is that
/// table, with the members' weights and zones. What holds of a ring that no plan is changing:
///
/// - **Distinct.** The members of a list are distinct. This holds at every moment.
/// - **Spread.** A list spreads over as many zones as there are, as evenly as their members allow
///   (``ZoneSpread``). With at least as many zones as replicas, no zone comes twice in a list.
/// - **Balanced.** A member of weight w holds w / W of all slots, rounded up or down, where W is the
///   sum of the weights (``SlotTargets``). With equal weights each holds k or k + 1 slots, so the
///   largest share is at most 1 + 1/k times the mean. Where spread and balance exclude each other,
///   spread goes first: two replicas in two zones, one of them a single small store, put one replica of
///   everything on that store. What is left is shared by weight among the others.
/// - **Coordinated evenly.** A member coordinates a share 1/`replicas` of its slots, rounded up or
///   down.
/// - **Preferred.** Within that, members get the partitions that lie next behind their virtual nodes
///   on the circle of hashes (``VirtualNodes``). That depends on nothing but ids and weights: rings
///   made of the same members are equal, in whatever order these come.
///
/// ``plan(to:)`` turns a wish for other members into moves. While they are applied, one at a time,
/// the ring knows joining members that hold nothing yet and ``leaving`` ones that still hold
/// something; each applied move begins a new epoch.
///
/// A value, of two bytes a slot.
public struct Ring: Equatable, Sendable {
  /// How many partitions a ring may have.
  public static let partitionCounts = 1...32_768
  /// How many replicas of a partition there may be.
  public static let replicaCounts = 1...32
  /// Members of the largest ring.
  public static let maximumMembers = 1024
  /// No ring is of a later epoch.
  public static let maximumEpoch: UInt64 = 1 << 62

  public let partitionCount: Int
  /// Members a partition.
  public let replicas: Int
  /// Rises with every change of members or slots. Which of two rings of a database holds is told by the
  /// revision of the record that it stands in (`RingState`).
  public internal(set) var epoch: UInt64
  /// All members, those that leave among them, by rising id.
  public internal(set) var members: [RingMember]
  /// Whether the member at the same place leaves: it holds at least one slot, and goes with the last.
  var isLeaving: [Bool]
  /// Places in `members`, partition by partition, `replicas` each.
  var slots: [UInt16]

  /// The ring of these members, with nothing to move.
  ///
  /// - Parameters:
  ///   - partitionCount: 1 to 32,768, for ever; at least 64 times the members that there will ever be
  ///     keeps shares even.
  ///   - replicas: members a partition, 1 to 32, at most as many as there are members.
  ///   - members: in any order, 1 to 1024 of them, each with its own id.
  ///   - epoch: 0 to 2^62.
  /// - Throws: ``RingError`` with code `.partitionCount`, `.replicaCount`, `.tooFewMembers` (none, or
  ///   fewer than replicas), `.tooManyMembers`, `.duplicateMember`, `.weightOutOfRange`,
  ///   `.nameTooLong`, `.epochOutOfRange`.
  /// - Complexity: O(Q · M · log Q) for Q partitions and M members.
  public init(
    partitionCount: Int, replicas: Int, members: [RingMember], epoch: UInt64 = 1
  ) throws(RingError) {
    guard Self.partitionCounts.contains(partitionCount) else {
      throw RingError(.partitionCount, "\(partitionCount) partitions: it must be 1 to 32,768")
    }
    guard Self.replicaCounts.contains(replicas) else {
      throw RingError(.replicaCount, "\(replicas) replicas: it must be 1 to 32")
    }
    guard epoch <= Self.maximumEpoch else {
      throw RingError(.epochOutOfRange, "epoch \(epoch) is above 2^62")
    }
    let members = try Self.checked(members, replicas: replicas)
    self.partitionCount = partitionCount
    self.replicas = replicas
    self.epoch = epoch
    self.members = members
    isLeaving = Array(repeating: false, count: members.count)
    let empty = Array(repeating: -1, count: partitionCount * replicas)
    slots = RingSolver.solve(members: members, replicas: replicas, current: empty).map { UInt16($0) }
  }

  /// A ring whose parts were checked to fit each other.
  init(
    partitionCount: Int, replicas: Int, epoch: UInt64, members: [RingMember], isLeaving: [Bool],
    slots: [UInt16]
  ) {
    self.partitionCount = partitionCount
    self.replicas = replicas
    self.epoch = epoch
    self.members = members
    self.isLeaving = isLeaving
    self.slots = slots
  }

  /// The members by rising id, if a ring can be made of them.
  static func checked(_ members: [RingMember], replicas: Int) throws(RingError) -> [RingMember] {
    guard !members.isEmpty else { throw RingError(.tooFewMembers, "a ring needs at least one member") }
    guard members.count <= maximumMembers else {
      throw RingError(.tooManyMembers, "\(members.count) members: at most \(maximumMembers)")
    }
    for member in members { try check(member) }
    let sorted = members.sorted { $0.id < $1.id }
    for (a, b) in zip(sorted, sorted.dropFirst()) where a.id == b.id {
      throw RingError(.duplicateMember, "\(a.name) and \(b.name) are one member, \(a.id)")
    }
    guard sorted.count >= replicas else {
      throw RingError(
        .tooFewMembers,
        "\(replicas) replicas need as many members, and there "
          + (sorted.count == 1 ? "is 1" : "are \(sorted.count)"))
    }
    return sorted
  }

  static func check(_ member: RingMember) throws(RingError) {
    guard RingMember.weights.contains(member.weight) else {
      throw RingError(
        .weightOutOfRange, "\(member.name) has weight \(member.weight): it must be 1 to 1000")
    }
    let limit = RingMember.maximumTextBytes
    guard member.name.utf8.count <= limit, member.zone.utf8.count <= limit else {
      throw RingError(.nameTooLong, "a name or a zone of more than \(limit) bytes")
    }
  }
}

// MARK: - Who holds what

extension Ring {
  /// The members of a partition in order of preference, the coordinator first.
  ///
  /// - Parameter partition: 0 up to `partitionCount`.
  /// - Complexity: O(replicas); one allocation.
  public func replicas(of partition: Int) -> [MemberID] {
    slots[partition * replicas..<(partition + 1) * replicas].map { members[Int($0)].id }
  }

  /// The member at one place of a partition's preference list. O(1).
  public func replica(of partition: Int, slot: Int) -> MemberID {
    precondition(slot >= 0 && slot < replicas)
    return members[Int(slots[partition * replicas + slot])].id
  }

  /// The member of that id, leaving or not; `nil` where there is none. O(log members).
  public func member(_ id: MemberID) -> RingMember? { index(of: id).map { members[$0] } }

  /// The members that hold partitions only until these have moved.
  public var leaving: [RingMember] {
    zip(members, isLeaving).filter { $0.1 }.map { $0.0 }
  }

  /// The members that are to stay: what ``plan(to:)`` was last asked for. A plan that was cut short
  /// goes on as `plan(to: staying)`.
  public var staying: [RingMember] {
    zip(members, isLeaving).filter { !$0.1 }.map { $0.0 }
  }

  /// How many slots a member has in all lists, and in how many it comes first. Zero for who is none.
  /// - Complexity: O(partitions · replicas).
  public func load(of id: MemberID) -> Load {
    guard let index = index(of: id) else { return Load() }
    return loads[index]
  }

  /// The load of each member, in the order of `members`. O(partitions · replicas).
  public var loads: [Load] {
    var loads = Array(repeating: Load(), count: members.count)
    for (place, index) in slots.enumerated() {
      loads[Int(index)].slots += 1
      if place % replicas == 0 { loads[Int(index)].coordinated += 1 }
    }
    return loads
  }

  /// What a member holds.
  public struct Load: Hashable, Sendable {
    /// Partitions of which it holds a replica.
    public var slots = 0
    /// Those among them that it coordinates.
    public var coordinated = 0
  }

  /// The part of all slots that a member holds, 0 to 1. O(partitions · replicas).
  public func share(of id: MemberID) -> Double {
    Double(load(of: id).slots) / Double(slots.count)
  }

  func index(of id: MemberID) -> Int? {
    var low = 0
    var high = members.count
    while low < high {
      let middle = (low + high) / 2
      if members[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < members.count && members[low].id == id ? low : nil
  }
}

// MARK: - Changes

extension Ring {
  /// Carries out a move, which begins a new epoch. A leaving member that held its last slot is gone
  /// from `members` afterwards.
  ///
  /// - Throws: ``RingError`` with code `.unknownMember`, or `.staleMove` (`from` is not at that place,
  ///   or `to` is in that list already); then nothing was changed.
  /// - Complexity: O(replicas), and O(partitions · replicas) where `from` leaves.
  public mutating func apply(_ move: PartitionMove) throws(RingError) {
    guard let from = index(of: move.from), let to = index(of: move.to) else {
      throw RingError(.unknownMember, "partition \(move.partition) moves between members of another ring")
    }
    guard move.partition >= 0, move.partition < partitionCount, move.slot >= 0, move.slot < replicas
    else {
      throw RingError(.staleMove, "there is no slot \(move.slot) of partition \(move.partition)")
    }
    let list = move.partition * replicas..<(move.partition + 1) * replicas
    let place = list.lowerBound + move.slot
    guard slots[place] == UInt16(from), !slots[list].contains(UInt16(to)) else {
      throw RingError(.staleMove, "partition \(move.partition) has moved since this was planned")
    }
    slots[place] = UInt16(to)
    epoch += 1
    if isLeaving[from], !slots.contains(UInt16(from)) { drop(from) }
  }

  /// Forgets a member that holds nothing.
  mutating func drop(_ index: Int) {
    members.remove(at: index)
    isLeaving.remove(at: index)
    for place in slots.indices where slots[place] > UInt16(index) { slots[place] -= 1 }
  }
}
