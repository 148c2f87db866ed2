import RoostEnvironment
import RoostTransactions
import TestSupport
import Testing

/// The lock table against one that looks through lists, and against what wound-wait promises.
// Budget: 5 s
@Suite struct LockTableModelTests {
  @Test func `agrees with the model, and all end`() throws {
    try withSeeds("LockTableModelTests", count: 60) { _, random in
      var table = LockTable()
      var model = LockModel()
      var live: [TransactionID] = []
      var started: UInt64 = 0
      for step in 0..<150 {
        switch random.below(10) {
        case 0..<2:
          started += 1
          live.append(txn(started))
        case 2..<8:
          guard !live.isEmpty else { continue }
          let transaction = live[random.below(live.count)]
          if model.protected.contains(transaction) { continue }
          let targets = (0...random.below(3)).map { _ in randomTarget(&random) }
          // Some are retries of ones that began long before.
          let age = transaction.start.rawValue % 3 == 0 ? txn(0) : transaction
          let changes = table.acquire(
            targets, for: transaction, age: age, request: UInt64(step))
          let expected = model.acquire(targets, transaction, age: age, UInt64(step))
          try #require(changes.granted.sorted() == expected.granted.sorted())
          try #require(Set(changes.wounded) == Set(expected.wounded))
          live.removeAll { changes.wounded.contains($0) }
        case 8:
          guard let transaction = model.ready(of: live, &random) else { continue }
          table.protect(transaction)
          model.protected.insert(transaction)
        default:
          guard !live.isEmpty else { continue }
          try release(live.remove(at: random.below(live.count)), &table, &model)
        }
        try model.check(table, live)
      }
      // Whoever waits for nothing ends. Some such one there always is: else they wait in a circle.
      while !live.isEmpty {
        let transaction = try #require(model.ready(of: live, &random), "all wait for each other")
        live.removeAll { $0 == transaction }
        try release(transaction, &table, &model)
        try model.check(table, live)
      }
      try #require(table.ownerCount == 0 && table.isFree(partition: 0))
    }
  }

  func release(
    _ transaction: TransactionID, _ table: inout LockTable, _ model: inout LockModel
  ) throws {
    let changes = table.release(transaction)
    try #require(changes.granted.sorted() == model.release(transaction).sorted())
    try #require(changes.wounded.isEmpty)
  }

  func randomTarget(_ random: inout SplitMix64) -> LockTarget {
    let names = ["a", "b", "c", "d"]
    let name = names[random.below(4)]
    switch random.below(5) {
    case 0, 1: return .shared(key(name))
    case 2, 3: return .exclusive(key(name))
    default: return .sharedRange(range(name, random.below(3) == 0 ? nil : "d"))
    }
  }
}

extension LockTable.Ticket: Comparable {
  package static func < (a: LockTable.Ticket, b: LockTable.Ticket) -> Bool {
    a.transaction != b.transaction ? a.transaction < b.transaction : a.request < b.request
  }
}

/// Wound-wait over two lists.
struct LockModel {
  struct Claim {
    var transaction: TransactionID
    var age: TransactionID
    var request: UInt64
    var target: LockTarget

    func isOlder(than other: Claim) -> Bool {
      age != other.age ? age < other.age : transaction < other.transaction
    }

    func conflicts(with other: Claim) -> Bool {
      transaction != other.transaction && target.conflicts(with: other.target)
    }
  }

  var held: [Claim] = []
  var waiting: [Claim] = []
  var protected: Set<TransactionID> = []

  mutating func acquire(
    _ targets: [LockTarget], _ transaction: TransactionID, age: TransactionID, _ request: UInt64
  ) -> LockTable.Changes {
    var changes = LockTable.Changes()
    let claims = Set(targets).map {
      Claim(transaction: transaction, age: age, request: request, target: $0)
    }
    let new = claims.filter { claim in
      !held.contains { $0.transaction == transaction && includes($0.target, claim.target) }
    }
    for claim in new {
      for holder in held where holder.conflicts(with: claim) && claim.isOlder(than: holder) {
        if protected.contains(holder.transaction) { continue }
        if !changes.wounded.contains(holder.transaction) { changes.wounded.append(holder.transaction) }
      }
    }
    for victim in changes.wounded { remove(victim) }
    waiting += new
    changes.granted = grant() + (new.isEmpty ? [LockTable.Ticket(transaction, request)] : [])
    return changes
  }

  func includes(_ held: LockTarget, _ wanted: LockTarget) -> Bool {
    if held == wanted { return true }
    if case (.exclusive(let a), .shared(let b)) = (held, wanted) { return a == b }
    return false
  }

  mutating func release(_ transaction: TransactionID) -> [LockTable.Ticket] {
    remove(transaction)
    return grant()
  }

  private mutating func remove(_ transaction: TransactionID) {
    held.removeAll { $0.transaction == transaction }
    waiting.removeAll { $0.transaction == transaction }
    protected.remove(transaction)
  }

  private mutating func grant() -> [LockTable.Ticket] {
    var granted: Set<LockTable.Ticket> = []
    while let index = waiting.firstIndex(where: { isFree($0) }) {
      let claim = waiting.remove(at: index)
      held.append(claim)
      granted.insert(LockTable.Ticket(claim.transaction, claim.request))
    }
    return granted.filter { ticket in
      !waiting.contains { $0.transaction == ticket.transaction && $0.request == ticket.request }
    }
  }

  private func isFree(_ claim: Claim) -> Bool {
    !held.contains { $0.conflicts(with: claim) }
      && !waiting.contains { $0.conflicts(with: claim) && $0.isOlder(than: claim) }
  }

  /// One of those that wait for nothing.
  func ready(of live: [TransactionID], _ random: inout SplitMix64) -> TransactionID? {
    let ready = live.filter { one in !waiting.contains { $0.transaction == one } }
    return ready.isEmpty ? nil : ready[random.below(ready.count)]
  }

  func check(_ table: LockTable, _ live: [TransactionID]) throws {
    for claim in held { try #require(table.holds(claim.target, claim.transaction)) }
    for claim in waiting {
      try #require(table.isWaiting(LockTable.Ticket(claim.transaction, claim.request)))
      for holder in held where holder.conflicts(with: claim) && claim.isOlder(than: holder) {
        try #require(protected.contains(holder.transaction), "an older one waits for a younger")
      }
    }
    for a in held { for b in held { try #require(!a.conflicts(with: b), "both hold") } }
    for one in live {
      let targets = ["a", "b", "c", "d"].map { LockTarget.exclusive(key($0)) }
      for target in targets where table.holds(target, one) {
        try #require(held.contains { $0.transaction == one && $0.target == target })
      }
    }
  }
}
