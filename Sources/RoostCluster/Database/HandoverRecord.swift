package import RoostCausality
import RoostStorage

// handover := version u8 (1) | partition varint | member u64 | highest u64

/// The record `handover` of the system tree: the store has given up a partition's transactional keys, for
/// another member to take over.
///
/// It is durable before any store is told the ring that names the other member, and goes once the partition
/// is dropped here, or taken back. Whoever opens this store without some of the others cannot know which
/// it will be: it then serves those keys to nobody.
package struct HandoverRecord: Equatable, Sendable {
  static let version: UInt8 = 1

  package var partition: Int
  /// The member that takes over.
  package var member: MemberID
  /// At or above every time at which this store has served a read of the partition.
  package var highest: Timestamp

  package init(partition: Int, member: MemberID, highest: Timestamp) {
    self.partition = partition
    self.member = member
    self.highest = highest
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.version)
    writer.write(count: partition)
    writer.write(fixed: member.rawValue)
    writer.write(fixed: highest.rawValue)
    return writer.bytes
  }

  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the handover record")
    _ = try reader.readVersion(upTo: Self.version)
    partition = try reader.readPartition()
    member = MemberID(rawValue: try reader.readFixed())
    highest = Timestamp(rawValue: try reader.readFixed())
    try reader.readEnd()
  }
}

extension HandoverRecord {
  /// Under which a node of a cluster keeps what it gave up of a partition: it may be several.
  static func key(of partition: Int) -> String { "\(Member.SystemKey.handovers)\(partition)" }

  /// What a node's store has given up.
  ///
  /// - Throws: `.corruption`, `.newerFormat`, `.storage`.
  static func ofNode(_ system: Tree, at path: String) throws(DatabaseError) -> [HandoverRecord] {
    let values = try storing("what \(path) gave up could not be read") { () throws(StoreError) in
      var values: [[UInt8]] = []
      var cursor = try system.cursor(prefix: Array(Member.SystemKey.handovers.utf8))
      while try cursor.next() { values.append(cursor.valueBytes) }
      return values
    }
    var records: [HandoverRecord] = []
    for value in values { records.append(try HandoverRecord(decoding: value)) }
    return records
  }
}
