// The record `ring` of the system tree:
//
//   state := version u8 (1) | revision varint | ring lengthPrefixed
//          | count varint | place* | count varint | copy* | count varint | drop*
//          | tenancy varint, one a partition and replica
//   place := member u64 | directory lengthPrefixed
//   copy  := partition varint | slot varint | from u64 | to u64
//   drop  := partition varint | member u64
//
// Every store has a copy; the highest revision counts. A tenancy is the epoch at which a partition's
// replica came to the member that holds it.

/// What a database's stores hold, and what is moving between them.
package struct RingState: Equatable, Sendable {
  static let version: UInt8 = 1

  /// A partition that a member no longer has, whose keys may still be in its store.
  package struct Drop: Equatable, Sendable {
    package var partition: Int
    package var member: MemberID
  }

  /// Rises with every change of the record.
  package var revision: UInt64 = 1
  package var ring: Ring
  /// Where each member's store was last.
  package var places: [MemberID: String]
  /// The moves that have begun: writes are forwarded to the target, and its keys are being copied.
  package var copies: [PartitionMove] = []
  package var drops: [Drop] = []
  /// By partition, then replica.
  package var tenancies: [UInt64]

  package init(ring: Ring, places: [MemberID: String]) {
    self.ring = ring
    self.places = places
    tenancies = [UInt64](repeating: ring.epoch, count: ring.partitionCount * ring.replicas)
  }

  package func tenancy(_ partition: Int, _ replica: Int) -> UInt64 {
    tenancies[partition * ring.replicas + replica]
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.version)
    writer.write(varint: revision)
    writer.write(lengthPrefixed: ring.encoded())
    writer.write(count: places.count)
    for (member, directory) in places.sorted(by: { $0.key < $1.key }) {
      writer.write(fixed: member.rawValue)
      writer.write(text: directory)
    }
    writer.write(count: copies.count)
    for move in copies {
      writer.write(count: move.partition)
      writer.write(count: move.slot)
      writer.write(fixed: move.from.rawValue)
      writer.write(fixed: move.to.rawValue)
    }
    writer.write(count: drops.count)
    for drop in drops {
      writer.write(count: drop.partition)
      writer.write(fixed: drop.member.rawValue)
    }
    for tenancy in tenancies { writer.write(varint: tenancy) }
    return writer.bytes
  }

  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the ring record")
    _ = try reader.readVersion(upTo: Self.version)
    revision = try reader.readOrdinal()
    let encodedRing = try reader.readLengthPrefixed()
    do throws(RingError) { ring = try Ring(decoding: encodedRing) } catch {
      throw DatabaseError(error.code == .newerFormat ? .newerFormat : .corruption, "\(error)")
    }
    let partitions = ring.partitionCount
    let replicas = ring.replicas
    places = [:]
    for _ in 0..<(try reader.readCount(of: 9)) {
      let member = MemberID(rawValue: try reader.readFixed())
      places[member] = try reader.readText()
    }
    func partition() throws(DatabaseError) -> Int {
      let value = try reader.readVarint()
      guard value < UInt64(partitions) else { throw reader.damaged("partition \(value)") }
      return Int(value)
    }
    for _ in 0..<(try reader.readCount(of: 18)) {
      let moved = try partition()
      let slot = try reader.readVarint()
      guard slot < UInt64(replicas) else { throw reader.damaged("replica \(slot)") }
      let from = MemberID(rawValue: try reader.readFixed())
      let to = MemberID(rawValue: try reader.readFixed())
      copies.append(PartitionMove(partition: moved, slot: Int(slot), from: from, to: to))
    }
    for _ in 0..<(try reader.readCount(of: 9)) {
      drops.append(Drop(partition: try partition(), member: MemberID(rawValue: try reader.readFixed())))
    }
    tenancies = []
    guard reader.remaining >= partitions * replicas else { throw reader.damaged("tenancies are missing") }
    for _ in 0..<(partitions * replicas) { tenancies.append(try reader.readVarint()) }
    try reader.readEnd()
    guard encoded() == bytes else { throw reader.damaged("it is not as a writer gives it") }
  }
}
