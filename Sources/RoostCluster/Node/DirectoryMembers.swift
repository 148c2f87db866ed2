/// What a cluster's directory says of its members, for whoever looks on from outside: a simulation.
package struct DirectoryMembers: Sendable {
  /// Those that are to stay, and those that give away what they hold.
  package let staying: [MemberID]
  package let leaving: [MemberID]
  /// Those that hold no partitions any more, and have yet to delete what they had, or to hand over hints.
  package let departing: [MemberID]
  /// The first of each partition's list, who has its transactional keys.
  package let owners: [MemberID]
  /// Moves that have begun.
  package let moves: [PartitionMove]
  /// Whether anything of a change is left to do.
  package let isChanging: Bool
  package let isCancelled: Bool
  /// Whether another change may begin.
  package let mayBegin: Bool

  /// - Returns: `nil` where no cluster was founded yet.
  /// - Throws: `.corruption`, `.newerFormat`, what the directory throws.
  package init?(_ directory: any ClusterDirectory) throws(DatabaseError) {
    guard let record = try directory.record(ClusterRecordName.database) else { return nil }
    let known = try DatabaseRecord(decoding: record.value)
    let ring = known.ring
    staying = ring.ring.staying.map(\.id)
    leaving = ring.ring.leaving.map(\.id)
    departing = ring.places.keys.filter { ring.ring.member($0) == nil }.sorted()
    owners = (0..<ring.ring.partitionCount).map { ring.ring.replica(of: $0, slot: 0) }
    moves = ring.copies
    isCancelled = known.change?.isCancelled ?? false
    isChanging =
      known.change != nil || !ring.copies.isEmpty || !ring.drops.isEmpty || !departing.isEmpty
    mayBegin = known.change == nil || isCancelled && ring.copies.isEmpty
  }

  /// All that have a part in the cluster, if only to delete what they gave away.
  package var all: [MemberID] { staying + leaving + departing }
}
