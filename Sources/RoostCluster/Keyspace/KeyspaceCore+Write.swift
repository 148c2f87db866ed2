package import RoostCausality

// How a key is written, whoever writes it (a client, an import, a repair, a move):
//
// 1. The key's stripe is locked: nobody else changes the key meanwhile, on any store.
// 2. The coordinator is the first present replica of the partition. Its record is read, what has
//    expired is dropped from it, and the change is made: by minting a dot, or by joining.
// 3. The record is written, in one batch with the feed's entry and the entries of indexes.
// 4. The store that the partition is moving to, and every other replica, reads its own record,
//    joins the new one and writes. The former goes first: whatever any replica has, it has.
// 5. The stripe is unlocked. Where the write must survive the machine, the caller then waits for
//    the stores' next sync.

extension KeyspaceCore {
  /// What a change may use: the dot that it mints and the moment it happens.
  package struct Stamp {
    package var dot: Dot
    package var timestamp: Timestamp
    package var milliseconds: UInt64
    /// Whether values had expired, which the record still shows on disk.
    package var hasExpired = false
  }

  /// Changes a key's record at its coordinator and ships the result to the other replicas.
  ///
  /// - Parameter body: changes the record; where it throws, nothing was written. It returns whether
  ///   anything changed, with its result.
  /// - Throws: what `body` throws; `.invalidArgument`, `.unreachable`, `.closed`; `.indeterminate`
  ///   where some replica failed after another had written; what the coordinator's store throws.
  package func update<R>(
    _ key: RawSpan, context: CausalContext? = nil,
    _ body: (inout Record, Stamp) throws(DatabaseError) -> (isChanged: Bool, result: R)
  ) throws(DatabaseError) -> R {
    let place = try locate(key)
    if let context { try checkBound(context, binding(key)) }
    return try withStripe(place, key, context) { stripe, part throws(DatabaseError) in
      StoredKey.make(place.partition, key, into: &stripe.key)
      let old = try part.load(stripe.key)
      let now = shared.clock.physicalMilliseconds
      return try change(stripe, place.partition, part, old, at: now, body)
    }
  }

  /// Runs `body` with a key's stripe, locked, and its coordinator's part, once both may be written.
  @inline(__always)
  func withStripe<R>(
    _ place: Place, _ key: RawSpan, _ context: CausalContext?,
    _ body: (KeyStripe, KeyspacePart) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R {
    try prepareWrite()
    let stripe = shared.locks[place.hash]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    let part = try firstPart(place.partition)
    try checkWritable(place.partition)
    if let context {
      try checkKnown(context, place.partition)
      if let dot = context.dot { try bring(dot, stripe, place.partition, key, to: part) }
    }
    return try body(stripe, part)
  }

  /// Makes a change to what was found under the stripe's key.
  @inline(__always)
  func change<R>(
    _ stripe: KeyStripe, _ partition: Int, _ part: KeyspacePart, _ old: StoredRecord?,
    at milliseconds: UInt64,
    _ body: (inout Record, Stamp) throws(DatabaseError) -> (isChanged: Bool, result: R)
  ) throws(DatabaseError) -> R {
    var record = old?.record ?? Record()
    let hasExpired = record.expire(at: milliseconds)
    beginChange(stripe)
    defer { endChange(stripe) }
    let timestamp = try shared.clock.now(milliseconds)
    let dot = try mint(part, above: record.context)
    let stamp = Stamp(dot: dot, timestamp: timestamp, milliseconds: milliseconds, hasExpired: hasExpired)
    let (isChanged, result) = try body(&record, stamp)
    guard isChanged else { return result }
    try part.store(stripe, partition, old, record, timestamp, self, isLocal: true)
    if replicas > 1 || pendingPart(partition) != nil {
      try ship(stripe, partition, record, timestamp, from: part)
    }
    return result
  }

  /// Joins a state into every replica of its key. Doing it twice is doing it once.
  ///
  /// - Returns: whether any replica learned anything.
  /// - Throws: as ``update(_:context:_:)``, and `.clockOutOfBound`.
  package func join(_ key: RawSpan, _ state: Record) throws(DatabaseError) -> Bool {
    let (hash, partition) = try locate(key)
    try shared.clock.observe(
      state.highestTimestamp, maximumOffsetMilliseconds: shared.maximumClockOffsetMilliseconds)
    try learn(of: state.context)
    try prepareWrite()
    let stripe = shared.locks[hash]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    StoredKey.make(partition, key, into: &stripe.key)
    try checkWritable(partition)
    let (owners, pending) = try allParts(partition)
    beginChange(stripe)
    defer { endChange(stripe) }
    let timestamp = try shared.clock.now()
    var isChanged = false
    if let pending { try forward(stripe, partition, state, timestamp, to: pending) }
    for (index, part) in owners.enumerated() {
      do throws(DatabaseError) {
        if try part.join(stripe, partition, state, timestamp, self) { isChanged = true }
      } catch {
        if index == 0 { throw error }
        throw indeterminate(partition, part, error)
      }
    }
    return isChanged
  }

  // MARK: - Steps

  /// A dot that the record has not seen.
  ///
  /// A record that has seen it tells that the store went back to an earlier state of itself (its disk
  /// was rolled back): then its incarnation ends.
  @inline(__always)
  private func mint(_ part: KeyspacePart, above context: VersionVector) throws(DatabaseError) -> Dot {
    let dot = part.member.mint()
    if context[dot.replica] < dot.counter { return dot }
    try part.member.takeNewIncarnation(after: context[dot.replica])
    return part.member.mint()
  }

  /// The feed must not pass a change number that is on its way: says so before one is taken.
  @inline(__always)
  func beginChange(_ stripe: KeyStripe) {
    stripe.inFlight.store(max(1, shared.clock.latest.rawValue), ordering: .sequentiallyConsistent)
  }

  @inline(__always)
  func endChange(_ stripe: KeyStripe) {
    // In one order with the look at who follows: either that sees a follower, or the follower, who
    // looks here after it said that it follows, sees this.
    stripe.inFlight.store(0, ordering: .sequentiallyConsistent)
    shared.signal.changed()
  }

  @inline(never)
  private func ship(
    _ stripe: KeyStripe, _ partition: Int, _ record: Record, _ timestamp: Timestamp,
    from coordinator: KeyspacePart
  ) throws(DatabaseError) {
    let (owners, pending) = try allParts(partition)
    if let pending { try forward(stripe, partition, record, timestamp, to: pending) }
    for part in owners where part !== coordinator {
      do throws(DatabaseError) {
        _ = try part.join(stripe, partition, record, timestamp, self)
      } catch { throw indeterminate(partition, part, error) }
    }
  }

  /// A store that a partition moves to is no replica yet: the write succeeds without it, but the
  /// move must not complete then. While the move is being decided it may be one already, by what is
  /// on disk: then the write needs it.
  func forward(
    _ stripe: KeyStripe, _ partition: Int, _ record: Record, _ timestamp: Timestamp,
    to part: KeyspacePart
  ) throws(DatabaseError) {
    do throws(DatabaseError) {
      _ = try part.join(stripe, partition, record, timestamp, self)
    } catch {
      shared.forwardFailed(partition, error)
      if shared.routes.isSettling(partition) { throw indeterminate(partition, part, error) }
    }
  }

  private func indeterminate(
    _ partition: Int, _ part: KeyspacePart, _ error: DatabaseError
  ) -> DatabaseError {
    DatabaseError(
      .indeterminate,
      "the write is at the first replica of partition \(partition) and failed at \(part.member.path): "
        + "it may still appear (\(error.message))", cause: error.cause)
  }

  /// Interleaving 16: a context of another key would replace what was never read here.
  func checkBound(_ context: CausalContext, _ binding: UInt64) throws(DatabaseError) {
    guard context.binding == binding else {
      throw DatabaseError(
        .foreignContext,
        "the context was read from another key, keyspace or database than the key written")
    }
  }

  /// A context that names dots which this incarnation has not minted comes from a state that was
  /// lost: nothing may be replaced by it.
  func checkKnown(_ context: CausalContext, _ partition: Int) throws(DatabaseError) {
    for replica in 0..<replicas {
      let slot = shared.routes.owner(partition, replica)
      guard slot != Int(RouteTable.none), let part = parts[slot] else { continue }
      if part.member.isAheadOfUs(context.seen)
        || context.dot.map({ part.member.isAheadOfUs(CompactVector($0)) }) == true
      {
        throw DatabaseError(
          .foreignContext, "the context names writes that \(part.member.path) has not made")
      }
    }
  }

  /// A context may name one write more than its vector claims: its writer's own, beside siblings that were
  /// not read. A replica that has never seen that write cannot replace it, and it would come back with the
  /// next state from elsewhere: so what the others hold is joined here first. Rare, and only then it costs
  /// anything.
  ///
  /// - Throws: `.unreachable` where only a store that is not here can have it.
  @inline(never)
  private func bring(
    _ dot: Dot, _ stripe: KeyStripe, _ partition: Int, _ key: RawSpan, to part: KeyspacePart
  ) throws(DatabaseError) {
    StoredKey.make(partition, key, into: &stripe.key)
    if try part.load(stripe.key)?.record.context.contains(dot) == true { return }
    let (joined, isWhole) = try joinReplicas(stripe, partition)
    // What all replicas have lost comes back from nowhere.
    if isWhole || joined?.context.contains(dot) == true { return }
    throw DatabaseError(
      .unreachable,
      "the context names a write that no replica of partition \(partition) within reach has: "
        + "read the key again")
  }

  /// A state that names an incarnation of ours above its own counter knows dots that we lost: the
  /// incarnation ends before it can mint them again.
  func learn(of vector: VersionVector) throws(DatabaseError) {
    for member in shared.presentMembers where member.isAheadOfUs(CompactVector(vector)) {
      try member.takeNewIncarnation()
    }
  }
}
