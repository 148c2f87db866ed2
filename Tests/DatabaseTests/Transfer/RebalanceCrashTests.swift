import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Stores join, leave and are weighed anew at random while keys are written, read and counted; also
/// with the power lost or the process killed before any file operation. What comes back holds all
/// that was acknowledged (as synced, where the power was lost), counts exactly, and goes on until
/// each key is on its owners and nowhere else.
// Budget: 20 s quick, 90 s full.
@Suite struct RebalanceCrashTests {
  @Test(arguments: [1, 2])
  func `the model`(replicas: Int) throws {
    let name = "DatabaseTests.RebalanceCrashTests/model\(replicas)"
    try withSeeds(name, count: TestSize.of(quick: 6, full: 60)) { seed, random in
      let driver = try RebalanceDriver(
        TransferWorld(seed: seed), stores: [0, 1, 2], replicas: replicas)
      for step in 0..<1_200 {
        do {
          try driver.step(&random)
          if random.below(300) == 0 { try driver.reopen() }
        } catch { throw Mismatch("step \(step), seed \(seed): \(error)") }
      }
      try driver.finish()
      try driver.core.close()
    }
  }

  /// One store joins and one leaves, with a crash before each file operation that changes the disk.
  @Test(arguments: [1, 2])
  func `a crash before every operation`(replicas: Int) throws {
    let name = "DatabaseTests.RebalanceCrashTests/every\(replicas)"
    try withSeeds(name, count: TestSize.of(quick: 1, full: 3)) { seed, random in
      let world = TransferWorld(seed: seed)
      let driver = try RebalanceDriver(world, stores: [0, 1, 2], replicas: replicas)
      let steps = 60
      for _ in 0..<steps { try driver.step(&random) }
      let crasher = RebalanceCrasher(driver, seed: seed) { random in
        random.below(TestSize.of(quick: 24, full: 4)) == 0
      }
      try crasher.run {
        try driver.addStore(3)
        for _ in 0..<steps { try driver.step(&random) }
        try driver.removeStore(0)
        for _ in 0..<steps { try driver.step(&random) }
        try driver.finish()
      }
      #expect(crasher.crashes > 10)
      try driver.core.close()
    }
  }

  /// However far the last move of a leaving store had come: the database opens with it or without it.
  @Test func `a crash while a store leaves leaves a database that opens`() throws {
    let driver = try RebalanceDriver(TransferWorld(seed: 12), stores: [0, 1, 2], replicas: 1)
    for number in 0..<20 { try driver.put("key\(number)", "v\(number)") }
    let core = driver.core
    let crasher = RebalanceCrasher(driver, seed: 12) { _ in
      core.transfers.withRecord { $0.moves.count } == 1
    }
    crasher.afterwards = { clone, loss, _ in
      let next = try RebalanceDriver(TransferWorld(seed: 13, clone), after: driver, loss)
      try next.finish()
      try next.core.close()
    }
    try driver.finish()
    try crasher.run {
      try driver.removeStore(0)
      try driver.finish()
    }
    #expect(crasher.crashes > 5)
    try driver.core.close()
  }

  /// However far adding a store had come: either it is a member, or adding it again makes it one.
  @Test func `a crash while a store is added leaves a database that opens`() throws {
    let world = TransferWorld(seed: 11)
    let driver = try RebalanceDriver(world, stores: [0, 1], replicas: 1)
    var random = SplitMix64(seed: 11)
    for _ in 0..<80 { try driver.step(&random) }
    let stores = driver.stores
    let joining = (0..<8).first { !stores.contains($0) }!
    var without = 0
    var with = 0
    let crasher = RebalanceCrasher(driver, seed: 11) { _ in true }
    crasher.afterwards = { clone, loss, _ in
      // With it or without it: one of the two opens, and says why the other does not.
      let isMember: Bool
      do {
        let other = TransferWorld(seed: 3, clone.processKillClone())
        _ = try other.open(stores, partitions: 8)
        isMember = false
        without += 1
      } catch let error as DatabaseError {
        try require(error.code == .missingStore, "\(error)")
        isMember = true
        with += 1
      }
      let world = TransferWorld(seed: 4, clone.processKillClone())
      let error = databaseError { _ = try world.open(stores + [joining], partitions: 8) }
      if isMember { return try require(error == nil, "\(String(describing: error))") }
      try require(error?.code == .notAMember, "\(String(describing: error))")
      let again = TransferWorld(seed: 5, clone)
      let next = try RebalanceDriver(again, after: driver, loss)
      try next.addStore(joining)
      try next.finish()
      try next.core.close()
    }
    try crasher.run { try driver.addStore(joining) }
    #expect(with > 0 && without > 0)
    try driver.finish()
    try driver.core.close()
  }
}

/// Lets copies of the disk crash before operations, and has what is left looked at.
final class RebalanceCrasher: @unchecked Sendable {
  typealias Recover = (SimulatedFileSystem, RebalanceLedger.Loss, inout SplitMix64) throws -> Void

  private let fileSystem: SimulatedFileSystem
  private let chooses: (inout SplitMix64) -> Bool
  private var random: SplitMix64
  private var failure: (any Error)?
  private(set) var crashes = 0
  /// What to do with what a crash left.
  var afterwards: Recover

  init(
    _ fileSystem: SimulatedFileSystem, seed: UInt64, chooses: @escaping (inout SplitMix64) -> Bool,
    afterwards: @escaping Recover
  ) {
    self.fileSystem = fileSystem
    self.chooses = chooses
    random = SplitMix64(seed: seed ^ 0xC4A5)
    self.afterwards = afterwards
  }

  /// Opens what is left, checks it, and carries its moves to their end.
  convenience init(
    _ driver: RebalanceDriver, seed: UInt64, chooses: @escaping (inout SplitMix64) -> Bool
  ) {
    self.init(driver.world.fileSystem, seed: seed, chooses: chooses) { clone, loss, random in
      let next = try RebalanceDriver(
        TransferWorld(seed: random.next(), clone), after: driver, loss)
      for _ in 0..<random.below(30) { try next.step(&random) }
      try next.finish()
      try next.core.close()
    }
  }

  func run(_ body: () throws -> Void) throws {
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      guard failure == nil, operation.changesDisk, chooses(&random) else { return }
      do { try crash(fileSystem) } catch {
        failure = Mismatch("crash before \(operation): \(error)")
        fileSystem.powerOff()
      }
    }
    do { try body() } catch { if failure == nil { failure = error } }
    fileSystem.onOperation(nil)
    if let failure { throw failure }
  }

  private func crash(_ fileSystem: SimulatedFileSystem) throws {
    crashes += 1
    for policy in [CrashPolicy.dropAll, .random] {
      let seed = random.next()
      do { try afterwards(fileSystem.crashClone(policy, seed: seed), .power, &random) } catch {
        throw Mismatch("power lost, \(policy), seed \(seed): \(error)")
      }
    }
    do { try afterwards(fileSystem.processKillClone(), .process, &random) } catch {
      throw Mismatch("killed: \(error)")
    }
  }
}
