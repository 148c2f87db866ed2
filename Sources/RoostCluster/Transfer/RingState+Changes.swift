// What the ring's record goes through while partitions move, as pure steps:
//
//   plan ──► copying ──► flipped, to drop ──► done
//               └─────── given up, to drop ────┘
//
// Each step is durable in every store before the next begins, so wherever the process ends, the
// record says what to do: a partition that is being copied is copied anew, one to drop is dropped.

extension RingState {
  /// The state that begins a plan: nobody holds other partitions than before.
  ///
  /// Copies that the plan has a use for go on; what others brought to their targets is to be dropped.
  func adopting(_ plan: RingPlan) -> RingState {
    var next = self
    next.ring = plan.start
    for partition in 0..<ring.partitionCount {
      let old = ring.replicas(of: partition)
      // Lists may be in another order now: a tenancy belongs to the member.
      for (slot, member) in plan.start.replicas(of: partition).enumerated() {
        guard let place = old.firstIndex(of: member) else { continue }
        next.tenancies[partition * ring.replicas + slot] = tenancy(partition, place)
      }
    }
    next.copies = []
    for copy in copies {
      let use = plan.moves.first {
        $0.partition == copy.partition && $0.from == copy.from && $0.to == copy.to
      }
      if let use { next.copies.append(use) } else { next.addDrop(copy.partition, copy.to) }
    }
    return next
  }

  /// The state in which writes of a partition are forwarded to the store that it moves to.
  func copying(_ move: PartitionMove) -> RingState {
    var next = self
    next.copies.append(move)
    return next
  }

  /// The state in which a move is carried out. The receiver's tenancy begins with the new epoch.
  ///
  /// - Throws: `.staleMove`.
  func moved(_ move: PartitionMove) throws(RingError) -> RingState {
    var next = self
    try next.ring.apply(move)
    next.tenancies[move.partition * ring.replicas + move.slot] = next.ring.epoch
    next.copies.removeAll { $0 == move }
    next.addDrop(move.partition, move.from)
    return next
  }

  /// The state in which a member has nothing left of a partition.
  func dropped(_ drop: Drop) -> RingState {
    var next = self
    next.drops.removeAll { $0 == drop }
    return next
  }

  /// The state in which a member that holds nothing is forgotten.
  func forgetting(_ member: MemberID) -> RingState {
    var next = self
    next.places[member] = nil
    next.drops.removeAll { $0.member == member }
    return next
  }

  /// Whether a member holds a partition or is getting it: then nothing of it may be dropped there.
  func needs(_ partition: Int, at member: MemberID) -> Bool {
    ring.replicas(of: partition).contains(member)
      || copies.contains { $0.partition == partition && $0.to == member }
  }

  /// Begins the moves under way anew, from nothing.
  ///
  /// After a power loss a receiver may hold later writes than the source: applied ones that only its
  /// disk had got. Read at the source they are lost; they must not come back with the move.
  mutating func giveUpCopies() {
    for copy in copies { addDrop(copy.partition, copy.to) }
    copies = []
    revision += 1
  }

  private mutating func addDrop(_ partition: Int, _ member: MemberID) {
    let drop = Drop(partition: partition, member: member)
    if !drops.contains(drop) { drops.append(drop) }
  }
}
