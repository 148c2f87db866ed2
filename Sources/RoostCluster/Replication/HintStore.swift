package import RoostCausality
import RoostEnvironment
package import RoostStorage
import Synchronization

// The tree `hints` of a store. Integers in keys are big-endian, so that a target's hints stand together.
//
//   key   := target u64 | keyspace u64 | partition u16 | user key
//   value := version u8 (1) | kept since u64, little-endian, a timestamp | record
//
// A record is one of an eventual keyspace, as in its tree but without the change number before it.

/// What a store keeps for another one that could not be reached: the state of a key, until it could be
/// handed over (Dynamo, DeCandia et al., SOSP 2007, 4.6).
///
/// - A key has one hint for a target: a later one is joined into it. So hints are bounded by keys, not by
///   writes.
/// - A hint is as old as the first state in it that later ones do not know all of. One that is too old is
///   dropped, never handed over: by then the other replicas may have reaped what it knows, and it would bring
///   it back (interleaving 7). Anti-entropy finds what was dropped.
/// - All together they take no more than so many bytes; then the store keeps no new ones, and says so. Nor
///   does more than so much wait in memory to be kept.
///
/// Thread-safe.
package final class HintStore: @unchecked Sendable {
  package struct Limits: Sendable {
    /// Of all hints in a store, keys included.
    package var bytes = 1 << 30
    /// Of states that wait for their turn to be kept: see ``HintStore/enter(_:)``.
    package var waitingBytes = 64 << 20
    /// How old a hint may become.
    package var age: Duration = .seconds(3 * 3_600)

    package init() {}
  }

  /// What a store keeps.
  package struct Statistics: Hashable, Sendable {
    /// By target.
    package var hints: [MemberID: Int] = [:]
    package var bytes = 0
    /// Hints that were refused because too many were kept or waited already, since the store was opened.
    package var refused: UInt64 = 0
    /// Hints that became too old, since then.
    package var expired: UInt64 = 0
    /// Hints that were handed over, since then.
    package var handedOver: UInt64 = 0
  }

  package static let treeName = "hints"
  static let formatVersion: UInt8 = 1
  private static let headerBytes = 9

  private let store: Store
  private let tree: Tree
  private let limits: Limits
  private let ageMilliseconds: UInt64
  /// Bytes of what waits to be kept, and how often there was no room for more.
  private let waiting = Atomic<Int>(0)
  private let turnedAway = Atomic<UInt64>(0)
  private let lock = Lock()
  // Guarded by `lock`, which is held while a hint is read, joined and written.
  private var current = Statistics()
  /// Where the look for what is too old goes on; `nil` for the beginning.
  private var swept: [UInt8]?

  /// Opens a store's hints, and counts them.
  ///
  /// - Throws: `.corruption` (names the key), `.storage`.
  /// - Complexity: O(hints).
  package init(_ store: Store, _ limits: Limits = Limits()) throws(DatabaseError) {
    self.store = store
    self.limits = limits
    let (seconds, attoseconds) = limits.age.components
    ageMilliseconds = UInt64(max(0, seconds)) * 1_000 + UInt64(max(0, attoseconds) / 1_000_000_000_000_000)
    tree = try storing("the hints could not be opened") { () throws(StoreError) in
      try store.tree(Self.treeName)
    }
    var cursor = try storing("the hints could not be read") { () throws(StoreError) in try tree.cursor() }
    while try storing("the hints could not be read", { () throws(StoreError) in try cursor.next() }) {
      let key = cursor.keyBytes
      let hint = try Hint(key, cursor.valueBytes)
      current.hints[hint.target, default: 0] += 1
      current.bytes += key.count + cursor.valueBytes.count
    }
  }

  package var statistics: Statistics {
    var statistics = lock.withLock { current }
    statistics.refused += turnedAway.load(ordering: .relaxed)
    return statistics
  }

  // MARK: - Keeping

  /// Makes room for a state that is to be kept later, when nobody waits for it any more. One alone always
  /// finds room.
  ///
  /// - Returns: `false` where too much waits already: the hint counts as refused.
  func enter(_ byteCount: Int) -> Bool {
    let total = waiting.wrappingAdd(byteCount, ordering: .relaxed).newValue
    if total <= limits.waitingBytes || total == byteCount { return true }
    leave(byteCount)
    turnedAway.wrappingAdd(1, ordering: .relaxed)
    return false
  }

  /// What ``enter(_:)`` made room for waits no longer.
  func leave(_ byteCount: Int) { waiting.wrappingSubtract(byteCount, ordering: .relaxed) }

  /// Keeps a key's state for a store.
  ///
  /// - Parameters:
  ///   - now: of the database's clock.
  ///   - asOf: when the state was read; `nil` for now.
  ///   - durability: what it must survive before this returns.
  /// - Throws: `.busy` where the hints' bytes are used up; `.storage` also for a user key of more than 65,517
  ///   bytes: in both cases nothing was kept. `.corruption`, `.indeterminate`.
  /// - Complexity: a lookup and a write.
  package func keep(
    for target: MemberID, keyspace: UInt64, partition: Int, _ userKey: [UInt8], _ state: Record,
    at now: Timestamp, asOf: Timestamp? = nil, _ durability: Durability = .synced
  ) throws(DatabaseError) {
    let key = Hint.key(target, keyspace, partition, userKey)
    try lock.withLock { () throws(DatabaseError) in
      let old = try value(key)
      var joined = state
      var since = min(asOf ?? now, now)
      if let old {
        let known = try Hint(key, old)
        // One that is too old counts as gone.
        if !isTooOld(known.since, at: now) {
          joined = known.state
          joined.join(state)
          // Where the new state knows all of the old, it is as if that had been dropped.
          if joined != state { since = min(known.since, since) }
        }
      }
      let value = Hint.value(since, joined)
      let growth = value.count - (old?.count ?? -key.count)
      guard growth <= 0 || current.bytes + growth <= limits.bytes else {
        current.refused += 1
        throw DatabaseError(.busy, "the hints take \(current.bytes) bytes already, of \(limits.bytes)")
      }
      if value != old {
        try storing("a hint could not be written") { () throws(StoreError) in
          try tree.put(key, value, .applied)
        }
      }
      current.bytes += growth
      if old == nil { current.hints[target, default: 0] += 1 }
    }
    guard durability == .synced else { return }
    // Not with the lock held.
    try storing("a hint could not be synced") { () throws(StoreError) in try store.syncBesideWriters() }
  }

  private func isTooOld(_ since: Timestamp, at now: Timestamp) -> Bool {
    now.milliseconds >= since.milliseconds && now.milliseconds - since.milliseconds >= ageMilliseconds
  }

  /// Whether any hint is kept of a key, for whomever.
  ///
  /// - Throws: `.storage`.
  /// - Complexity: a lookup for each target that has hints.
  func holds(keyspace: UInt64, partition: Int, _ userKey: [UInt8]) throws(DatabaseError) -> Bool {
    // In one order in every process: a simulation counts what is read.
    let targets = lock.withLock { current.hints.keys.sorted() }
    for target in targets where try value(Hint.key(target, keyspace, partition, userKey)) != nil {
      return true
    }
    return false
  }

  // MARK: - Handing over

  /// A part of a target's hints, in order of their keys, without those that are too old.
  ///
  /// - Parameters:
  ///   - key: where an earlier page ended.
  ///   - byteLimit: most in a page; one hint always fits.
  /// - Returns: an empty page at the end.
  /// - Throws: `.corruption` (names the key), `.storage`.
  package func page(
    for target: MemberID, after key: [UInt8]? = nil, byteLimit: Int, at now: Timestamp
  ) throws(DatabaseError) -> [Hint] {
    let keys = Hint.keys(of: target)
    var hints: [Hint] = []
    var bytes = 0
    var cursor = try storing("the hints could not be read") { () throws(StoreError) in
      // From the least key behind it.
      try tree.cursor(KeyRange(lower: key.map { $0 + [0] } ?? keys.lower, upper: keys.upper), nil)
    }
    while bytes < byteLimit || hints.isEmpty,
      try storing("the hints could not be read", { () throws(StoreError) in try cursor.next() })
    {
      let hint = try Hint(cursor.keyBytes, cursor.valueBytes)
      if isTooOld(hint.since, at: now) { continue }
      bytes += hint.byteCount
      if bytes > byteLimit, !hints.isEmpty { break }
      hints.append(hint)
    }
    return hints
  }

  /// Drops a hint that its target has by now, unless it was joined with more since it was read.
  ///
  /// - Returns: whether it went.
  /// - Throws: `.storage`.
  @discardableResult
  package func handedOver(_ hint: Hint) throws(DatabaseError) -> Bool {
    try lock.withLock { () throws(DatabaseError) in
      guard try value(hint.key) == hint.value else { return false }
      try remove(hint.key, hint.value, hint.target)
      current.handedOver += 1
      return true
    }
  }

  /// Drops all that is kept for a store that will never ask for it.
  ///
  /// - Returns: how many went.
  /// - Throws: `.corruption`, `.storage`.
  @discardableResult
  package func forget(_ target: MemberID) throws(DatabaseError) -> Int {
    try drop(Hint.keys(of: target), looks: .max) { _ in true }.count
  }

  /// Drops what is too old, of all targets: looks at so many hints, and goes on behind them the next time.
  ///
  /// - Returns: how many went.
  /// - Throws: `.corruption`, `.storage`.
  /// - Complexity: O(looks).
  @discardableResult
  package func dropExpired(at now: Timestamp, looks: Int = 10_000) throws(DatabaseError) -> Int {
    let lower = lock.withLock { swept }
    let (count, last) = try drop(KeyRange(lower: lower, upper: nil), looks: looks) {
      isTooOld($0.since, at: now)
    }
    lock.withLock {
      current.expired += UInt64(count)
      swept = last.map { $0 + [0] }
    }
    return count
  }

  /// - Returns: how many went, and the last that was looked at where there may be more.
  private func drop(
    _ keys: KeyRange, looks: Int, _ mustGo: (Hint) -> Bool
  ) throws(DatabaseError) -> (count: Int, last: [UInt8]?) {
    var (count, looked) = (0, 0)
    var cursor = try storing("the hints could not be read") { () throws(StoreError) in
      try tree.cursor(keys, nil)
    }
    while try storing("the hints could not be read", { () throws(StoreError) in try cursor.next() }) {
      let key = cursor.keyBytes
      if looked == looks { return (count, key) }
      looked += 1
      guard mustGo(try Hint(key, cursor.valueBytes)) else { continue }
      // Read again under the lock: it may have been joined with more meanwhile.
      let isGone = try lock.withLock { () throws(DatabaseError) in
        guard let value = try value(key) else { return false }
        let hint = try Hint(key, value)
        guard mustGo(hint) else { return false }
        try remove(key, value, hint.target)
        return true
      }
      if isGone { count += 1 }
    }
    return (count, nil)
  }

  // MARK: - The parts

  private func value(_ key: [UInt8]) throws(DatabaseError) -> [UInt8]? {
    try storing("the hints could not be read") { () throws(StoreError) in try tree.get(key) }
  }

  /// With the lock held. Lost with the power it comes back, and is handed over once more: joining twice is
  /// joining once.
  private func remove(_ key: [UInt8], _ value: [UInt8], _ target: MemberID) throws(DatabaseError) {
    try storing("a hint could not be removed") { () throws(StoreError) in
      try tree.delete(key, .applied)
    }
    current.bytes -= key.count + value.count
    let left = (current.hints[target] ?? 1) - 1
    current.hints[target] = left > 0 ? left : nil
  }
}

/// The state of a key that a store keeps for another.
package struct Hint: Sendable {
  package let target: MemberID
  package let keyspace: UInt64
  package let partition: Int
  package let userKey: [UInt8]
  /// When the first state in it was kept.
  package let since: Timestamp
  package let state: Record
  /// What stands in the store.
  package let key: [UInt8]
  let value: [UInt8]

  package var byteCount: Int { key.count + value.count }

  private static let fixedKeyBytes = 18

  static func key(
    _ target: MemberID, _ keyspace: UInt64, _ partition: Int, _ userKey: [UInt8]
  ) -> [UInt8] {
    var key: [UInt8] = []
    key.reserveCapacity(fixedKeyBytes + userKey.count)
    for word in [target.rawValue, keyspace] { append(word, to: &key) }
    key.append(UInt8(truncatingIfNeeded: partition >> 8))
    key.append(UInt8(truncatingIfNeeded: partition))
    return key + userKey
  }

  /// The keys of a target's hints.
  static func keys(of target: MemberID) -> KeyRange {
    var prefix: [UInt8] = []
    append(target.rawValue, to: &prefix)
    return KeyRange(prefix: prefix)
  }

  private static func append(_ word: UInt64, to bytes: inout [UInt8]) {
    for shift in stride(from: 56, through: 0, by: -8) {
      bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
    }
  }

  static func value(_ since: Timestamp, _ state: Record) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: HintStore.formatVersion)
    writer.write(fixed: since.rawValue)
    var bytes = writer.bytes
    state.encode(into: &bytes)
    return bytes
  }

  /// - Throws: `.corruption` (names the key), `.newerFormat`.
  package init(_ key: [UInt8], _ value: [UInt8]) throws(DatabaseError) {
    let shown = key.prefix(40).map { String($0, radix: 16) }.joined(separator: " ")
    var reader = FieldReader(value, "the hint under \(shown)")
    guard key.count > Self.fixedKeyBytes else { throw reader.damaged("a key of \(key.count) bytes") }
    func word(_ range: Range<Int>) -> UInt64 { key[range].reduce(0) { $0 << 8 | UInt64($1) } }
    target = MemberID(rawValue: word(0..<8))
    keyspace = word(8..<16)
    partition = Int(word(16..<18))
    userKey = Array(key[18...])
    _ = try reader.readVersion(upTo: HintStore.formatVersion)
    since = Timestamp(rawValue: try reader.readFixed())
    do throws(CausalityError) {
      state = try Record(decoding: Array(value[reader.offset...]))
    } catch { throw reader.damaged(error.message) }
    self.key = key
    self.value = value
  }
}
