import RoostCluster

/// How old a transaction is among others: by its first attempt, then by itself. The older is less.
struct Rank: Hashable, Comparable, Sendable {
  var age: TransactionID
  var transaction: TransactionID

  static func < (a: Rank, b: Rank) -> Bool {
    a.age != b.age ? a.age < b.age : a.transaction < b.transaction
  }
}

/// The locks of one partition of one keyspace: who holds, and who waits in order of rank.
struct LockSlot: Sendable {
  struct Holder: Sendable {
    var transaction: TransactionID
    var isExclusive: Bool
  }

  struct HeldRange: Sendable {
    var transaction: TransactionID
    var range: RangeReference
  }

  struct Waiter: Sendable {
    var rank: Rank
    var request: UInt64
    var target: LockTarget
  }

  /// A key's bytes, hashed at once: an array's are hashed one by one.
  struct Key: Hashable, Sendable {
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func hash(into hasher: inout Hasher) { unsafe bytes.withUnsafeBytes { unsafe hasher.combine(bytes: $0) } }
  }

  /// Never with an empty list. More than one exclusive holder only where a restart adopted them.
  private(set) var keys: [Key: [Holder]] = [:]
  private(set) var ranges: [HeldRange] = []
  /// The oldest first.
  var waiters: [Waiter] = []

  var isHeld: Bool { !keys.isEmpty || !ranges.isEmpty }
  var isEmpty: Bool { !isHeld && waiters.isEmpty }

  mutating func wait(_ waiter: Waiter) {
    let index = waiters.firstIndex { waiter.rank < $0.rank } ?? waiters.endIndex
    waiters.insert(waiter, at: index)
  }

  /// Holds `target` where no waiter is here and no other holds what conflicts.
  mutating func holdFree(_ target: LockTarget, _ transaction: TransactionID) -> Bool {
    guard waiters.isEmpty, conflictingHolders(target, except: transaction).isEmpty else { return false }
    hold(target, transaction)
    return true
  }

  mutating func hold(_ target: LockTarget, _ transaction: TransactionID) {
    switch target {
    case .shared(let key): hold(key.key, transaction, isExclusive: false)
    case .exclusive(let key): hold(key.key, transaction, isExclusive: true)
    case .sharedRange(let range): ranges.append(HeldRange(transaction: transaction, range: range))
    }
  }

  private mutating func hold(_ key: [UInt8], _ transaction: TransactionID, isExclusive: Bool) {
    let holder = Holder(transaction: transaction, isExclusive: isExclusive)
    guard let found = keys.index(forKey: Key(key)) else {
      keys[Key(key)] = [holder]
      return
    }
    if let index = keys.values[found].firstIndex(where: { $0.transaction == transaction }) {
      if isExclusive { keys.values[found][index].isExclusive = true }
    } else {
      keys.values[found].append(holder)
    }
  }

  /// Shared and exclusive lock of a key go together: locks are only released with their transaction.
  mutating func drop(_ target: LockTarget, _ transaction: TransactionID) {
    switch target {
    case .shared(let key), .exclusive(let key):
      guard let found = keys.index(forKey: Key(key.key)) else { return }
      if keys.values[found].allSatisfy({ $0.transaction == transaction }) {
        keys.remove(at: found)
      } else {
        keys.values[found].removeAll { $0.transaction == transaction }
      }
    case .sharedRange(let range):
      ranges.removeAll { $0.transaction == transaction && $0.range == range }
    }
  }

  func conflictingHolders(_ target: LockTarget, except own: TransactionID) -> Set<TransactionID> {
    var found: Set<TransactionID> = []
    switch target {
    case .shared(let key):
      for holder in keys[Key(key.key)] ?? [] where holder.isExclusive { found.insert(holder.transaction) }
    case .exclusive(let key):
      for holder in keys[Key(key.key)] ?? [] { found.insert(holder.transaction) }
      for held in ranges where held.range.contains(key) { found.insert(held.transaction) }
    case .sharedRange(let range): found = exclusiveHolders(in: range)
    }
    found.remove(own)
    return found
  }

  func exclusiveHolders(of key: [UInt8]) -> Set<TransactionID> {
    var found: Set<TransactionID> = []
    for holder in keys[Key(key)] ?? [] where holder.isExclusive { found.insert(holder.transaction) }
    return found
  }

  func exclusiveHolders(in range: RangeReference) -> Set<TransactionID> {
    var found: Set<TransactionID> = []
    for (key, holders) in keys {
      for holder in holders where holder.isExclusive && range.contains(key: key.bytes) {
        found.insert(holder.transaction)
      }
    }
    return found
  }

  /// Grants what may be, the oldest first, and returns it.
  mutating func grantWaiters() -> [Waiter] {
    var granted: [Waiter] = []
    var blocked: [Waiter] = []
    for waiter in waiters {
      let own = waiter.rank.transaction
      let isBlocked =
        blocked.contains { $0.rank.transaction != own && $0.target.conflicts(with: waiter.target) }
        || !conflictingHolders(waiter.target, except: own).isEmpty
      if isBlocked {
        blocked.append(waiter)
      } else {
        hold(waiter.target, own)
        granted.append(waiter)
      }
    }
    waiters = blocked
    return granted
  }
}
