import RoostCausality
import RoostStorage

extension KeyspaceCore {
  /// Looks for what may be reaped of a partition.
  ///
  /// - Parameters:
  ///   - before: what was written up to then is old enough.
  ///   - after: behind which key; empty for from the first one on.
  ///   - looks: how many records are looked at; taken off.
  ///   - limit: how many keys are found at most.
  /// - Returns: the keys, and the last one looked at; `nil` where that was the partition's end.
  /// - Throws: as `hashTree`.
  func reapable(
    of partition: Int, on member: Member, before: Timestamp, seed: UInt64, after: [UInt8], looks: inout Int,
    limit: Int
  ) throws(DatabaseError) -> (keys: [HashedKey], last: [UInt8]?) {
    var keys: [HashedKey] = []
    var bytes = 0
    var left = looks
    let last = try forEachStored(of: partition, on: member, after: after, { false }) { key, stored in
      left -= 1
      if stored.isReapable(before: before) {
        keys.append(HashedKey(key: key, hash: Self.reapingHash(stored.record, seed)))
        bytes += key.count
      }
      return left > 0 && keys.count < limit && bytes < 256 << 10
    }
    looks = left
    return (keys, last)
  }

  /// What two replicas' records of a key are compared by: of the whole encoding.
  static func reapingHash(_ record: Record, _ seed: UInt64) -> UInt64 {
    var bytes: [UInt8] = []
    record.encode(into: &bytes)
    return Checksum.xxh64(bytes, seed: seed)
  }

  /// What a store here has of a key that another replica would reap.
  ///
  /// - Throws: `.unreachable`, `.corruption`, `.storage`.
  func verdict(
    on key: HashedKey, of partition: Int, on member: Member, seed: UInt64, before: Timestamp
  ) throws(DatabaseError) -> ReapVerdict {
    guard let stored = try part(on: member).load(StoredKey.make(partition, key.key)) else { return .nothing }
    let isSame = stored.isReapable(before: before) && Self.reapingHash(stored.record, seed) == key.hash
    return isSame ? .same : .other
  }

  func isReapable(
    _ key: [UInt8], of partition: Int, on member: Member, before: Timestamp
  ) throws(DatabaseError) -> Bool {
    try part(on: member).load(StoredKey.make(partition, key))?.isReapable(before: before) == true
  }

  /// Deletes a record for good, with its entry in the feed and those of indexes, if it is what was agreed on.
  ///
  /// - Returns: whether it was.
  /// - Throws: `.invalidArgument`, `.unreachable`, `.corruption`, `.storage`, `.closed`.
  func reap(
    _ key: HashedKey, of partition: Int, on member: Member, seed: UInt64, before: Timestamp
  ) throws(DatabaseError) -> Bool {
    let place = try unsafe locate(key.key.span.bytes)
    guard place.partition == partition else {
      throw DatabaseError(.invalidArgument, "a key of partition \(place.partition), not \(partition)")
    }
    try prepareWrite()
    let stripe = shared.locks[place.hash]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    try checkWritable(partition)
    let part = try part(on: member)
    let storedKey = StoredKey.make(partition, key.key)
    guard let stored = try part.load(storedKey), stored.isReapable(before: before),
      Self.reapingHash(stored.record, seed) == key.hash
    else { return false }
    try part.erase(stripe, partition, storedKey, stored, self)
    return true
  }

  private func part(on member: Member) throws(DatabaseError) -> KeyspacePart {
    if let part = parts[member.slot] { return part }
    throw DatabaseError(.unreachable, "the keyspace `\(name)` is not open in \(member.path)")
  }
}
