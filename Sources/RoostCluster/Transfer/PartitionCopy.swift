import RoostCausality
import RoostEnvironment
import RoostStorage

/// How far the copying of one partition is. A value.
///
/// A copy walks the partition in every keyspace that there was when it began; keyspaces made later
/// are empty of what was not forwarded. It is not kept over a restart: then it begins anew, which
/// costs time and changes nothing, since joining twice is joining once.
struct PartitionCopy {
  let move: PartitionMove
  /// Which plan it is of.
  private(set) var plan: Int
  /// A keyspace to walk.
  struct Walk {
    var name: String
    var isTransactional: Bool
  }

  let keyspaces: [Walk]
  /// The one that is being walked; their number at the end.
  var position = 0
  /// The stored key to go on from.
  var resume: [UInt8]
  var keys: UInt64 = 0
  var bytes: UInt64 = 0

  // Of transactional keyspaces, once the rest is whole.

  /// How often what transactions wrote meanwhile was brought after.
  var rounds = 0
  struct Waiting {
    var what: String
    /// Nanoseconds of the monotonic clock.
    var since: UInt64
  }
  var waiting: Waiting?
  /// Above every time at which the source has served a read, once it serves no more.
  var highest: Timestamp?

  init(_ move: PartitionMove, plan: Int, keyspaces: [Walk]) {
    self.move = move
    self.plan = plan
    self.keyspaces = keyspaces
    resume = StoredKey.make(move.partition)
  }

  var isWhole: Bool { position == keyspaces.count }

  /// The same copy, where another plan goes on with it.
  func adopted(by plan: Int) -> PartitionCopy {
    var copy = self
    copy.plan = plan
    copy.waiting = nil
    copy.highest = nil
    return copy
  }

  mutating func nextKeyspace() {
    position += 1
    resume = StoredKey.make(move.partition)
  }
}

extension KeyspaceCore {
  /// Most keys of a chunk.
  static var chunkKeys: Int { 512 }

  /// Joins the next keys of a partition into the store that it moves to.
  ///
  /// What the cursor shows may be older than the source's record: then the newer one was forwarded,
  /// as all writes since the copy began are, and joining the older one changes nothing.
  ///
  /// - Returns: how many bytes were read, and whether the partition's end was reached.
  func copyChunk(
    _ copy: inout PartitionCopy, from source: KeyspacePart, to target: KeyspacePart, limit: Int
  ) throws(DatabaseError) -> (bytes: Int, isAtEnd: Bool) {
    try prepareMove(to: target)
    let partition = copy.move.partition
    var bytes = 0
    var keys = 0
    var cursor = try reading(source) { () throws(StoreError) in
      if let end = StoredKey.end(of: partition) {
        return try source.records.cursor(from: copy.resume, to: end)
      }
      return try source.records.cursor(from: copy.resume)
    }
    while keys < Self.chunkKeys, bytes < limit {
      let isAtKey = try reading(source) { () throws(StoreError) in try cursor.next() }
      guard isAtKey else { return (bytes, true) }
      let storedKey = cursor.keyBytes
      let record: Record
      do throws(DatabaseError) { record = try StoredRecord(decoding: cursor.value).record } catch {
        throw unsafe source.damaged(storedKey.span.bytes, error)
      }
      try copyKey(storedKey, partition, record, to: target)
      keys += 1
      bytes += storedKey.count + cursor.value.byteCount
      copy.resume = storedKey + [0]
      copy.keys += 1
      copy.bytes += UInt64(storedKey.count + cursor.value.byteCount)
    }
    return (bytes, false)
  }

  private func copyKey(
    _ storedKey: [UInt8], _ partition: Int, _ record: Record, to target: KeyspacePart
  ) throws(DatabaseError) {
    let hash = storedKey.withKeyBytes { Placement.hash($0.extracting(droppingFirst: StoredKey.prefixBytes)) }
    let stripe = shared.locks[hash]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    beginChange(stripe)
    defer { endChange(stripe) }
    // The stripe keeps memory of its own: it is the next holder's.
    stripe.key.removeAll(keepingCapacity: true)
    stripe.key.append(contentsOf: storedKey)
    _ = try target.join(stripe, partition, record, try shared.clock.now(), self)
  }

  private func reading<R: ~Copyable>(
    _ source: KeyspacePart, _ body: () throws(StoreError) -> R
  ) throws(DatabaseError) -> R {
    try storing("the keyspace `\(name)` could not be read in \(source.member.path)", body)
  }
}
