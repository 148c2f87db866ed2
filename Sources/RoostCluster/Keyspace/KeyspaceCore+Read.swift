package import RoostCausality
import RoostStorage

// How a key is read: from the one replica that there is, or, where there are several, from all that
// are present, joined. A replica that had less than the join learns it soon after (`ReadRepairs`).
//
// No lock is taken. A partition may move away between the look at the route table and the read of
// the store; then the table's version has changed, and the read starts over.

extension KeyspaceCore {
  /// The record of a key, without what has expired; `nil` where the key was never written.
  ///
  /// - Throws: as ``find(_:)``.
  package func record(_ key: RawSpan) throws(DatabaseError) -> Record? { try find(key).record }

  /// What is under a key, without what has expired.
  ///
  /// - Throws: `.invalidArgument`, `.unreachable`, `.closed`, `.corruption`, `.storage`.
  package func find(_ key: RawSpan) throws(DatabaseError) -> FoundRecord {
    let (_, partition) = try locate(key)
    return try StoredKey.withStoredKey(partition, key) { storedKey throws(DatabaseError) in
      while true {
        let version = shared.routes.version
        let found: FoundRecord
        do throws(DatabaseError) {
          found =
            replicas == 1
            ? try firstPart(partition).find(storedKey) : try joined(partition, storedKey)
        } catch {
          // A store that left the database while it was being read.
          guard shared.routes.version != version else { throw error }
          continue
        }
        guard shared.routes.version == version else { continue }
        return unexpired(found)
      }
    }
  }

  @inline(__always)
  private func unexpired(_ found: FoundRecord) -> FoundRecord {
    switch found {
    case .absent: return found
    case .sole(let sole): if sole.expiry == 0 { return found }
    case .whole: break
    }
    return expired(found)
  }

  @inline(never)
  private func expired(_ found: FoundRecord) -> FoundRecord {
    guard var record = found.record else { return found }
    let isChanged = record.expire(at: shared.clock.physicalMilliseconds)
    return isChanged ? .whole(record) : found
  }

  /// The join of all present replicas' records; those that had less are going to be repaired.
  private func joined(
    _ partition: Int, _ storedKey: RawSpan
  ) throws(DatabaseError) -> FoundRecord {
    let (owners, _) = try allParts(partition)
    let (joined, lagging) = try join(owners, storedKey)
    guard let joined else { return .absent }
    if let lagging {
      let key = unsafe storedKey.withUnsafeBytes { unsafe [UInt8]($0.dropFirst(StoredKey.prefixBytes)) }
      shared.repairs.add(self, key, on: lagging.member.workers)
    }
    return .whole(joined)
  }

  /// The join of what these stores have under a key, and the first of them that has less.
  func join(
    _ owners: [KeyspacePart], _ storedKey: RawSpan
  ) throws(DatabaseError) -> (Record?, lagging: KeyspacePart?) {
    var found: [Record?] = []
    var joined: Record?
    for part in owners {
      let record = try part.load(storedKey)?.record
      found.append(record)
      guard let record else { continue }
      if joined == nil { joined = record } else { joined!.join(record) }
    }
    return (joined, found.firstIndex { $0 != joined }.map { owners[$0] })
  }

  /// A record without what has expired by now.
  package func unexpired(_ record: Record) -> Record {
    var record = record
    _ = record.expire(at: shared.clock.physicalMilliseconds)
    return record
  }

  /// A context bound to the key, for what a read of it saw.
  package func context(_ key: RawSpan, _ record: Record?) -> CausalContext {
    CausalContext(binding: binding(key), vector: record?.context ?? VersionVector())
  }

  /// The values of a record as the keyspace's policy shows them.
  package func visible(_ record: Record?) -> [Sibling] {
    guard let record else { return [] }
    let siblings = record.siblings.elements
    guard siblings.count > 1 else { return siblings }
    switch policy.siblings {
    case .keep: return siblings
    case .lastWriterWins: return [record.siblings.latest!]
    case .resolve(let resolve):
      guard let value = resolve(siblings.map(\.value)) else { return [] }
      let latest = record.siblings.latest!
      return [
        Sibling(dot: latest.dot, timestamp: latest.timestamp, expiry: latest.expiry, value: value)
      ]
    }
  }
}
