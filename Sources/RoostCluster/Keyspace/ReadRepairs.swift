import RoostCausality
import RoostEnvironment

/// Keys whose replicas differed when they were read, until they are repaired.
///
/// Members' workers repair them, so that no read waits for a lock or a disk. A key waits once,
/// however often it is read, and only so many wait: one that finds no room is found again by its next
/// read. A store that closes or leaves may drop its workers' jobs; what they were for is done by any
/// other's, or by ``finish()``.
///
/// Thread-safe.
final class ReadRepairs: Sendable {
  /// How many keys may wait.
  static let limit = 256

  private struct Entry: Hashable {
    var keyspace: ObjectIdentifier
    var key: [UInt8]
  }

  private final class State: @unchecked Sendable {
    // Guarded by `lock`.
    var waiting: [Entry] = []
    var known: Set<Entry> = []
    /// By identity. Not kept alive: else a database that nobody closes would live for ever.
    var keyspaces: [ObjectIdentifier: WeakKeyspace] = [:]
    var running = 0
    var isClosed = false
  }

  private struct WeakKeyspace {
    weak var core: KeyspaceCore?
  }

  private let lock = Lock()
  private let ended: Condition
  private let state = State()

  init() { ended = Condition(lock) }

  /// Has the replicas of a key joined on another thread.
  func add(_ keyspace: KeyspaceCore, _ key: [UInt8], on workers: any Workers) {
    let entry = Entry(keyspace: ObjectIdentifier(keyspace), key: key)
    let (isRefused, mustSubmit) = lock.withLock { () -> (Bool, Bool) in
      if state.known.contains(entry) { return (false, false) }
      if state.isClosed || state.waiting.count >= Self.limit { return (true, false) }
      state.known.insert(entry)
      state.waiting.append(entry)
      state.keyspaces[entry.keyspace] = WeakKeyspace(core: keyspace)
      return (false, true)
    }
    if isRefused { return keyspace.shared.repairFailed() }
    if mustSubmit { workers.submit(.background) { [weak self] in self?.runAll() } }
  }

  /// Repairs what waits on this thread, and returns when nothing waits and nothing is under way. Not
  /// for whoever holds a key's lock.
  func finish() {
    runAll()
    lock.withLock { while state.running > 0 { ended.wait() } }
  }

  /// Takes nothing more, and finishes; after a failure what waits is dropped.
  func close() {
    lock.withLock { state.isClosed = true }
    finish()
  }

  private func runAll() {
    while let (keyspace, key) = next() {
      var isDone = true
      do throws(DatabaseError) {
        try unsafe keyspace?.repair(key.span.bytes)
      } catch {
        keyspace?.shared.repairFailed()
        isDone = false
      }
      lock.withLock {
        if !isDone, state.isClosed { forgetAll() }
        state.running -= 1
        ended.broadcast()
      }
    }
  }

  /// The next key, which may wait again from now on: whoever reads it later may know more.
  private func next() -> (KeyspaceCore?, [UInt8])? {
    lock.withLock {
      if state.waiting.isEmpty { return nil }
      let entry = state.waiting.removeFirst()
      state.known.remove(entry)
      state.running += 1
      let keyspace = state.keyspaces[entry.keyspace]?.core
      if state.waiting.isEmpty { state.keyspaces = [:] }
      return (keyspace, entry.key)
    }
  }

  /// With the lock held.
  private func forgetAll() {
    state.waiting = []
    state.known = []
    state.keyspaces = [:]
  }
}

extension KeyspaceCore {
  /// Joins the replicas of a key, so that all have the same.
  ///
  /// - Throws: as ``join(_:_:)``; some may have learned of it.
  package func repair(_ key: RawSpan) throws(DatabaseError) {
    let (hash, partition) = try locate(key)
    try prepareWrite()
    let stripe = shared.locks[hash]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    StoredKey.make(partition, key, into: &stripe.key)
    _ = try joinReplicas(stripe, partition)
  }

  /// Joins the replicas of the stripe's key, whose lock is held.
  ///
  /// - Returns: what they hold together, and whether all of them were here to be asked.
  /// - Throws: as ``repair(_:)``.
  func joinReplicas(
    _ stripe: KeyStripe, _ partition: Int
  ) throws(DatabaseError) -> (Record?, isWhole: Bool) {
    let (owners, pending) = try allParts(partition)
    let key = stripe.key
    let (joined, lagging) = try unsafe join(owners, key.span.bytes)
    let isWhole = owners.count == replicas
    guard let joined, lagging != nil else { return (joined, isWhole) }
    beginChange(stripe)
    defer { endChange(stripe) }
    let timestamp = try shared.clock.now()
    if let pending { try forward(stripe, partition, joined, timestamp, to: pending) }
    for part in owners { _ = try part.join(stripe, partition, joined, timestamp, self) }
    return (joined, isWhole)
  }
}
