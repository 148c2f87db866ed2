// How a feed is read to an end that does not run away from its reader, as exports do.
//
// The first page takes a bound: the number up to which nothing is on its way when it begins. Later
// pages leave out what came after it. Their token carries it, and the tenure of every partition: a
// partition that has changed its store since has its old changes under new numbers, above the bound.
// Then a new bound is taken. So there is an end as long as partitions do not move for ever.

extension KeyspaceCore {
  /// The next changes of those that were made before the first page was asked for.
  ///
  /// - Parameters:
  ///   - token: as for ``changes(since:limit:until:)``. That of a page which is not at the end goes on
  ///     with the same reading, over restarts too.
  ///   - begins: whether a new reading begins, even where the token is of an unfinished one.
  /// - Returns: a page whose ``ChangePage/isAtEnd`` says that all of them were told.
  /// - Throws: as ``changes(since:limit:until:)``.
  package func changesToEnd(
    since token: ChangeToken?, limit: ChangePageLimit = ChangePageLimit(), begins: Bool = false
  ) throws(DatabaseError) -> ChangePage {
    try shared.checkOpen()
    while true {
      let version = shared.routes.version
      let bound = begins ? nil : try standingBound(token)
      // A write that has returned is told, whoever else is still writing.
      if bound == nil { settle() }
      var page = try changes(since: token, limit: limit, until: bound)
      page.token =
        page.isAtEnd
        ? ChangeToken(keyspace: bindingSeed, page.token.position)
        : try unfinished(page.token.position, page.bound)
      if shared.routes.version == version { return page }
    }
  }

  /// Waits until what is being written now is written. May block: not for asynchronous callers, nor
  /// for whoever holds a key's lock.
  private func settle() { shared.locks.settle() }

  /// The bound that a token carries, where everything up to it still has the numbers that it had.
  private func standingBound(_ token: ChangeToken?) throws(DatabaseError) -> UInt64? {
    // One above the clock is from a future that the stores have lost.
    guard let token, let bound = token.bound, bound <= shared.clock.latest.rawValue else { return nil }
    let places = token.position.places
    // A foreign token: whoever reads with it finds out.
    guard places.count == shared.routes.partitionCount else { return nil }
    for (partition, place) in places.enumerated() {
      guard try feedSource(partition, place.tenure).tenure == place.tenure else { return nil }
    }
    return bound
  }

  private func unfinished(
    _ position: FeedPosition, _ bound: UInt64
  ) throws(DatabaseError) -> ChangeToken {
    var position = position
    // In this order: see `KeyLocks.settled`. A delete below the clock may be on its way yet: who is told of
    // its key first, and nothing of it once it is reaped, has to begin anew.
    let latest = shared.clock.latest.rawValue
    let complete = shared.locks.settled(latest)
    for partition in position.places.indices where position.places[partition].tenure == nil {
      let (_, part, tenure) = try feedSource(partition, nil)
      // Nothing of it was told yet: so nothing of it was told that was reaped.
      let began = try part.reapedChange(of: partition) > 0 ? complete : 0
      position.places[partition] = FeedPosition.Place(tenure: tenure, began: began)
    }
    return ChangeToken(keyspace: bindingSeed, position, until: bound)
  }
}
