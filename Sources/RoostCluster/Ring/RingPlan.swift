/// The way from one ring to another: which replicas move, in which order.
///
/// Whoever carries it out takes over `start`, which admits the new members and holds all that the ring
/// held, then copies and applies the moves. Moves of different partitions may run at once and in any
/// order; those of one partition one after the other, in the order of `moves`, so that never two of its
/// replicas are on their way together. When all are applied the ring is `target`.
///
/// A plan is not kept: when the process ends half-way, `ring.plan(to: ring.staying)` makes the rest of
/// it anew from the ring as it stands. A value.
public struct RingPlan: Sendable, Equatable {
  /// The ring before the first move: its members are those of both rings. Who coordinates a partition
  /// may differ from the ring planned from, unless the order was to be kept; who holds it does not.
  public let start: Ring
  /// The first moves of all partitions, by partition; then the second ones; and so on.
  public let moves: [PartitionMove]
  public let target: Ring
  /// Whether the ring planned from is the target already.
  public let isEmpty: Bool

  /// How many partitions come to a member.
  public func incoming(_ id: MemberID) -> Int { moves.count { $0.to == id } }

  /// How many partitions go from a member.
  public func outgoing(_ id: MemberID) -> Int { moves.count { $0.from == id } }
}

extension Ring {
  /// What to move so that these are the members: for some that join, leave, change weight or zone, in
  /// any combination, also while an earlier plan is half done.
  ///
  /// Moves as little as any plan does that gives each member its new number of slots (``Ring``): what
  /// members lack to it, and more only where zones or the distinctness of a list ask for it. Whose
  /// number is rounded up, of those with equal remainders, is chosen so that they lack the least.
  ///
  /// - Parameters:
  ///   - wanted: all members that shall be, in any order.
  ///   - keepsOrder: only a move changes who has which place of a list: for a database that keeps with the
  ///     first members what the others do not have. The start's lists are this ring's then, and who stays
  ///     keeps the place. The members coordinate as evenly as it happens.
  /// - Throws: ``RingError`` with the codes of ``init(partitionCount:replicas:members:epoch:)``.
  /// - Complexity: O(Q · M · log Q) for Q partitions and M members, and O(Q · N + M²) for each move
  ///   that cannot be made directly, N being the replicas.
  public func plan(
    to wanted: [RingMember], keepsOrder: Bool = false
  ) throws(RingError) -> RingPlan {
    let wanted = try Self.checked(wanted, replicas: replicas)
    var start = admitting(wanted)
    // From places in `start` to places among those wanted, and back.
    let back = wanted.map { start.index(of: $0.id) ?? 0 }
    var place = Array(repeating: -1, count: start.members.count)
    for (new, old) in back.enumerated() { place[old] = new }

    let solved = RingSolver.solve(
      members: wanted, replicas: replicas, current: start.slots.map { place[Int($0)] },
      keepsOrder: keepsOrder)
    var wantedSlots = solved.map { UInt16(back[$0]) }
    if keepsOrder { start.pair(&wantedSlots) } else { start.order(towards: wantedSlots) }
    let lists = wantedSlots.map { place[Int($0)] }
    for index in start.members.indices.reversed() where start.isLeaving[index] {
      if !start.slots.contains(UInt16(index)) { start.drop(index) }
    }
    var isEmpty = false
    if start == self { isEmpty = true } else { start.epoch += 1 }

    let moves = start.moves(to: lists.map { wanted[$0].id })
    let target = Ring(
      partitionCount: partitionCount, replicas: replicas, epoch: start.epoch + UInt64(moves.count),
      members: wanted, isLeaving: Array(repeating: false, count: wanted.count),
      slots: lists.map { UInt16($0) })
    guard target.epoch <= Self.maximumEpoch else {
      throw RingError(.epochOutOfRange, "the epoch would go above 2^62")
    }
    return RingPlan(start: start, moves: moves, target: target, isEmpty: isEmpty)
  }

  /// This ring with those that are new among the members, and those that are not wanted leaving.
  private func admitting(_ wanted: [RingMember]) -> Ring {
    let leaving = members.filter { old in !wanted.contains { $0.id == old.id } }
    let all = (wanted + leaving).sorted { $0.id < $1.id }
    let leavers = Set(leaving.map(\.id))
    var ring = self
    ring.members = all
    ring.isLeaving = all.map { leavers.contains($0.id) }
    let places = members.map { UInt16(ring.index(of: $0.id) ?? 0) }
    ring.slots = slots.map { places[Int($0)] }
    return ring
  }

  /// Orders each list as the target's. Who is in both stands at the same place in both, and who goes
  /// stands, where it can be, where a member of its own zone comes.
  private mutating func order(towards target: [UInt16]) {
    let zones = ZoneSpread(members, replicas: 1).zone
    for first in stride(from: 0, to: slots.count, by: replicas) {
      let places = first..<first + replicas
      for place in places where slots[place] != target[place] {
        if let other = places.first(where: { slots[$0] == target[place] }) {
          slots.swapAt(place, other)
        }
      }
      let moving = places.filter { slots[$0] != target[$0] }
      func fits(_ place: Int, _ wanted: Int) -> Bool {
        zones[Int(slots[place])] == zones[Int(target[wanted])]
      }
      for place in moving where !fits(place, place) {
        if let other = moving.first(where: { fits($0, place) && !fits($0, $0) }) {
          slots.swapAt(place, other)
        }
      }
    }
  }

  /// Gives those that come other places, so that each comes, where it can be, where a member of its own zone
  /// goes. Who is in both lists stands at the same place in both already.
  private func pair(_ target: inout [UInt16]) {
    let zones = ZoneSpread(members, replicas: 1).zone
    for first in stride(from: 0, to: slots.count, by: replicas) {
      let moving = (first..<first + replicas).filter { slots[$0] != target[$0] }
      for place in moving {
        let zone = zones[Int(slots[place])]
        if zones[Int(target[place])] == zone { continue }
        let other = moving.first { other in
          let wanted = zones[Int(target[other])]
          return wanted == zone && wanted != zones[Int(slots[other])]
        }
        if let other { target.swapAt(place, other) }
      }
    }
  }

  /// The moves, those of a partition in an order in which its list is never worse spread than both before
  /// and after. First go those within a zone, and into zones that are not in the list: they leave as many
  /// zones in it. The rest can only take zones away, and ends with those that there are in the end.
  private func moves(to target: [MemberID]) -> [PartitionMove] {
    let zones = ZoneSpread(members, replicas: 1).zone
    var rounds: [[PartitionMove]] = []
    for partition in 0..<partitionCount {
      let first = partition * replicas
      var left = (first..<first + replicas).filter { members[Int(slots[$0])].id != target[$0] }
      if left.isEmpty { continue }
      var count: [Int: Int] = [:]
      for place in first..<first + replicas { count[zones[Int(slots[place])], default: 0] += 1 }
      func zone(to place: Int) -> Int { index(of: target[place]).map { zones[$0] } ?? 0 }
      for round in left.indices {
        let isFree = { (place: Int) -> Bool in
          zone(to: place) == zones[Int(slots[place])] || count[zone(to: place), default: 0] == 0
        }
        let place = left.remove(at: left.firstIndex(where: isFree) ?? 0)
        count[zones[Int(slots[place])], default: 0] -= 1
        count[zone(to: place), default: 0] += 1
        if rounds.count == round { rounds.append([]) }
        rounds[round].append(
          PartitionMove(
            partition: partition, slot: place - first, from: members[Int(slots[place])].id,
            to: target[place]))
      }
    }
    return rounds.flatMap { $0 }
  }
}
