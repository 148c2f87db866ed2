package import RoostCausality

// What travels with a request of a session, and with its answer.
//
// A vector is enough to say what a session saw of one key. The dots of a store count all of its keys, so that
// one key's have gaps; but a store's own record of a key holds or has replaced all of its earlier dots of
// that key, and records travel whole. So a record whose context has reached a dot has all that the dot's
// store had seen of that key then. No such thing holds across keys: a session remembers each key for itself.

/// What the state must cover that a session's operation on a key is done on. A plain value.
package struct SessionDemand: Sendable, Equatable {
  /// Whose keys the session has seen; `nil` where it has seen none yet.
  package var database: DatabaseID?
  /// What it saw of the key, bound to it; `nil` where it remembers nothing of it.
  package var seen: CausalContext?
  /// Whether it may have seen the key and forgotten it: then every replica has to answer.
  package var asksAll = false

  package init(database: DatabaseID? = nil, seen: CausalContext? = nil, asksAll: Bool = false) {
    self.database = database
    self.seen = seen
    self.asksAll = asksAll
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

  package init(database: DatabaseID, seen: CausalContext) {
    self.database = database
    self.seen = seen
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
    write(byte: demand.asksAll ? 1 : 0)
    write(fixed: demand.database?.high ?? 0)
    write(fixed: demand.database?.low ?? 0)
    write(lengthPrefixed: demand.seen?.bytes ?? [])
  }

  mutating func write(_ mark: SessionMark) {
    write(fixed: mark.database.high)
    write(fixed: mark.database.low)
    write(lengthPrefixed: mark.seen.bytes)
  }
}

extension FieldReader {
  mutating func readSessionDemand() throws(DatabaseError) -> SessionDemand {
    let asksAll = try readFlag()
    let database = DatabaseID(high: try readFixed(), low: try readFixed())
    let token = try readLengthPrefixed()
    return SessionDemand(
      database: database == .unknown ? nil : database,
      seen: token.isEmpty ? nil : try CausalContext(bytes: token), asksAll: asksAll)
  }

  mutating func readSessionMark() throws(DatabaseError) -> SessionMark {
    let database = DatabaseID(high: try readFixed(), low: try readFixed())
    return SessionMark(database: database, seen: try CausalContext(bytes: try readLengthPrefixed()))
  }
}

extension DatabaseID {
  /// No database's: 128 bits that are all zero stand for none.
  static let unknown = DatabaseID(high: 0, low: 0)
}
