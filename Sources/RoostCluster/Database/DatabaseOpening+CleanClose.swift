package import RoostEnvironment
package import RoostStorage

// What becomes of stores that were opened, and of which no database was made.

extension DatabaseOpening {
  /// Closes a store of which nothing was made. Opening it has replaced its marker: so that the next
  /// open still takes a clean close for one, it is noted anew, as it was. No dot was minted since.
  static func letGo(_ candidate: Candidate, _ environment: Environment) {
    renewCleanClose(candidate, environment)
    try? candidate.store.close()
  }

  private static func renewCleanClose(_ candidate: Candidate, _ environment: Environment) {
    guard let closed = cleanClose(candidate), var identity = candidate.identity else { return }
    // Where this fails the store takes a new incarnation, as after a kill: no harm.
    do throws(DatabaseError) {
      identity.closed = try IdentityRecord.CleanClose.now(closed.counter, candidate.path, environment)
      let record = identity
      try storing { () throws(StoreError) in
        try candidate.system.put(Member.SystemKey.identity, record.encoded(), .synced)
      }
    } catch {}
  }

  /// The same for whoever opened a store to look after it, past its database, and wrote no records:
  /// before it is closed. Does nothing for a store of no database.
  ///
  /// - Parameter marker: as it was before the store was opened.
  package static func keepCleanClose(
    of store: Store, at path: String, marker: FileInfo?, _ environment: Environment
  ) {
    guard let system = store.existingTree(Member.systemTree) else { return }
    var candidate = Candidate(path: path, store: store, system: system, marker: marker)
    do throws(DatabaseError) { try read(&candidate) } catch { return }
    renewCleanClose(candidate, environment)
  }
}
