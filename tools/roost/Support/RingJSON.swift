import RoostCluster

/// A ring as JSON, as `roost ring` and `roost cluster ring` write it.
enum RingJSON {
  /// - Parameters:
  ///   - plan: of a change that would be; `nil` where none is asked about.
  ///   - revision: of the cluster's ring; a database of one process has none.
  ///   - counts: what is under way, by its name, behind the ring's own numbers.
  ///   - directories: of the members' stores, where they are known.
  static func object(
    _ ring: Ring, _ plan: RingPlan?, revision: UInt64? = nil, counts: [(name: StaticString, count: Int)],
    directories: [MemberID: String]? = nil
  ) -> JSONWriter {
    var writer = JSONWriter()
    writer.beginObject()
    if let revision { writer.member("revision", revision) }
    writer.member("epoch", ring.epoch)
    writer.member("partitions", ring.partitionCount)
    writer.member("replicas", ring.replicas)
    for (name, count) in counts { writer.member(name, count) }
    writer.name("members")
    writer.beginArray()
    for (member, load) in zip(ring.members, ring.loads) {
      writer.beginObject()
      writer.member("id", "\(member.id)")
      writer.member("name", member.name)
      if let directories { writer.member("directory", directories[member.id] ?? "") }
      writer.member("weight", member.weight)
      writer.member("zone", member.zone)
      writer.member("partitions", load.slots)
      writer.member("coordinated", load.coordinated)
      writer.endObject()
    }
    writer.endArray()
    if let plan { writer.member("moves", plan.moves.count) }
    writer.endObject()
    return writer
  }
}
