import CPrefetch
package import RoostCausality
import RoostStorage

// How a value is put. Nearly always one store has the key's partition, no index is kept, and the key
// holds nothing or one value, which the new one replaces. Then no record is built: what matters of the
// old one is read where it stands, and the new encoding is made on the stack (``SolePut``). All else
// changes a record, as every other write does.

extension KeyspaceCore {
  /// Writes a value; see `Keyspace.put`.
  package func put(
    _ key: RawSpan, _ value: [UInt8], context: CausalContext?, isConditional: Bool = false,
    timeToLive: Duration? = nil
  ) throws(DatabaseError) -> CausalContext {
    let place = try locate(key)
    let value = unsafe value.span.bytes
    return try put(
      key, place, value, expect(place, key, value), context, isConditional: isConditional, timeToLive,
      at: shared.clock.physicalMilliseconds)
  }

  /// Writes a value unless that is likely to wait for the engine.
  ///
  /// - Returns: `nil` where it is, and nothing was written.
  package func putAtOnce(
    _ key: RawSpan, _ value: RawSpan, context: CausalContext?, timeToLive: Duration?
  ) throws(DatabaseError) -> CausalContext? {
    let place = try locate(key)
    let hash = expect(place, key, value)
    let now = shared.clock.physicalMilliseconds
    if mayWait(place, at: now) { return nil }
    return try put(key, place, value, hash, context, isConditional: false, timeToLive, at: now)
  }

  /// Has the processor load what a put will read, while it does all that comes before.
  ///
  /// - Returns: the hash under which the key is among the recent puts, where they are kept.
  @inline(__always)
  private func expect(_ place: Place, _ key: RawSpan, _ value: RawSpan) -> UInt64 {
    unsafe value.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      var offset = 0
      while offset < min(bytes.count, 512) {
        unsafe roost_prefetch(base + offset)
        offset &+= 64
      }
    }
    guard kind == .lastWriterWins else { return 0 }
    let hash = RecentPuts.hash(ofKey: key)
    let slot = shared.routes.owner(place.partition)
    if slot != Int(RouteTable.none), let part = parts[slot] {
      part.recentPuts.prefetch(shared.locks.number(place.hash), hash)
    }
    return hash
  }

  @inline(__always)
  private func put(
    _ key: RawSpan, _ place: Place, _ value: RawSpan, _ keyHash: UInt64, _ context: CausalContext?,
    isConditional: Bool, _ timeToLive: Duration?, at milliseconds: UInt64
  ) throws(DatabaseError) -> CausalContext {
    let lifetime = try Self.milliseconds(timeToLive)
    let bound = binding(key)
    if let context { try checkBound(context, bound) }
    return try withStripe(place, key, context) { stripe, part throws(DatabaseError) in
      let old: StoredRecord?
      if isConditional || !isWrittenAlone(place.partition) {
        StoredKey.make(place.partition, key, into: &stripe.key)
        old = try part.load(stripe.key)
      } else {
        let outcome = try StoredKey.withStoredKey(place.partition, key) {
          storedKey throws(DatabaseError) in
          try putSole(
            stripe, place.partition, part, storedKey, keyHash, value, context, lifetime, at: milliseconds)
        }
        switch outcome {
        case .written(let dot): return CausalContext(binding: bound, seen: CompactVector(dot))
        case .found(let found): old = found
        }
        StoredKey.make(place.partition, key, into: &stripe.key)
      }
      return try put(
        stripe, place.partition, part, old, value, context, bound, isConditional: isConditional,
        lifetime, at: milliseconds)
    }
  }

  /// Whether a write of the partition is one store's record and its feed entry, and nothing else.
  @inline(__always)
  private func isWrittenAlone(_ partition: Int) -> Bool {
    replicas == 1 && !indexes.keepsAny && pendingPart(partition) == nil
  }

  private enum SoleOutcome {
    case written(Dot)
    /// Not written: the record that is under the key has to be changed.
    case found(StoredRecord?)
  }

  @inline(__always)
  private func putSole(
    _ stripe: KeyStripe, _ partition: Int, _ part: KeyspacePart, _ storedKey: RawSpan,
    _ keyHash: UInt64, _ value: RawSpan, _ context: CausalContext?, _ lifetime: UInt64?,
    at milliseconds: UInt64
  ) throws(DatabaseError) -> SoleOutcome {
    let replacesAll = kind == .lastWriterWins
    let found: FoundReplaced
    if replacesAll, let last = part.recentPuts.find(stripe.number, storedKey, keyHash),
      let put = SolePut(overOwnOf: last.replica, context: context)
    {
      found = .sole(put, last.changeNumber)
    } else {
      found = try part.findReplaced(storedKey, context, replacesAll: replacesAll, at: milliseconds)
    }
    guard let (put, replaced) = found.sole else { return .found(found.whole) }
    beginChange(stripe)
    defer { endChange(stripe) }
    // The incarnation may be another by now. Asked before a timestamp is taken: the other way takes one.
    guard let dot = part.member.mint(for: put) else { return .found(try part.load(storedKey)) }
    let timestamp = try shared.clock.now(milliseconds)
    let expiry = lifetime.map { milliseconds &+ $0 } ?? 0
    let count = StoredRecord.headerBytes + SolePut.overheadBytes + value.byteCount
    try unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) {
      (memory) throws(DatabaseError) in
      var bytes = unsafe ByteWriter(memory)
      bytes.write(timestamp.rawValue)
      put.encode(value, expiry: expiry, dot: dot, timestamp: timestamp, into: &bytes)
      let stored = unsafe RawSpan(
        _unsafeBytes: UnsafeRawBufferPointer(rebasing: memory[..<bytes.count]))
      do throws(DatabaseError) {
        try part.writeAlone(partition, storedKey, stored, timestamp, replacing: replaced)
      } catch {
        // It may be there all the same.
        if replacesAll { part.recentPuts.forget(stripe.number, storedKey, keyHash) }
        throw error
      }
    }
    if replacesAll {
      if expiry == 0 {
        part.recentPuts.note(
          stripe.number, storedKey, keyHash, timestamp.rawValue, by: dot.replica)
      } else {
        part.recentPuts.forget(stripe.number, storedKey, keyHash)
      }
    }
    return .written(dot)
  }

  /// The put of every other case.
  @inline(never)
  func put(
    _ stripe: KeyStripe, _ partition: Int, _ part: KeyspacePart, _ old: StoredRecord?,
    _ value: RawSpan, _ context: CausalContext?, _ bound: UInt64, isConditional: Bool,
    _ lifetime: UInt64?, at milliseconds: UInt64
  ) throws(DatabaseError) -> CausalContext {
    let value = unsafe value.withUnsafeBytes { unsafe [UInt8]($0) }
    return try change(stripe, partition, part, old, at: milliseconds) {
      record, stamp throws(DatabaseError) in
      if isConditional, let context { try Self.checkUnchanged(record, context) }
      var replacing = context?.vector ?? VersionVector()
      try Self.checkKind(record, replacing)
      if kind == .lastWriterWins { replacing.merge(record.context) }
      let expiry = lifetime.map { stamp.milliseconds &+ $0 } ?? 0
      try causally { () throws(CausalityError) in
        try record.put(
          value, expiry: expiry, replacing: replacing, and: context?.dot, dot: stamp.dot,
          timestamp: stamp.timestamp)
      }
      // What the writer may replace next: all that is here, where that is only its own value; else
      // what it saw, and this one, but not the siblings that it has not read.
      let isAlone = record.siblings.count == 1 && record.states.isEmpty
      let next =
        isAlone
        ? CausalContext(binding: bound, vector: record.context)
        : CausalContext(binding: bound, vector: replacing, dot: stamp.dot)
      return (true, next)
    }
  }
}

/// What a put found under its key.
enum FoundReplaced {
  /// Nothing, or one value that is replaced: the change number of that.
  case sole(SolePut, UInt64?)
  case whole(StoredRecord?)

  @inline(__always)
  var sole: (SolePut, UInt64?)? {
    if case .sole(let put, let replaced) = self { (put, replaced) } else { nil }
  }

  var whole: StoredRecord? { if case .whole(let record) = self { record } else { nil } }
}

extension KeyspacePart {
  /// Looks at what a put of one value has to replace; see ``SolePut``. Read whole only where it is
  /// anything else.
  @inline(__always)
  func findReplaced(
    _ storedKey: RawSpan, _ context: CausalContext?, replacesAll: Bool, at milliseconds: UInt64
  ) throws(DatabaseError) -> FoundReplaced {
    let found = try load(storedKey) { stored throws(DatabaseError) -> FoundReplaced in
      if stored.byteCount > StoredRecord.headerBytes {
        let record = stored.extracting(droppingFirst: StoredRecord.headerBytes)
        if let old = SoleSibling(in: record, at: milliseconds),
          let put = SolePut(over: old, context: context, replacesAll: replacesAll)
        {
          return .sole(put, StoredRecord.changeNumber(of: stored))
        }
      }
      return .whole(try StoredRecord(decoding: stored))
    }
    if let found { return found }
    if let put = SolePut(over: nil, context: context, replacesAll: replacesAll) {
      return .sole(put, nil)
    }
    return .whole(nil)
  }
}
