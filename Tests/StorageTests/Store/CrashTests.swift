import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Power losses and kills at any file operation, also within recovery: what comes back is a prefix
/// of what was issued, holds all that was acknowledged (as synced, where the power was lost), and
/// no batch in part.
// Budget: 12 s quick, 60 s full.
@Suite struct CrashTests {
  static let options: [ModelOptions] = [
    ModelOptions("mapped"),
    ModelOptions("calls") { $0.store.logAccess = .calls },
    ModelOptions("no overwriting in place") { $0.overwritesInPlace = false },
    ModelOptions("little log, jobs in any order") {
      $0.store.logLimitBytes = 32 << 10
      $0.laneSeed = 3
    },
  ]

  /// A short series of writes, crashed before every file operation there is, in each way.
  @Test(arguments: options.indices)
  func `every operation`(_ index: Int) throws {
    let name = "StorageTests.CrashTests"
    try withSeeds(name + "/every\(index)", count: TestSize.of(quick: 1, full: 2)) { seed, random in
      let plan = CrashPlan(&random, operationCount: 80)
      let crasher = Crasher(plan, Self.options[index], seed: seed) { _, random in
        TestSize.isFull || random.below(8) == 0
      }
      try crasher.run()
    }
  }

  /// Longer series, crashed here and there, before every sync among others.
  @Test func random() throws {
    try withSeeds("StorageTests.CrashTests/random", count: TestSize.of(quick: 4, full: 25)) {
      seed, random in
      let plan = CrashPlan(&random, operationCount: 100 + random.below(400))
      let options =
        random.below(2) == 0 ? Self.options[random.below(Self.options.count)] : .drawn(&random)
      let crasher = Crasher(plan, options, seed: seed) { operation, random in
        switch operation.kind {
        case .sync, .syncDirectory, .rename: random.below(8) == 0
        default: random.below(60) == 0
        }
      }
      try crasher.run()
    }
  }
}

/// Runs a plan and, before the operations that it chooses, lets copies of the disk crash and
/// recover.
final class Crasher: @unchecked Sendable {
  private let driver: CrashDriver
  private let chooses: (Operation, inout SplitMix64) -> Bool
  private var random: SplitMix64
  private var failure: (any Error)?
  private(set) var crashes = 0

  init(
    _ plan: CrashPlan, _ options: ModelOptions, seed: UInt64,
    chooses: @escaping (Operation, inout SplitMix64) -> Bool
  ) {
    driver = CrashDriver(plan, options, CrashDriver.world(options, seed: seed), CrashLedger())
    self.chooses = chooses
    random = SplitMix64(seed: seed ^ 0xC4A5)
  }

  func run() throws {
    let fileSystem = driver.world.fileSystem
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      guard failure == nil, operation.changesDisk, chooses(operation, &random) else { return }
      do { try crash(fileSystem) } catch {
        failure = Mismatch(
          "\(driver.options), step \(driver.step), crash before \(operation): \(error)")
        fileSystem.powerOff()
      }
    }
    do {
      try driver.open(after: .process)
      try driver.createTrees()
      try driver.run()
      try driver.close(cleanly: true)
    } catch { if failure == nil { failure = error } }
    fileSystem.onOperation(nil)
    if let failure { throw failure }
    if let first = driver.errors.first { throw Mismatch("a call failed without cause: \(first)") }
  }

  private func crash(_ fileSystem: SimulatedFileSystem) throws {
    crashes += 1
    let ledger = driver.ledger
    for policy in [CrashPolicy.dropAll, .keepAll, .random, .random] {
      let seed = random.next()
      do {
        try recover(fileSystem.crashClone(policy, seed: seed), ledger, .power, depth: 0)
      } catch { throw Mismatch("power lost, \(policy): \(error)") }
    }
    do { try recover(fileSystem.processKillClone(), ledger, .process, depth: 0) } catch {
      throw Mismatch("killed: \(error)")
    }
  }

  /// Opens what is left, checks it, and goes on for a while. May crash again while it is
  /// recovering.
  private func recover(
    _ fileSystem: SimulatedFileSystem, _ ledger: CrashLedger, _ loss: CrashLedger.Loss, depth: Int
  ) throws {
    let world = SimulatedEnvironment(
      seed: random.next(), fileSystem: fileSystem, laneSeed: driver.options.laneSeed)
    let next = CrashDriver(driver.plan, driver.options, world, ledger)
    if depth < 2, random.below(6) == 0 {
      try crashAgain(fileSystem, next, ledger, loss, depth: depth)
    }
    do { try next.open(after: loss) } catch {
      if let failure { throw failure }
      throw error
    }
    fileSystem.onOperation(nil)
    if let failure { throw failure }
    // Recovery builds on nothing that is not on disk: whatever it shows must stay.
    try reopen(fileSystem.crashClone(.dropAll), next.ledger, "power lost right after recovery")
    guard random.below(8) == 0 else { return try next.close(cleanly: false) }
    for _ in 0..<random.below(30) {
      try next.perform(driver.plan.operations[random.below(driver.plan.operations.count)])
    }
    if let error = next.errors.first { throw Mismatch("after recovery a call failed: \(error)") }
    let seed = random.next()
    let after = next.ledger
    try reopen(fileSystem.crashClone(.random, seed: seed), after, "power lost after going on")
    try next.checkStore()
    try next.close(cleanly: true)
    try reopen(fileSystem.crashClone(.dropAll), next.ledger, "closed")
  }

  private func reopen(
    _ fileSystem: SimulatedFileSystem, _ ledger: CrashLedger, _ what: String
  ) throws {
    let world = SimulatedEnvironment(seed: random.next(), fileSystem: fileSystem)
    let next = CrashDriver(driver.plan, driver.options, world, ledger)
    do {
      try next.open(after: .power)
      try next.close(cleanly: false)
    } catch { throw Mismatch("\(what): \(error)") }
  }

  /// Sets a crash within the recovery that comes.
  private func crashAgain(
    _ fileSystem: SimulatedFileSystem, _ next: CrashDriver, _ ledger: CrashLedger,
    _ loss: CrashLedger.Loss, depth: Int
  ) throws {
    let when = random.below(60)
    let start = fileSystem.counts.operations
    let seed = random.next()
    let policy = [CrashPolicy.dropAll, .random, .random, .keepAll][random.below(4)]
    let isKill = loss == .process && random.below(2) == 0
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      guard failure == nil, operation.index == start + when else { return }
      fileSystem.onOperation(nil)
      do {
        try recover(
          isKill ? fileSystem.processKillClone() : fileSystem.crashClone(policy, seed: seed),
          ledger, isKill ? .process : .power, depth: depth + 1)
      } catch { failure = Mismatch("crashed again before \(operation) of its recovery: \(error)") }
    }
  }
}
