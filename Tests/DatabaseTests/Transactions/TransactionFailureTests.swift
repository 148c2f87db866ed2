import Roost
import RoostEnvironment
import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

/// What a program is told by `Database` when a disk fails or is full under its transactions: real threads,
/// on simulated disks, whose clock goes on once something has failed.
// Budget: 5 s
@Suite struct TransactionFailureTests {
  private struct World {
    let fileSystem: SimulatedFileSystem
    let time: SimulatedTime
    let hasFailed = SharedFlag()
    let database: Database
    let accounts: Keyspace

    init(
      _ fileSystem: SimulatedFileSystem = SimulatedFileSystem(),
      _ time: SimulatedTime = SimulatedTime(waiting: .blocks), stores: Int = 2
    ) async throws {
      self.fileSystem = fileSystem
      self.time = time
      var environment = Environment.posix()
      environment.fileSystem = fileSystem
      environment.time = time
      database = try await Database.open(
        at: Databases.directories(stores), Databases.options { $0.store.logAccess = .calls },
        environment: environment)
      accounts = try await database.keyspace("accounts", .transactional)
    }

    /// Waits for what timers may have to end: they run once something has failed, and not before.
    func waiting<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) async throws -> R {
      let isDone = SharedFlag()
      let task = Task {
        defer { isDone.set() }
        return try await body()
      }
      while !isDone.isSet {
        if hasFailed.isSet { time.advance(byNanoseconds: 100_000_000) }
        await Task.yield()
      }
      return try await task.value
    }

    /// Closing waits a while for what is decided to be done everywhere, which timers may have to see to.
    func close() async throws {
      hasFailed.set()
      try await waiting { try await database.close() }
    }

    /// Has every operation fail that `isStruck` says.
    func fail(_ code: FileSystemError.Code, where isStruck: @escaping @Sendable (Operation) -> Bool) {
      fileSystem.onOperation { [hasFailed] operation throws(FileSystemError) in
        guard isStruck(operation) else { return }
        hasFailed.set()
        throw FileSystemError(code, operation: "\(operation.kind)", path: operation.path.string)
      }
    }

    /// What was in doubt is decided, as soon as its timers have asked.
    func settle() async throws {
      while try await !database.inDoubt().isEmpty {
        time.advance(byNanoseconds: 100_000_000)
        await Task.yield()
      }
    }

    /// Writes one value under several keys, which are in both stores.
    func write(_ value: String, _ count: Int = 12) async throws -> TransactionID {
      let accounts = accounts
      return try await database.transaction(.synced) { txn in
        for number in 0..<count { try await txn.put("k\(number)", value, in: accounts) }
        return txn.id
      }
    }

    func values(_ count: Int = 12) async throws -> Set<String?> {
      let snapshot = try await database.snapshot()
      var values: Set<String?> = []
      for number in 0..<count {
        let value = try await snapshot.get("k\(number)", in: accounts)
        values.insert(value.map { String(decoding: $0, as: UTF8.self) })
      }
      return values
    }
  }

  /// What is there after the process was killed, and after a power loss.
  private func images(_ fileSystem: SimulatedFileSystem) -> [SimulatedFileSystem] {
    let images = [fileSystem.processKillClone(), fileSystem.crashClone(.dropAll)]
    for image in images {
      image.clearFaults()
      image.capacity = nil
    }
    return images
  }

  /// A failed sync of the only store's log, or of the coordinator's: nobody knows, and it says so.
  @Test(arguments: [(1, "/disk0/db"), (2, "/coordinator")])
  func `a failed sync of what decides is told as unknown, with the id to ask for`(
    stores: Int, place: String
  ) async throws {
    let world = try await World(stores: stores)
    _ = try await world.write("before")
    world.fail(.io) { $0.kind == .sync && $0.path.string.contains(place) }
    let tries = SharedCount()
    let error = await databaseError {
      try await world.waiting {
        try await world.database.transaction(.synced) { txn in
          tries.add()
          for number in 0..<12 { try await txn.put("k\(number)", "after", in: world.accounts) }
        }
      }
    }
    #expect(error?.code == .outcomeUnknown, "\(String(describing: error))")
    // Doing it again could do it twice.
    #expect(tries.value == 1)
    let id = try #require(
      error?.message.split(separator: " ").lazy.compactMap { TransactionID(String($0)) }.first)
    // Nothing new is decided on what nobody knows.
    let next = await databaseError {
      _ = try await world.waiting { try await world.write("later") }
    }
    #expect(next != nil && next?.code != .closed, "\(String(describing: next))")
    let images = images(world.fileSystem)
    world.fileSystem.onOperation(nil)
    try? await world.close()
    for image in images {
      let again = try await World(image, world.time, stores: stores)
      try await again.settle()
      let values = try await again.values()
      switch try await again.database.outcome(of: id) {
      case .committed: #expect(values == ["after"] || values == ["later"])
      case .aborted: #expect(values == ["before"] || values == ["later"])
      case let other: Issue.record("the outcome of \(id) is \(String(describing: other))")
      }
      _ = try await again.write("next")
      #expect(try await again.values() == ["next"])
      try await again.close()
    }
  }

  /// From the n-th write on there is no room.
  @Test(arguments: [1, 2])
  func `a full disk is told, and nothing is lost or done in part`(stores: Int) async throws {
    let step = TestSize.of(quick: 7, full: 1)
    for count in stride(from: 1, to: TestSize.of(quick: 30, full: 60), by: step) {
      let world = try await World(stores: stores)
      _ = try await world.write("before")
      let left = SharedCount()
      world.fail(.noSpace) { operation in
        guard operation.kind == .write || operation.kind == .allocate else { return false }
        left.add()
        return left.value > count
      }
      var committed = "before"
      var failure: DatabaseError?
      for number in 0..<100 where failure == nil {
        do {
          _ = try await world.waiting { try await world.write("v\(number)") }
          committed = "v\(number)"
        } catch let error as DatabaseError { failure = error }
      }
      let error = try #require(failure)
      #expect([.transactionAborted, .outcomeUnknown, .storage].contains(error.code), "\(error)")
      #expect(error.message.count > 20)
      let images = images(world.fileSystem)
      world.fileSystem.onOperation(nil)
      try? await world.close()
      for image in images {
        let again = try await World(image, world.time, stores: stores)
        try await again.settle()
        let values = try await again.values()
        #expect(values.count == 1, "done in part: \(values), write \(count)")
        if error.code != .outcomeUnknown { #expect(values == [committed], "write \(count): \(error)") }
        _ = try await again.write("next")
        #expect(try await again.values() == ["next"])
        try await again.close()
      }
    }
  }
}

/// Counts from any thread.
private final class SharedCount: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var count = 0
  var value: Int { lock.withLock { count } }
  func add() { lock.withLock { count += 1 } }
}
