package import RoostCausality

// What travels with a request of a session, and with its answer.
//
// A vector is enough to say what a session saw of one key. The dots of a store count all of its keys, so that
// one key's have gaps; but a store's own record of a key holds or has replaced all of its earlier dots of
// that key, and records travel whole. So a record whose context has reached a dot has all that the dot's
// store had seen of that key then. No such thing holds across keys: a session remembers each key for itself.
//
// Where tombstones are reaped, a key's record may go, and with it all that says that it covers what a session
// saw. All replicas of a key together have each write that any session saw, or what has replaced it, unless
// that was reaped, or lost in a crash before it was synced; and what is reaped was there for a horizon. So
// where all of them have answered, and the session has seen nothing new of the key for longer than a horizon,
// what they have is enough, and what the session remembered is dropped. Its time says nothing by itself: a
// write may be at one replica alone for longer, as long as another is away.

/// What the state must cover that a session's operation on a key is done on. A plain value.
package struct SessionDemand: Sendable, Equatable {
  /// Whose keys the session has seen; `nil` where it has seen none yet.
  package var database: DatabaseID?
  /// What it saw of the key, bound to it; `nil` where it remembers nothing of it.
  package var seen: CausalContext?
  /// Whether it may have seen the key and forgotten it: then every replica has to answer.
  package var asksAll = false
  /// When it first saw all of that, by the clock of the node that answered; `nil` where nothing is reaped.
  package var since: Timestamp?

  package init(
    database: DatabaseID? = nil, seen: CausalContext? = nil, asksAll: Bool = false, since: Timestamp? = nil
  ) {
    self.database = database
    self.seen = seen
    self.asksAll = asksAll
    self.since = since
  }

  /// What the state's context must have reached.
  package var vector: VersionVector { seen?.reached ?? VersionVector() }

  package func isCovered(by context: VersionVector) -> Bool { vector.isAtMost(context) }

  /// - Parameter binding: what contexts of the key are bound to.
  /// - Throws: `.foreignToken`, `.foreignContext`: it saw another database, or another key or keyspace of
  ///   that name.
  package func check(_ database: DatabaseID, binding: UInt64) throws(DatabaseError) {
    if let own = self.database, own != database { throw SessionMemory.foreign(own, database) }
    if let seen, seen.binding != binding {
      throw DatabaseError(.foreignContext, "the session saw another key or keyspace under that name")
    }
  }

  /// That what was found is older than what the session saw.
  ///
  /// - Parameter place: where that was looked for.
  package func failure(_ found: VersionVector, _ place: String) -> DatabaseError {
    let missing = vector.entries.filter { found[$0.replica] < $0.counter }
    let first = missing.prefix(3).map { entry in
      "\(Dot(replica: entry.replica, counter: entry.counter)) (found: \(found[entry.replica]))"
    }
    let more = missing.count > first.count ? " and \(missing.count - first.count) more" : ""
    return DatabaseError(
      .behindSession,
      "\(place) hold an older state than the session saw; missing are the writes up to "
        + first.joined(separator: ", ") + more)
  }
}

/// What a session is to remember of an operation that was done. A plain value.
package struct SessionMark: Sendable, Equatable {
  package var database: DatabaseID
  /// Of a read: what it saw. Of a write: what its replica had seen then, the write among it.
  package var seen: CausalContext
  /// When that was, where the cluster reaps tombstones: it counts where the session had seen less.
  package var since: Timestamp?
  /// Whether it takes the place of what the session asked for, of which nothing is left.
  package var replaces = false

  package init(
    database: DatabaseID, seen: CausalContext, since: Timestamp? = nil, replaces: Bool = false
  ) {
    self.database = database
    self.seen = seen
    self.since = since
    self.replaces = replaces
  }
}

extension CausalContext {
  /// The vector with the dot beside it. It claims writes of the dot's store that were not read, which every
  /// record has that has the dot: right to ask for, wrong to replace.
  var reached: VersionVector {
    guard let dot else { return vector }
    var reached = vector
    reached.include(dot)
    return reached
  }
}

extension FieldWriter {
  mutating func write(_ demand: SessionDemand) {
    write(byte: (demand.asksAll ? 1 : 0) | (demand.since == nil ? 0 : 2))
    write(demand.database ?? .unknown)
    write(lengthPrefixed: demand.seen?.bytes ?? [])
    if let since = demand.since { write(fixed: since.rawValue) }
  }

  /// With the byte that says whether there is one.
  mutating func write(_ mark: SessionMark?) {
    guard let mark else { return write(byte: 0) }
    write(byte: 1 | (mark.since == nil ? 0 : 2) | (mark.replaces ? 4 : 0))
    write(mark.database)
    write(lengthPrefixed: mark.seen.bytes)
    if let since = mark.since { write(fixed: since.rawValue) }
  }
}

extension FieldReader {
  /// - Parameter version: of the request.
  mutating func readSessionDemand(_ version: UInt8) throws(DatabaseError) -> SessionDemand {
    let flags = try readByte()
    guard flags < (version >= 3 ? 4 : 2) else { throw damaged("flags of a session of \(flags)") }
    let database = try readDatabase()
    let token = try readLengthPrefixed()
    let seen = token.isEmpty ? nil : try CausalContext(bytes: token)
    return SessionDemand(
      database: database == .unknown ? nil : database, seen: seen, asksAll: flags & 1 != 0,
      since: flags & 2 != 0 ? Timestamp(rawValue: try readFixed()) : nil)
  }

  /// - Parameter version: of the answer.
  mutating func readSessionMark(_ version: UInt8) throws(DatabaseError) -> SessionMark? {
    let flags = try readByte()
    if flags == 0 { return nil }
    guard flags & 1 != 0, flags < (version >= 3 ? 8 : 2) else { throw damaged("flags of a mark of \(flags)") }
    let database = try readDatabase()
    let seen = try CausalContext(bytes: try readLengthPrefixed())
    return SessionMark(
      database: database, seen: seen, since: flags & 2 != 0 ? Timestamp(rawValue: try readFixed()) : nil,
      replaces: flags & 4 != 0)
  }
}

extension DatabaseID {
  /// No database's: 128 bits that are all zero stand for none.
  static let unknown = DatabaseID(high: 0, low: 0)
}
