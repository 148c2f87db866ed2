import RoostCluster

/// The locks that transactions hold and wait for at one participant: two-phase locking with
/// wound-wait (Rosenkrantz, Stearns, Lewis: System Level Concurrency Control, 1978).
///
/// - A transaction's *rank* is its age, then its id: the older ranks before the younger.
/// - Who asks for what a younger one holds takes it away, unless that one is *protected* (prepared,
///   or committing): the younger loses everything here. Who asks for what an older or a protected one
///   holds waits. So each waits for older ones, or for ones that wait for nobody: no cycle can last.
/// - No request is granted past an older one that waits and conflicts, so none starves.
///
/// Invariants, after each call: no two transactions hold what conflicts; a holder that an older one
/// waits for is protected; and what could be granted by these rules has been.
///
/// A plain value, without deadlines or messages: ``Participant`` has those.
package struct LockTable: Sendable {
  /// Names what waits: a transaction's request.
  package struct Ticket: Hashable, Sendable {
    package var transaction: TransactionID
    package var request: UInt64

    package init(_ transaction: TransactionID, _ request: UInt64) {
      self.transaction = transaction
      self.request = request
    }
  }

  /// What a call changed for others, and for whom it was made.
  package struct Changes: Hashable, Sendable {
    /// Requests that now hold all they asked for, the oldest first.
    package var granted: [Ticket] = []
    /// Transactions that lost all their locks and requests here.
    package var wounded: [TransactionID] = []

    package init() {}
  }

  /// Where locks can conflict: a partition of a keyspace.
  struct Place: Hashable, Sendable {
    var keyspace: UInt64
    var partition: Int

    func hash(into hasher: inout Hasher) {
      hasher.combine(keyspace &<< 16 ^ UInt64(truncatingIfNeeded: partition))
    }
  }

  struct Owner: Sendable {
    var rank: Rank
    var isProtected = false
    var held: Set<LockTarget> = []
    /// By request: how many of its targets are not granted yet.
    var missing: [UInt64: Int] = [:]
    var places: Set<Place> = []
  }

  var owners: [TransactionID: Owner] = [:]
  var slots: [Place: LockSlot] = [:]

  package init() {}

  /// Asks for all of `targets`. Those that are free are held at once, also where others must be
  /// waited for.
  ///
  /// - Parameters:
  ///   - request: new among the transaction's requests.
  /// - Returns: with this request in `granted` if it waits for nothing.
  /// - Complexity: O(targets · (locks and waiters of their partitions)).
  package mutating func acquire(
    _ targets: [LockTarget], for transaction: TransactionID, age: TransactionID, request: UInt64
  ) -> Changes {
    let rank = Rank(age: age, transaction: transaction)
    let covers = owners[transaction]?.covers(targets) ?? false
    if covers || targets.count == 1 && acquireFree(targets[0], rank) {
      var changes = Changes()
      changes.granted.append(Ticket(transaction, request))
      return changes
    }
    var owner = owners.removeValue(forKey: transaction) ?? Owner(rank: rank)
    let wanted = Set(targets).filter { !owner.covers($0) }
    owner.missing[request] = wanted.count
    var touched: Set<Place> = []
    for target in wanted {
      touched.insert(target.place)
      slots[target.place, default: LockSlot()].wait(
        LockSlot.Waiter(rank: rank, request: request, target: target))
    }
    owner.places.formUnion(touched)
    owners[transaction] = owner
    var changes = Changes()
    if wanted.isEmpty {
      owners[transaction]?.missing[request] = nil
      changes.granted.append(Ticket(transaction, request))
    }
    for target in wanted {
      for victim in victims(of: rank, target) {
        touched.formUnion(remove(victim))
        changes.wounded.append(victim)
      }
    }
    // The order of a set is another in each run: the same events must have the same effects.
    changes.wounded.sort()
    grant(in: touched, into: &changes)
    return changes
  }

  /// Gives up all that a transaction holds and waits for. Nothing, if it has nothing.
  ///
  /// - Returns: `granted` is whose turn it is now; nobody is wounded.
  package mutating func release(_ transaction: TransactionID) -> Changes {
    var changes = Changes()
    grant(in: remove(transaction), into: &changes)
    return changes
  }

  /// From now on it is not wounded: who is older waits for it.
  package mutating func protect(_ transaction: TransactionID) {
    owners[transaction]?.isProtected = true
  }

  /// Gives a transaction that was prepared before a restart its locks again, whoever else holds them,
  /// and protects it.
  package mutating func adopt(_ keys: [KeyReference], for transaction: TransactionID) {
    var owner =
      owners[transaction] ?? Owner(rank: Rank(age: transaction, transaction: transaction))
    owner.isProtected = true
    for key in keys {
      let target = LockTarget.exclusive(key)
      owner.held.insert(target)
      owner.places.insert(target.place)
      slots[target.place, default: LockSlot()].hold(target, transaction)
    }
    owners[transaction] = owner
  }

  /// Whether it holds this, or what includes it.
  package func holds(_ target: LockTarget, _ transaction: TransactionID) -> Bool {
    owners[transaction]?.covers(target) ?? false
  }

  /// Whether the request, which was not granted when asked for, waits still.
  package func isWaiting(_ ticket: Ticket) -> Bool {
    owners[ticket.transaction]?.missing[ticket.request] != nil
  }

  /// Who holds exclusive locks on what is read.
  package func exclusiveHolders(of read: TransactionRead) -> Set<TransactionID> {
    switch read {
    case .keys(let keys):
      var holders: Set<TransactionID> = []
      for key in keys {
        holders.formUnion(slots[LockTarget.shared(key).place]?.exclusiveHolders(of: key.key) ?? [])
      }
      return holders
    case .range(let range, _):
      return slots[LockTarget.sharedRange(range).place]?.exclusiveHolders(in: range) ?? []
    }
  }

  /// Whether nothing of a partition is locked, in any keyspace.
  package func isFree(partition: Int) -> Bool {
    !slots.contains { $0.key.partition == partition && $0.value.isHeld }
  }

  /// Whether it holds anything of a partition, in any keyspace.
  package func holdsAnything(of partition: Int, _ transaction: TransactionID) -> Bool {
    owners[transaction]?.held.contains { $0.place.partition == partition } ?? false
  }

  /// Who waits for something in a partition.
  package func waiting(partition: Int) -> Set<TransactionID> {
    var found: Set<TransactionID> = []
    for (place, slot) in slots where place.partition == partition {
      for waiter in slot.waiters { found.insert(waiter.rank.transaction) }
    }
    return found
  }

  /// How many transactions hold or wait for anything.
  package var ownerCount: Int { owners.count }

  /// How many requests wait.
  package var waitingCount: Int { owners.values.reduce(0) { $0 + $1.missing.count } }
}

extension LockTable {
  /// Takes a lock that nobody holds anything against, and that nobody waits beside: then there is nothing to
  /// wait for, and nobody to wound.
  ///
  /// - Returns: `false` where there may be; nothing was done then.
  private mutating func acquireFree(_ target: LockTarget, _ rank: Rank) -> Bool {
    let place = target.place
    let transaction = rank.transaction
    guard slots[place, default: LockSlot()].holdFree(target, transaction) else { return false }
    owners[transaction, default: Owner(rank: rank)].note(target, in: place)
    return true
  }

  /// The younger, unprotected ones that hold what conflicts.
  private func victims(of rank: Rank, _ target: LockTarget) -> [TransactionID] {
    guard let slot = slots[target.place] else { return [] }
    return slot.conflictingHolders(target, except: rank.transaction).filter {
      guard let holder = owners[$0] else { return false }
      return rank < holder.rank && !holder.isProtected
    }
  }

  /// Takes a transaction out and returns where others may go on.
  private mutating func remove(_ transaction: TransactionID) -> Set<Place> {
    guard let owner = owners.removeValue(forKey: transaction) else { return [] }
    for target in owner.held { slots[target.place]?.drop(target, transaction) }
    for place in owner.places {
      slots[place]?.waiters.removeAll { $0.rank.transaction == transaction }
      if slots[place]?.isEmpty ?? false { slots[place] = nil }
    }
    return owner.places
  }

  /// Grants, in order of age, what is neither held by others nor waited for by older ones.
  private mutating func grant(in places: Set<Place>, into changes: inout Changes) {
    var granted: [LockSlot.Waiter] = []
    for place in places {
      guard var slot = slots[place], !slot.waiters.isEmpty else { continue }
      // Taken out first: a copy of the slot's tables would be made for each change else.
      slots[place] = nil
      granted += slot.grantWaiters()
      slots[place] = slot
    }
    for waiter in granted.sorted(by: { ($0.rank, $0.request) < ($1.rank, $1.request) }) {
      let ticket = Ticket(waiter.rank.transaction, waiter.request)
      owners[ticket.transaction]?.held.insert(waiter.target)
      guard let missing = owners[ticket.transaction]?.missing[ticket.request] else { continue }
      owners[ticket.transaction]?.missing[ticket.request] = missing > 1 ? missing - 1 : nil
      if missing == 1 { changes.granted.append(ticket) }
    }
  }
}

extension LockTable.Owner {
  /// Notes a lock that it holds now.
  mutating func note(_ target: LockTarget, in place: LockTable.Place) {
    held.insert(target)
    places.insert(place)
  }

  func covers(_ targets: [LockTarget]) -> Bool { targets.allSatisfy { covers($0) } }

  /// Whether holding what it holds makes asking for this pointless.
  func covers(_ target: LockTarget) -> Bool {
    if held.contains(target) { return true }
    if case .shared(let key) = target { return held.contains(.exclusive(key)) }
    return false
  }
}

extension LockTarget {
  var place: LockTable.Place {
    switch self {
    case .shared(let key), .exclusive(let key):
      LockTable.Place(keyspace: key.keyspace, partition: key.partition)
    case .sharedRange(let range):
      LockTable.Place(keyspace: range.keyspace, partition: range.partition)
    }
  }

  /// Whether two transactions must not hold both.
  package func conflicts(with other: LockTarget) -> Bool {
    switch (self, other) {
    case (.exclusive(let a), .exclusive(let b)), (.exclusive(let a), .shared(let b)),
      (.shared(let a), .exclusive(let b)):
      a == b
    case (.exclusive(let key), .sharedRange(let range)), (.sharedRange(let range), .exclusive(let key)):
      range.contains(key)
    default: false
    }
  }
}
