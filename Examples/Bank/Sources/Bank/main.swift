import Roost

// Moves 1,000 dollars from A to B, which may be on different disks: both sides, or none. Kill it
// wherever you like and run it again: the sum is the same.

struct Insufficient: Error {}

let database = try await Database.open(at: ["bank/disk1", "bank/disk2"])
let accounts = try await database.keyspace("accounts", .transactional)
let statistics = try await database.keyspace("statistics", .eventual)

// The first run founds the bank.
try await database.transaction(.synced) { txn in
  guard try await txn.get("A", Int.self, in: accounts) == nil else { return }
  try await txn.put("A", value: 5_000, in: accounts)
  try await txn.put("B", value: 0, in: accounts)
}

do {
  try await database.transaction(.synced) { txn in
    // For an update: a transfer that meets this one waits here, rather than begin anew at its commit.
    let a = try await txn.get("A", Int.self, in: accounts, forUpdate: true) ?? 0
    guard a >= 1_000 else { throw Insufficient() }
    let b = try await txn.get("B", Int.self, in: accounts, forUpdate: true) ?? 0
    try await txn.put("A", value: a - 1_000, in: accounts)
    try await txn.put("B", value: b + 1_000, in: accounts)
    try txn.counter("transfers", in: statistics).increment()
  }
  print("moved 1000 from A to B")
} catch is Insufficient {
  print("A has less than 1000: nothing was moved")
}

// All accounts at one moment, without a lock.
let snapshot = try await database.snapshot()
let a = try await snapshot.get("A", Int.self, in: accounts) ?? 0
let b = try await snapshot.get("B", Int.self, in: accounts) ?? 0
print("A has \(a), B has \(b), \(a + b) in all")
try await database.close()
