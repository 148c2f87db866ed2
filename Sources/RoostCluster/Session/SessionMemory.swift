import RoostCausality
import RoostStorage

/// What a session has seen of keys: for each, how far.
///
/// Bounded in keys, and in entries of their vectors together. Where it gets too many, those that were used
/// least recently fall out, an eighth of them at a time; from then on it cannot tell a key that it never saw
/// from one that it forgot, and asks all replicas for either. So forgetting costs time, never the promise.
///
/// A plain value, used by one thread at a time.
package struct SessionMemory: Sendable {
  /// Stores that may have written a key, on average.
  static let entriesPerKey = 16
  static let largestCapacity = 65_536

  private struct Seen: Sendable {
    var binding: UInt64
    var vector: VersionVector
    /// When the vector last grew, where the cluster said so: what is read again and again is no younger.
    var since: Timestamp?
    var lastUse: UInt64
  }

  /// A key's demand, and how often something had been forgotten by then.
  package struct Use: Sendable {
    let key: UInt64
    package let demand: SessionDemand
    fileprivate let evictions: UInt64
  }

  package let capacity: Int
  /// Whose keys they are; `nil` where none was seen yet.
  package private(set) var database: DatabaseID?
  /// Whether any key fell out.
  package private(set) var hasForgotten = false
  /// By a hash of the keyspace's name and the key. Two keys of one hash have different bindings, and the
  /// second is refused: not likely, and no promise broken.
  private var keys: [UInt64: Seen] = [:]
  private var entryCount = 0
  private var uses: UInt64 = 0
  private var evictions: UInt64 = 0

  /// - Parameter capacity: how many keys are remembered.
  /// - Throws: `.invalidOption`.
  package init(capacity: Int, database: DatabaseID? = nil) throws(DatabaseError) {
    guard (1...Self.largestCapacity).contains(capacity) else {
      throw DatabaseError(
        .invalidOption, "a session of \(capacity) keys: it must be 1 to \(Self.largestCapacity)")
    }
    self.capacity = capacity
    self.database = database
  }

  package var count: Int { keys.count }

  package static func hash(_ keyspace: String, _ key: [UInt8]) -> UInt64 {
    var writer = FieldWriter()
    writer.write(text: keyspace)
    return Checksum.xxh64(writer.bytes + key)
  }

  /// What an operation on a key begins with.
  ///
  /// - Complexity: O(1).
  package func use(_ key: UInt64) -> Use {
    let seen = keys[key].map { CausalContext(binding: $0.binding, vector: $0.vector) }
    let demand = SessionDemand(
      database: database, seen: seen, asksAll: hasForgotten && seen == nil, since: keys[key]?.since)
    return Use(key: key, demand: demand, evictions: evictions)
  }

  /// Remembers what an operation saw.
  ///
  /// - Throws: `.foreignToken` where that was in another database.
  /// - Complexity: O(1) but for forgetting, which sorts the keys once in an eighth of their number.
  package mutating func note(_ use: Use, _ mark: SessionMark) throws(DatabaseError) {
    if let database, database != mark.database { throw Self.foreign(database, mark.database) }
    database = mark.database
    uses += 1
    if var seen = keys[use.key], seen.binding == mark.seen.binding {
      let grows = !mark.seen.reached.isAtMost(seen.vector) || mark.replaces
      entryCount -= seen.vector.entries.count
      // Not what another operation has seen since this one began.
      if mark.replaces, seen.vector == use.demand.vector { seen.vector = VersionVector() }
      seen.vector.merge(mark.seen.reached)
      // By what it saw before, it may count as reaped no later than that is: else whoever goes on reading a
      // key that is deleted misses it for another horizon once it is reaped.
      if grows || seen.since == nil {
        seen.since = mark.since.map { max($0, seen.since ?? $0) } ?? seen.since
      }
      seen.lastUse = uses
      entryCount += seen.vector.entries.count
      keys[use.key] = seen
    } else {
      // Another operation's, which saw more, may have fallen out while this one was under way.
      guard use.evictions == evictions else { return }
      insert(use.key, mark.seen.binding, mark.seen.reached, mark.since)
    }
    forget()
  }

  static func foreign(_ own: DatabaseID, _ other: DatabaseID) -> DatabaseError {
    DatabaseError(.foreignToken, "the session is of the database \(own), not of \(other)")
  }

  private mutating func insert(
    _ key: UInt64, _ binding: UInt64, _ vector: VersionVector, _ since: Timestamp?
  ) {
    entryCount += vector.entries.count
    let seen = Seen(binding: binding, vector: vector, since: since, lastUse: uses)
    let old = keys.updateValue(seen, forKey: key)
    entryCount -= old?.vector.entries.count ?? 0
  }

  private mutating func forget() {
    if keys.count <= capacity, entryCount <= capacity * Self.entriesPerKey { return }
    let kept = capacity - capacity / 8
    for (key, seen) in keys.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
      if keys.count <= kept, entryCount <= kept * Self.entriesPerKey { break }
      keys[key] = nil
      entryCount -= seen.vector.entries.count
    }
    hasForgotten = true
    evictions += 1
  }

  // MARK: - As a token

  // A session token's payload:
  //
  //   payload := database high u64 | low u64 (0, 0: none yet) | flags u8 (bit 0 forgotten, bit 1 times)
  //            | count varint | seen*
  //   seen    := key hash u64 | context lengthPrefixed | since u64, where there are times: 0 of none
  //
  // The one that was used least recently in front; no key twice. A context is the payload of a context token,
  // without a dot.

  package var token: [UInt8] {
    var writer = FieldWriter()
    writer.write(database ?? .unknown)
    let hasTimes = keys.values.contains { $0.since != nil }
    writer.write(byte: (hasForgotten ? 1 : 0) | (hasTimes ? 2 : 0))
    writer.write(count: keys.count)
    for (key, seen) in keys.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
      var context: [UInt8] = []
      CausalContext(binding: seen.binding, vector: seen.vector).encode(into: &context)
      writer.write(fixed: key)
      writer.write(lengthPrefixed: context)
      if hasTimes { writer.write(fixed: seen.since?.rawValue ?? 0) }
    }
    return SealedToken.seal(.session, writer.bytes)
  }

  /// - Parameter capacity: of the session that goes on; what is too much for it is forgotten.
  /// - Throws: `.damagedToken`, `.newerFormat`, `.invalidOption`, and `.foreignToken` where it saw another
  ///   database's keys.
  package init(token: [UInt8], capacity: Int, for database: DatabaseID) throws(DatabaseError) {
    try self.init(token: token, capacity: capacity)
    if let own = self.database, own != database { throw Self.foreign(own, database) }
    self.database = database
  }

  /// - Throws: `.damagedToken`, `.newerFormat`, `.invalidOption`.
  package init(token: [UInt8], capacity: Int) throws(DatabaseError) {
    try self.init(capacity: capacity)
    var reader = FieldReader(try SealedToken.open(.session, token), "a session token", .damagedToken)
    let database = try reader.readDatabase()
    self.database = database == .unknown ? nil : database
    let flags = try reader.readByte()
    guard flags < 4 else { throw reader.damaged("flags of \(flags)") }
    hasForgotten = flags & 1 != 0
    var hasTimes = false
    for _ in 0..<(try reader.readCount(of: 20)) {
      let key = try reader.readFixed()
      let payload = try reader.readLengthPrefixed()
      let context: CausalContext
      do throws(CausalityError) { context = try CausalContext(decoding: payload.rawSpan) } catch {
        throw DatabaseError(
          error.code == .newerFormat ? .newerFormat : .damagedToken, "a session token: \(error)")
      }
      if keys[key] != nil { throw reader.damaged("a key stands in it twice") }
      if context.dot != nil || self.database == nil { throw reader.damaged("what it saw is no session's") }
      uses += 1
      let since = flags & 2 == 0 ? 0 : try reader.readFixed()
      if since != 0 { hasTimes = true }
      insert(key, context.binding, context.vector, since == 0 ? nil : Timestamp(rawValue: since))
    }
    guard hasTimes == (flags & 2 != 0) else { throw reader.damaged("times that there are not") }
    try reader.readEnd()
    forget()
  }
}
