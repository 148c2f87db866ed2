import RoostCausality
import RoostEnvironment
import RoostStorage
import Synchronization

// How the leaves of a store's hash trees are kept, so that a comparison of replicas reads no records:
//
// 1. Whoever writes or deletes a record holds its key's stripe and knows what was there before. It takes the
//    lock of the key's leaf, reads the leaf, adds what the change makes of it, and puts it into the record's
//    batch. The lock is held until the batch is committed: two writers of different keys in one leaf do not
//    lose each other's change (interleaving 4). Nothing is kept in memory that a failed commit could leave
//    wrong.
// 2. So whatever is missing from a partition's leaves, it stays the same from write to write. A check reads
//    leaves and records as of one snapshot, while writes go on: record and leaf come in one batch, so both
//    are of one moment. What it finds missing it adds to the leaves as they are by then, and says by a mark
//    that nothing is missing any more. A partition's first check makes its leaves: nothing else builds them.
// 3. A partition that is deleted takes its leaves and its mark along, in one batch. A check that is under way
//    must not add to them what it found before: each check has a claim, and who deletes takes claims away,
//    and lets nobody claim until all who read a record before have written.
// 4. A process that opens the store without its cluster does not keep leaves, and deletes them first.
//
// The leaf has a lock of its own, and not the stripe's. A stripe is chosen by a key's tag; leaves that were
// would be few where many keys have one tag, and a comparison would send all of them for one that differs.

/// The leaves of a keyspace's hash trees in one store.
///
/// Locks: `checking`, then a leaf's or all of them in order, behind a key's stripe. Thread-safe.
final class KeptLeaves: @unchecked Sendable {
  /// What a change of a record makes of its leaf.
  struct Change {
    var partition: Int
    var leaf: Int
    var by: TreeLeaf
  }

  /// What is kept of a partition.
  struct Kept {
    var tree = HashTree()
    /// Whether these are the leaves of all its records.
    var isWhole = false
  }

  typealias Claim = UInt64

  private static let lockCount = 256

  /// Of the hashes: the same at all nodes of the cluster.
  let seed: UInt64
  let tree: Tree
  /// A rule that a test breaks on purpose: leaves stay what they are.
  let isBroken = Atomic<Bool>(false)
  private let path: String
  private let locks: [Lock]
  /// How many damaged leaves writes have met: each unmarks its partition. Raised with the leaf's lock held.
  private let damages = Atomic<UInt64>(0)
  private let checking = Lock()
  // Guarded by `checking`.
  /// Who checks a partition, and `damages` when that began.
  private var claims: [Int: (claim: Claim, damages: UInt64)] = [:]
  private var lastClaim: Claim = 0
  private var blocked: Set<Int> = []

  /// - Parameter path: of the store.
  init(_ tree: Tree, seed: UInt64, path: String) {
    self.tree = tree
    self.seed = seed
    self.path = path
    locks = (0..<Self.lockCount).map { _ in Lock() }
  }

  // MARK: - Writes, with the key's stripe locked

  /// What becomes of a key's leaf where its record becomes another; `nil` where that is nothing.
  ///
  /// - Parameters:
  ///   - stripe: the key's, for its memory.
  ///   - storedKey: with its partition.
  ///   - old: what the store has; `nil` for nothing.
  ///   - new: what it will have; `nil` for nothing.
  /// - Complexity: O(n) of the records' entries, dots and names.
  func change(
    _ stripe: KeyStripe, _ partition: Int, _ storedKey: [UInt8], from old: Record?, to new: Record?
  ) -> Change? {
    if isBroken.load(ordering: .relaxed) { return nil }
    let key = unsafe storedKey.span.bytes.extracting(droppingFirst: StoredKey.prefixBytes)
    stripe.hasher.seed = seed
    var by = TreeLeaf()
    if let old { by.add(TreeLeaf(hash: stripe.hasher.hash(key, old), keys: .max)) }
    if let new { by.add(TreeLeaf(hash: stripe.hasher.hash(key, new), keys: 1)) }
    if by == TreeLeaf() { return nil }
    return Change(partition: partition, leaf: stripe.hasher.leaf(of: key), by: by)
  }

  /// Runs `body`, which adds the change to a batch and commits that, while nobody else changes the leaf.
  func withLock(of change: Change, _ body: () throws(DatabaseError) -> Void) throws(DatabaseError) {
    let lock = locks[(change.partition &* 31 &+ change.leaf) & (Self.lockCount - 1)]
    lock.lock()
    defer { lock.unlock() }
    try body()
  }

  /// Adds what the change makes of its leaf to the batch of the change. With the leaf's lock held.
  ///
  /// - Throws: what reading the leaf throws, but for damage.
  /// - Complexity: one lookup.
  func add(_ change: Change, to batch: inout WriteBatch) throws(DatabaseError) {
    let key = LeafKey.leaf(change.leaf, partition: change.partition).bytes
    var leaf = TreeLeaf()
    do throws(StoreError) { leaf = try current(key) } catch {
      // No damaged hash keeps a record from being written: the next check finds out what is missing.
      guard error.code == .corruption else { throw DatabaseError(error) }
      // A check that is under way may have read the leaf before it was damaged, and must not mark it.
      damages.wrappingAdd(1, ordering: .relaxed)
      batch.delete(LeafKey.mark(partition: change.partition).bytes, in: tree)
    }
    leaf.add(change.by)
    put(leaf, key, to: &batch)
  }

  private func current(_ key: [UInt8]) throws(StoreError) -> TreeLeaf {
    let found = try unsafe tree.withBytes(of: key.span.bytes) { TreeLeaf(decoding: $0) }
    guard let found else { return TreeLeaf() }
    guard let leaf = found else { throw Self.damaged(path) }
    return leaf
  }

  private func put(_ leaf: TreeLeaf, _ key: [UInt8], to batch: inout WriteBatch) {
    if leaf == TreeLeaf() { batch.delete(key, in: tree) } else { batch.put(key, leaf.encoded(), in: tree) }
  }

  private static func damaged(_ path: String) -> StoreError {
    StoreError(.corruption, "a leaf of a hash tree in \(path) is damaged")
  }

  // MARK: - Reading

  /// What is kept of a partition.
  ///
  /// - Parameter sequence: as of a snapshot of the store; `nil` for now.
  /// - Throws: `.corruption`, `.storage`, `.closed`.
  /// - Complexity: one range of at most 1,025 entries.
  func read(_ partition: Int, at sequence: UInt64? = nil) throws(DatabaseError) -> Kept {
    let range = KeyRange(lower: StoredKey.make(partition), upper: StoredKey.end(of: partition))
    return try storing("the leaves of hash trees could not be read in \(path)") { () throws(StoreError) in
      var kept = Kept()
      var cursor = try tree.cursor(range, sequence)
      while try cursor.next() {
        switch LeafKey(cursor.keyBytes) {
        case .mark: kept.isWhole = cursor.valueBytes == LeafMark(seed: seed).encoded()
        case .leaf(let leaf, _):
          guard let value = TreeLeaf(decoding: cursor.value) else { throw Self.damaged(path) }
          kept.tree[leaf] = value
        case nil: throw Self.damaged(path)
        }
      }
      return kept
    }
  }

  // MARK: - Checks

  /// Begins a check of a partition: before the snapshot that it reads.
  ///
  /// - Returns: `nil` where another check is under way, or the partition is being deleted.
  func claim(_ partition: Int) -> Claim? {
    checking.withLock {
      if blocked.contains(partition) || claims[partition] != nil { return nil }
      lastClaim += 1
      claims[partition] = (lastClaim, damages.load(ordering: .relaxed))
      return lastClaim
    }
  }

  func release(_ partition: Int, _ claim: Claim) {
    checking.withLock { if claims[partition]?.claim == claim { claims[partition] = nil } }
  }

  /// Adds to a partition's leaves what a check found missing, and marks them as whole.
  ///
  /// - Returns: `false` where the partition was deleted since, or a write has met a damaged leaf: nothing was
  ///   written.
  /// - Throws: what the store throws; nothing was written then, or all.
  /// - Complexity: nobody writes to the keyspace in this store meanwhile: at most 1,024 lookups, one batch.
  func mend(
    _ partition: Int, _ missing: [(leaf: Int, by: TreeLeaf)], _ claim: Claim
  ) throws(DatabaseError) -> Bool {
    try checking.withLock { () throws(DatabaseError) in
      guard let claimed = claims[partition], claimed.claim == claim else { return false }
      for lock in locks { lock.lock() }
      defer { for lock in locks { lock.unlock() } }
      // With the leaves' locks: whoever counted a damage before has written by now.
      guard damages.load(ordering: .relaxed) == claimed.damages else { return false }
      try storing("the leaves of hash trees could not be written in \(path)") { () throws(StoreError) in
        var batch = WriteBatch()
        for (number, difference) in missing {
          let key = LeafKey.leaf(number, partition: partition).bytes
          var leaf = try current(key)
          leaf.add(difference)
          put(leaf, key, to: &batch)
        }
        batch.put(LeafKey.mark(partition: partition).bytes, LeafMark(seed: seed).encoded(), in: tree)
        try tree.store.commit(batch, .applied)
      }
      return true
    }
  }

  /// Deletes a partition's leaves, which are damaged: the next check makes them anew.
  ///
  /// - Throws: what the store throws.
  func clear(_ partition: Int) throws(DatabaseError) {
    let start = StoredKey.make(partition)
    // Partitions are below 32,768.
    let end = StoredKey.make(partition + 1)
    try checking.withLock { () throws(DatabaseError) in
      claims[partition] = nil
      // Whoever read a leaf before has written by then: else it came back after the next check's snapshot.
      for lock in locks { lock.lock() }
      defer { for lock in locks { lock.unlock() } }
      try storing("the leaves of hash trees could not be deleted in \(path)") { () throws(StoreError) in
        try tree.deleteRange(from: start, to: end, .applied)
      }
    }
  }

  /// Ends checks of a partition, and lets none begin: it is about to be deleted.
  func block(_ partition: Int) {
    checking.withLock {
      claims[partition] = nil
      blocked.insert(partition)
    }
  }

  /// The partition is deleted, and nobody writes any more who read a record of it before.
  func unblock(_ partition: Int) { checking.withLock { _ = blocked.remove(partition) } }
}
