import Roost
import RoostEnvironment
import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

/// Closing while transactions are under way: every caller that waits is answered, once, and what was
/// acknowledged is there afterwards.
// Budget: 10 s
@Suite struct TransactionCloseTests {
  @Test func `whoever waits for a lock, a vote or a read is answered`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 4))
    let (a, alsoA, b) = try world.keys()
    try world.commit(world.begin([a: "0", b: "0"]))
    // Prepared in both stores: their votes are on their way for ever.
    world.transport.isHolding = true
    let decided = Answer<TransactionOutcome>()
    try world.begin([a: "1", b: "1"]).commit(isSynced: true) { decided.set($0) }
    for _ in 0..<3 { world.transport.deliver() }
    #expect(world.transport.held == ["vote", "vote"])
    // A read of now waits for it, a lock too; and so does a commit whose message is held.
    let read = Answer<Result<ReadAnswer, DatabaseError>>()
    let now = try world.manager.now()
    world.manager.snapshot(.keys([world.reference(a)]), at: now, of: try world.owner(a).id) { read.set($0) }
    let waiting = try world.begin([:])
    let lock = Answer<Result<ReadAnswer, TransactionAborted>>()
    world.manager.acquire(
      waiting.id, at: try world.owner(b).id, [.exclusive(world.reference(b))], nil
    ) { lock.set($0) }
    let atOnce = Answer<TransactionOutcome>()
    let other = try world.begin([alsoA: "1"])
    try other.commit(isSynced: true) { atOnce.set($0) }
    #expect(decided.count + read.count + lock.count + atOnce.count == 0)
    try world.manager.close()
    #expect(decided.count == 1 && read.count == 1 && lock.count == 1 && atOnce.count == 1)
    guard case .unknown? = decided.value, case .unknown(other.id)? = atOnce.value else {
      Issue.record("answered with \(decided.value as Any) and \(atOnce.value as Any)")
      return
    }
    if case .failure(let error)? = read.value { #expect(error.code == .closed) } else {
      Issue.record("the read was answered with \(read.value as Any)")
    }
    if case .success? = lock.value { Issue.record("the lock was granted") }
    // Whoever comes now is told so.
    #expect(throws: DatabaseError.self) { try world.begin([:]) }
    let late = Answer<Result<ReadAnswer, TransactionAborted>>()
    world.manager.acquire(waiting.id, at: try world.owner(b).id, [], nil) { late.set($0) }
    #expect(late.count == 1)
    try world.core.close()
  }

  /// It is decided, and those who take part are being told; its caller's answer stands behind that.
  @Test func `whoever waits for what is decided is told so`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 5))
    let (a, _, b) = try world.keys()
    try world.commit(world.begin([a: "0", b: "0"]))
    let answer = Answer<TransactionOutcome>()
    let answeredBefore = Answer<Int>()
    let manager = world.manager
    world.transport.drops = { envelope in
      guard envelope.message.kind == "commit" else { return false }
      if answeredBefore.count == 0 {
        answeredBefore.set(answer.count)
        try? manager.close()
      }
      return true
    }
    try world.begin([a: "1", b: "1"]).commit(isSynced: true) { answer.set($0) }
    world.transport.drops = nil
    #expect(answeredBefore.value == 0 && answer.count == 1)
    guard case .committed? = answer.value else {
      Issue.record("answered with \(answer.value as Any)")
      return
    }
    try world.core.close()
  }

  /// What is acknowledged everywhere need not be told again: a clean close writes the END of it.
  @Test func `after a clean close no decision is left over`() async throws {
    let folder = try TemporaryDirectory()
    let directories = (0..<3).map { folder.appending("disk\($0)").string }
    // Closing waits two seconds for it, which a busy machine may need.
    var environment = Environment.posix()
    environment.time = UnhurriedTime(factor: 100)
    for round in 0..<TestSize.of(quick: 10, full: 40) {
      let database = try await Database.open(at: directories, Databases.options(), environment: environment)
      let accounts = try await database.keyspace("accounts", .transactional)
      let statistics = try await database.keyspace("statistics", .eventual)
      try await database.transaction(.synced) { txn in
        for number in 0..<8 { try await txn.put("a\(number)", value: round, in: accounts) }
        try txn.counter("rounds", in: statistics).increment()
      }
      try await database.close()
      var logs = 0
      for directory in directories where try CoordinatorLog.exists(in: directory, .posix()) {
        let (log, recovered) = try CoordinatorLog.open(in: directory, of: database.id, .posix())
        #expect(recovered.commits.isEmpty, "round \(round)")
        #expect(!recovered.ended.isEmpty)
        try log.close()
        logs += 1
      }
      #expect(logs == 1)
    }
  }

  @Test func `clients in the middle of their transactions end, and lose nothing`() async throws {
    let folder = try TemporaryDirectory()
    let directories = (0..<3).map { folder.appending("disk\($0)").string }
    for round in 0..<TestSize.of(quick: 3, full: 20) {
      let database = try await Database.open(at: directories, Databases.options())
      let accounts = try await database.keyspace("accounts", .transactional)
      let clients = 6
      let (commits, signal) = AsyncStream<Void>.makeStream()
      // How often each client added one to its key, for sure and perhaps.
      let ends = try await withThrowingTaskGroup(of: (client: Int, sure: Int, perhaps: Int).self) { group in
        for client in 0..<clients {
          group.addTask {
            var sure = 0
            while true {
              do {
                try await database.transaction(.synced) { txn in
                  for key in ["own:\(round):\(client)", "all:\(round)"] {
                    let count = try await txn.get(key, Int.self, in: accounts) ?? 0
                    try await txn.put(key, value: count + 1, in: accounts)
                  }
                }
                sure += 1
                signal.yield()
              } catch let error as DatabaseError {
                // Conflicts that outlast the retries are no end.
                if error.code == .transactionAborted, !error.message.contains("closed") { continue }
                return (client, sure, error.code == .outcomeUnknown ? 1 : 0)
              }
            }
          }
        }
        group.addTask {
          var count = 0
          for await _ in commits {
            count += 1
            if count >= 10 + 5 * round % 20 { break }
          }
          try await database.close()
          return (-1, 0, 0)
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      let reopened = try await Database.open(at: directories, Databases.options())
      let again = try await reopened.keyspace("accounts", .transactional)
      let snapshot = try await reopened.snapshot()
      var sum = 0
      for end in ends where end.client >= 0 {
        let count = try await snapshot.get("own:\(round):\(end.client)", Int.self, in: again) ?? 0
        #expect(count >= end.sure && count <= end.sure + end.perhaps, "\(end), found \(count)")
        sum += count
      }
      #expect(try await snapshot.get("all:\(round)", Int.self, in: again) ?? 0 == sum, "done in part")
      #expect(try await reopened.inDoubt().isEmpty)
      try await reopened.close()
    }
  }
}
