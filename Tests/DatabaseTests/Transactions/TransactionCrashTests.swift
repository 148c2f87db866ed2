import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

/// The power fails, or the process is killed, before each disk operation of a transaction: once the
/// stores are back it is there as a whole or not at all, its effect is done once if it is there and
/// never else, and nothing stays in doubt.
// Budget: 30 s
@Suite struct TransactionCrashTests {
  private enum Crash: CaseIterable {
    case kill, dropAll, keepAll, random

    func clone(_ fileSystem: SimulatedFileSystem, seed: UInt64) -> SimulatedFileSystem {
      switch self {
      case .kill: fileSystem.processKillClone()
      case .dropAll: fileSystem.crashClone(.dropAll)
      case .keepAll: fileSystem.crashClone(.keepAll)
      case .random: fileSystem.crashClone(.random, seed: seed)
      }
    }
  }

  /// What was found, over all crashes.
  private struct Tally: Sendable {
    var crashes = 0
    var committed = 0
    var undone = 0
  }

  /// Opens what a crash left, twice, and checks it.
  private static func check(
    _ fileSystem: SimulatedFileSystem, _ names: [String], _ id: TransactionID, hasEffect: Bool,
    isAcknowledged: Bool
  ) throws -> Bool {
    var fate: Bool?
    for opening in 0..<2 {
      let world = try TransactionWorld(TransferWorld(seed: UInt64(90 + opening), fileSystem))
      // What was not done at once is tried again by timers.
      var jobs = 0
      while !world.manager.inDoubt.isEmpty, jobs < 200, world.world.run(1) > 0 { jobs += 1 }
      try require(world.manager.inDoubt.isEmpty, "in doubt after opening \(opening)")
      let values = try names.map { try world.value($0) }
      let isCommitted = values.allSatisfy { $0 == "new" }
      try require(isCommitted || values.allSatisfy { $0 == "old" }, "done in part: \(values)")
      try require(isCommitted || !isAcknowledged, "acknowledged, and not there")
      try require(fate == nil || fate == isCommitted, "another fate after opening \(opening)")
      fate = isCommitted
      switch try world.manager.outcome(of: id) {
      case .committed: try require(isCommitted, "told to have committed")
      case .aborted: try require(!isCommitted, "told to be aborted")
      case let other: throw Mismatch("its outcome is \(other)")
      }
      let expected: Int64 = isCommitted && hasEffect ? 1 : 0
      while try world.count("n") != expected, jobs < 200, world.world.run(1) > 0 { jobs += 1 }
      let count = try world.count("n")
      try require(count == expected, "the effect was done \(count) times, committed: \(isCommitted)")
      if opening == 1 {
        // No lock was left behind.
        try world.commit(world.begin(Dictionary(uniqueKeysWithValues: names.map { ($0, "next") })))
        for name in names { try require(try world.value(name) == "next", "\(name) was not written") }
      }
      try world.close()
    }
    return fate!
  }

  /// Runs a transaction that makes `names` "new", and crashes before each operation of it.
  private func crash(
    seed: UInt64, _ choose: (TransactionWorld) throws -> [String], hasEffect: Bool, isSynced: Bool,
    mayWait: Bool = false, _ crashes: [Crash], _ access: StoreOptions.LogAccess = .mapped
  ) throws -> Tally {
    let world = try TransactionWorld(TransferWorld(seed: seed)) { $0.store.logAccess = access }
    let names = try choose(world)
    try world.commit(world.begin(Dictionary(uniqueKeysWithValues: names.map { ($0, "old") })))
    // The counter's keyspace has its trees, so that a count can always be read.
    let transaction = try world.begin(
      Dictionary(uniqueKeysWithValues: names.map { ($0, "new") }), counter: hasEffect ? "n" : nil)
    let id = transaction.id
    let answer = Answer<TransactionOutcome>()
    let tally = Guarded(Tally())
    let failure = Guarded<String?>(nil)
    let fileSystem = world.world.fileSystem
    fileSystem.onOperation { operation in
      guard operation.changesDisk, failure.withLock({ $0 == nil }) else { return }
      for (index, crash) in crashes.enumerated() {
        let clone = crash.clone(fileSystem, seed: seed &+ UInt64(operation.index * 8 + index))
        do {
          let isCommitted = try Self.check(
            clone, names, id, hasEffect: hasEffect, isAcknowledged: answer.value != nil)
          tally.withLock { tally in
            tally.crashes += 1
            if isCommitted { tally.committed += 1 } else { tally.undone += 1 }
          }
        } catch {
          failure.withLock { $0 = "\(crash) before \(operation): \(error)" }
        }
      }
    }
    try transaction.commit(isSynced: isSynced, mayWait: mayWait) { answer.set($0) }
    // Its rest, up to END and the close, is crashed as well.
    try world.close()
    fileSystem.onOperation(nil)
    if let failure = failure.withLock({ $0 }) { throw Mismatch(failure) }
    guard case .committed? = answer.value else { throw Mismatch("it was not acknowledged") }
    return tally.withLock { $0 }
  }

  /// Where logs are written by calls, there is a moment between any two batches.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func `of two stores, with an effect`(_ access: StoreOptions.LogAccess) throws {
    try withSeeds("DatabaseTests.TransactionCrashTests/two", count: TestSize.of(quick: 1, full: 6)) {
      seed, _ in
      let tally = try crash(
        seed: seed,
        { world in
          let (a, alsoA, b) = try world.keys()
          return [a, alsoA, b]
        }, hasEffect: true, isSynced: true, Crash.allCases, access)
      #expect(tally.committed > 8 && tally.undone > 8, "\(tally)")
    }
  }

  @Test(arguments: [false, true])
  func `of one store, at once`(mayWait: Bool) throws {
    try withSeeds("DatabaseTests.TransactionCrashTests/one", count: TestSize.of(quick: 1, full: 6)) {
      seed, _ in
      let tally = try crash(
        seed: seed,
        { world in
          let (a, alsoA, _) = try world.keys()
          return [a, alsoA]
        }, hasEffect: false, isSynced: true, mayWait: mayWait, Crash.allCases)
      #expect(tally.committed > 0 && tally.undone > 0, "\(tally)")
    }
  }

  /// What is only applied survives the process, not the machine.
  @Test func `that is not synced, by kills`() throws {
    try withSeeds("DatabaseTests.TransactionCrashTests/applied", count: TestSize.of(quick: 1, full: 6)) {
      seed, _ in
      let tally = try crash(
        seed: seed,
        { world in
          let (a, _, b) = try world.keys()
          return [a, b]
        }, hasEffect: true, isSynced: false, [.kill])
      #expect(tally.committed > 0, "\(tally)")
    }
  }
}
