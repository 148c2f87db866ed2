package import RoostCausality
import RoostStorage

// What clients do to keys; puts of plain values are in `KeyspaceCore+Put.swift`.

extension KeyspaceCore {
  /// Deletes a key; see `Keyspace.delete`.
  package func delete(
    _ key: RawSpan, context: CausalContext?, isConditional: Bool = false
  ) throws(DatabaseError) -> CausalContext {
    let bound = binding(key)
    // The first replica may lack what another has. Without a context all is to go that a read would
    // have shown.
    let shown = replicas > 1 && context == nil ? try find(key).context : VersionVector()
    return try update(key, context: context) { record, stamp throws(DatabaseError) in
      if isConditional, let context { try Self.checkUnchanged(record, context) }
      var replacing = context?.vector ?? record.context
      replacing.merge(shown)
      // Nothing to delete here, and nothing elsewhere that the caller saw: not worth a tombstone.
      if record.isTombstone, !stamp.hasExpired, replacing.isAtMost(record.context) {
        return (false, CausalContext(binding: bound, vector: record.context))
      }
      try causally { () throws(CausalityError) in
        try record.delete(replacing: replacing, and: context?.dot, dot: stamp.dot)
      }
      let seen = record.isTombstone ? record.context : replacing
      return (true, CausalContext(binding: bound, vector: seen))
    }
  }

  /// Changes a key's typed state.
  ///
  /// - Parameters:
  ///   - removes: whether what the coordinator holds decides what goes: it learns first what the replicas of
  ///     this process hold.
  ///   - body: returns whether it changed anything, with its result. Where not, nothing is written.
  /// - Throws: `.wrongKind` where the key holds something else, `.counterOverflow`, and as
  ///   ``update(_:context:_:)``.
  package func change<State: MergeableState, R>(
    _ key: RawSpan, _ type: State.Type, removes: Bool = false,
    _ body: (inout State, Stamp) throws(CausalityError) -> (isChanged: Bool, result: R)
  ) throws(DatabaseError) -> R {
    if removes, replicas > 1 { try repair(key) }
    return try update(key) { record, stamp throws(DatabaseError) in
      try Self.check(record, is: State.kind)
      return try Self.apply(&record, stamp, body)
    }
  }

  /// A key's typed state; empty where it is absent.
  ///
  /// - Throws: `.wrongKind` where the key holds something else, and as ``record(_:)``.
  package func state<State: MergeableState>(
    _ key: RawSpan, _ type: State.Type
  ) throws(DatabaseError) -> State {
    try state(of: try record(key), type)
  }

  /// The typed state of a record that was read; empty where there is none.
  ///
  /// - Throws: `.wrongKind` where it holds something else.
  package func state<State: MergeableState>(
    of record: Record?, _ type: State.Type
  ) throws(DatabaseError) -> State {
    guard let record else { return State() }
    try Self.check(record, is: State.kind)
    return record.state(as: type)
  }

  static func apply<State: MergeableState, R>(
    _ record: inout Record, _ stamp: Stamp,
    _ body: (inout State, Stamp) throws(CausalityError) -> R
  ) throws(DatabaseError) -> R {
    do {
      return try record.update(State.self, dot: stamp.dot) { state, _ in try body(&state, stamp) }
    } catch let error as CausalityError {
      throw DatabaseError(error)
    } catch {
      preconditionFailure("only what the pure values throw is thrown here: \(error)")
    }
  }

  // MARK: - Checks

  package static func milliseconds(_ timeToLive: Duration?) throws(DatabaseError) -> UInt64? {
    guard let timeToLive else { return nil }
    guard timeToLive >= .milliseconds(1), timeToLive <= .seconds(1 << 38) else {
      throw DatabaseError(
        .invalidArgument, "a time to live of \(timeToLive): it must be from 1 ms to \(1 << 38) s")
    }
    let (seconds, attoseconds) = timeToLive.components
    return UInt64(seconds) * 1_000 + UInt64(attoseconds / 1_000_000_000_000_000)
  }

  static func checkUnchanged(
    _ record: Record, _ context: CausalContext
  ) throws(DatabaseError) {
    // One that names a dot of its own was given out beside siblings that it has not seen.
    guard context.dot == nil, record.context.isAtMost(context.vector) else {
      throw DatabaseError(.conditionFailed, "the key was written since the context was read")
    }
  }

  /// A plain value does not go beside a counter or a set.
  static func checkKind(_ record: Record, _ replacing: VersionVector) throws(DatabaseError) {
    if record.states.isEmpty { return }
    for var state in record.states {
      state.remove(seenBy: replacing)
      if !state.isEmpty {
        throw DatabaseError(
          .wrongKind, "the key holds a \(state.kind): hand over the context of a read to replace it")
      }
    }
  }

  static func check(_ record: Record, is kind: RecordKind) throws(DatabaseError) {
    if record.siblings.isEmpty, record.states.allSatisfy({ $0.kind == kind }) { return }
    let held = record.siblings.isEmpty ? "a \(record.states.first { $0.kind != kind }!.kind)" : "plain values"
    throw DatabaseError(.wrongKind, "the key holds \(held), not a \(kind)")
  }

  // MARK: - Who must be durable

  /// The member whose store coordinates the key.
  package func member(for key: RawSpan) -> Member? {
    guard let (_, partition) = try? locate(key) else { return nil }
    return (try? firstPart(partition))?.member
  }

  /// The present members that hold the key, and that must be synced for a write to be durable: also
  /// the one that its partition is moving to, while the move is being decided.
  package func owners(for key: RawSpan) -> [Member] {
    guard let (_, partition) = try? locate(key) else { return [] }
    while true {
      // No stripe is held: a move that is decided between the looks at its two stores would leave the
      // one that gave the partition up, alone.
      let version = shared.routes.version
      let isSettling = shared.routes.isSettling(partition)
      let parts = try? allParts(partition)
      guard shared.routes.isUnchanged(since: version) else { continue }
      guard let (owners, pending) = parts else { return [] }
      var members = owners.map(\.member)
      if isSettling, let pending { members.append(pending.member) }
      return members
    }
  }

  /// Makes all that was written to a key's partition durable, on the calling thread.
  package func sync(_ key: RawSpan) throws(DatabaseError) {
    for member in owners(for: key) {
      try storing("\(member.path) could not be synced") { () throws(StoreError) in
        try member.store.sync()
      }
    }
  }
}

/// Wraps what the pure values throw.
@inline(__always)
package func causally<R>(_ body: () throws(CausalityError) -> R) throws(DatabaseError) -> R {
  do { return try body() } catch { throw DatabaseError(error) }
}
