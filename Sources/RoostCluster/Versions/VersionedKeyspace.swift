package import RoostCausality
import RoostStorage

/// A transactional keyspace as one process holds it: its trees in every member's store.
///
/// Each partition is its first replica's alone: nobody else serves it where that store is not open.
///
/// Thread-safe.
package final class VersionedKeyspace: Sendable {
  package let name: String
  /// In the schema.
  package let id: UInt64
  private let shared: DatabaseShared
  private let parts: PublishedSlots<VersionedPart>

  init(_ schema: Schema.Keyspace, _ shared: DatabaseShared) {
    name = schema.name
    id = schema.id
    self.shared = shared
    parts = PublishedSlots(capacity: DatabaseCore.slotLimit)
  }

  /// Opens the keyspace's trees in a member's store. With the database's `topology` held.
  func attach(_ member: Member) throws(DatabaseError) {
    let part = try VersionedPart(
      name, in: member.store, at: member.path, member.versionGate, floor: shared.clockStart)
    parts.publish(part, at: member.slot)
  }

  /// Takes a member that leaves out.
  func withdraw(_ slot: Int) { parts.withdraw(slot) }

  // MARK: - Where keys are

  /// The partition of a key.
  ///
  /// - Throws: `.invalidArgument` for a key out of its limits.
  package func partition(of key: [UInt8]) throws(DatabaseError) -> Int {
    try VersionedPart.check(key)
    return key.withKeyBytes { bytes in
      Placement.partition(ofHash: Placement.hash(bytes), count: shared.routes.partitionCount)
    }
  }

  package var partitionCount: Int { shared.routes.partitionCount }

  /// The member that has a partition.
  ///
  /// - Throws: `.unreachable` where its store is not open, `.closed`.
  package func owner(of partition: Int) throws(DatabaseError) -> Member {
    try shared.checkOpen()
    guard partition >= 0, partition < shared.routes.partitionCount else {
      throw DatabaseError(.invalidArgument, "there is no partition \(partition)")
    }
    return try shared.transactionalOwner(partition)
  }

  /// The keyspace's part in a member's store.
  ///
  /// - Throws: `.missingStore` where it is not open there.
  package func part(of member: Member) throws(DatabaseError) -> VersionedPart {
    if let part = parts[member.slot] { return part }
    throw DatabaseError(.missingStore, "the keyspace `\(name)` is not open in \(member.path)")
  }

  /// The part that has a partition.
  ///
  /// - Throws: as ``owner(of:)``.
  package func part(of partition: Int) throws(DatabaseError) -> VersionedPart {
    try part(of: try owner(of: partition))
  }

  // MARK: - Reading, wherever the keys are

  /// The newest version of a key; see ``VersionedPart/latest(_:_:)``.
  package func latest(_ key: [UInt8]) throws(DatabaseError) -> VersionedEntry? {
    let partition = try partition(of: key)
    return try part(of: partition).latest(partition, key)
  }

  /// A key as of a time; see ``VersionedPart/read(_:_:at:)``.
  package func read(_ key: [UInt8], at time: Timestamp) throws(DatabaseError) -> VersionedEntry? {
    let partition = try partition(of: key)
    return try part(of: partition).read(partition, key, at: time)
  }

  /// A part of a partition's range; see ``VersionedPart/scan(_:from:to:at:limit:)``.
  package func scan(
    _ partition: Int, from lower: [UInt8], to upper: [UInt8]?, at time: Timestamp?, limit: Int
  ) throws(DatabaseError) -> VersionedPage {
    try part(of: partition).scan(partition, from: lower, to: upper, at: time, limit: limit)
  }
}
