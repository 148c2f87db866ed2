import RoostStorage

// A replica of a partition has a part in reaping while it is one. So a store that gave a partition away is
// asked about nothing of it, and `ReapingEvidence` says nothing of what went meanwhile. Where the partition
// came back and the disk then goes back to before it left, the store holds values again whose tombstones are
// gone. It knows the ring of that time, too, in which the partition has another tenancy than in the
// cluster's: what it has of such partitions is deleted before it takes part, as what is left of a partition
// is before it comes to a store. It is as good as a replica that lost its disk then: reads and comparisons
// bring the rest.

extension RingState {
  /// The partitions that a member has, or is getting, by this state, and not by an earlier one that its store
  /// knows, or not for the same time: in between they may have been others'.
  ///
  /// One that was on its way to the store by the earlier state is not among them: that it has come is all
  /// that a store may have missed in a crash.
  func regained(by member: MemberID, since earlier: RingState) -> [Int] {
    guard earlier.revision < revision, earlier.ring.partitionCount == ring.partitionCount,
      earlier.ring.replicas == ring.replicas
    else { return [] }
    return (0..<ring.partitionCount).filter { partition in
      guard needs(partition, at: member) else { return false }
      if earlier.copies.contains(where: { $0.partition == partition && $0.to == member }) { return false }
      let before = earlier.tenancy(partition, of: member)
      return before == nil || before != tenancy(partition, of: member)
    }
  }

  /// The epoch at which a partition came to a member; `nil` where it is no replica of it.
  private func tenancy(_ partition: Int, of member: MemberID) -> UInt64? {
    ring.replicas(of: partition).firstIndex(of: member).map { tenancy(partition, $0) }
  }
}
