import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// A file operation that fails: the call says so or it does not matter, reads stay right, and
/// nothing that was acknowledged is lost.
// Budget: 10 s quick, 60 s full.
@Suite struct StoreFaultTests {
  struct Fault: Sendable, CustomStringConvertible {
    var kind: Operation.Kind
    var action: FaultRule.Action
    /// What a call that it strikes may say.
    var codes: Set<StoreError.Code>
    var description: String { "\(kind) \(action)" }
  }

  static let faults: [Fault] = {
    var faults: [Fault] = []
    let full: Set<StoreError.Code> = [.diskFull, .outcomeUnknown, .readOnly]
    let broken: Set<StoreError.Code> = [.io, .outcomeUnknown, .readOnly]
    for kind in [Operation.Kind.write, .open, .allocate, .rename, .syncDirectory] {
      faults.append(Fault(kind: kind, action: .fail(.noSpace), codes: full))
    }
    for kind in [
      Operation.Kind.write, .sync, .syncDirectory, .read, .rename, .remove, .open, .allocate, .map,
      .size,
    ] {
      faults.append(Fault(kind: kind, action: .fail(.io), codes: broken))
    }
    faults.append(Fault(kind: .sync, action: .fail(.noSpace), codes: full))
    faults.append(Fault(kind: .write, action: .shortWrite(1, .noSpace), codes: full))
    faults.append(Fault(kind: .write, action: .shortWrite(700, .io), codes: broken))
    faults.append(
      Fault(kind: .open, action: .fail(.tooManyFiles), codes: broken.union([.tooManyFiles])))
    return faults
  }()

  /// The n-th operation of a kind fails, for every n that a short series of writes has; once, or
  /// from then on.
  @Test(arguments: faults)
  func `each operation fails`(_ fault: Fault) throws {
    try withSeeds("StorageTests.StoreFaultTests/\(fault)", count: 1) {
      seed, random in
      let plan = CrashPlan(&random, operationCount: 60)
      for options in CrashTests.options.prefix(2) {
        var occurrence = 1 + (TestSize.isFull ? 0 : random.below(10))
        while true {
          let repeats = random.below(3) == 0
          let rule = FaultRule([fault.kind], occurrence: occurrence, repeats: repeats, fault.action)
          let run = FaultRun(plan, options, seed: seed)
          do { try run.run(rule, codes: fault.codes) } catch {
            throw Mismatch("\(options), occurrence \(occurrence), repeats \(repeats): \(error)")
          }
          if !run.struck { break }
          occurrence += TestSize.isFull ? 1 : 1 + random.below(20)
        }
      }
    }
  }

  /// A disk that is full: writes are refused, reads go on, and with space given back the store goes
  /// on by itself.
  @Test(arguments: [0, 1])
  func `the disk is full for a while`(_ index: Int) throws {
    try withSeeds(
      "StorageTests.StoreFaultTests/full\(index)", count: TestSize.of(quick: 5, full: 40)
    ) { seed, random in
      let plan = CrashPlan(&random, operationCount: 300, reopens: false)
      let options = CrashTests.options[index]
      let world = CrashDriver.world(options, seed: seed)
      let driver = CrashDriver(plan, options, world, CrashLedger())
      try driver.open(after: .process)
      try driver.createTrees()
      for operation in plan.operations.prefix(random.below(100)) { try driver.perform(operation) }
      world.fileSystem.capacity = world.fileSystem.usedByteCount + Int64(random.below(60_000))
      for operation in plan.operations { try driver.perform(operation) }
      let met = driver.errors
      for error in met {
        try require([.diskFull, .outcomeUnknown, .readOnly].contains(error.code), "met \(error)")
      }
      if let error = try driver.compareAcknowledged() { throw error }
      try driver.checkCrash(.power, "full")
      world.fileSystem.capacity = nil
      // A refused write may be what tells the store to try again.
      try driver.perform(.flush(tree: nil))
      let before = driver.errors.count
      let isPoisoned = met.contains { $0.code == .outcomeUnknown || $0.code == .readOnly }
      if isPoisoned { try driver.perform(.reopen(clean: false)) }
      for operation in plan.operations { try driver.perform(operation) }
      let after = driver.errors.dropFirst(before)
      try require(after.isEmpty, "with space again: \(after.count) errors, \(after.first!)")
      if let error = try driver.compareAcknowledged() { throw error }
      try driver.checkCrash(.power, "space again")
      try driver.close(cleanly: true)
    }
  }

  /// A flipped bit in any file of a closed store: an error, or the right answer.
  @Test func `damaged files`() throws {
    try withSeeds("StorageTests.StoreFaultTests/damage", count: TestSize.of(quick: 3, full: 20)) {
      seed, random in
      let plan = CrashPlan(&random, operationCount: 150)
      let options = CrashTests.options[random.below(2)]
      let world = CrashDriver.world(options, seed: seed)
      let driver = CrashDriver(plan, options, world, CrashLedger())
      try driver.open(after: .process)
      try driver.createTrees()
      try driver.run()
      try driver.close(cleanly: true)
      var noticed = 0
      for _ in 0..<200 {
        let copy = world.fileSystem.processKillClone()
        let names = try copy.entries(of: FilePath(CrashDriver.path)).filter { $0 != FileNames.lock }
        let path = FilePath(CrashDriver.path).appending(names[random.below(names.count)])
        var bytes = try copy.readWhole(path)
        guard let last = bytes.lastIndex(where: { $0 != 0 }) else { continue }
        let at = random.below(last + 1)
        bytes[at] ^= 1 << UInt8(random.below(8))
        try copy.writeWhole(path, bytes, synced: true)
        let next = CrashDriver(
          plan, options, SimulatedEnvironment(seed: seed, fileSystem: copy), driver.ledger)
        do {
          try next.open(after: .power)
          try next.close(cleanly: false)
        } catch let error as StoreError {
          noticed += 1
          try require(
            [.corruption, .newerFormat, .missingFile, .notAStore].contains(error.code)
              && error.file != nil,
            "byte \(at) of \(path) flipped: \(error)")
        } catch { throw Mismatch("byte \(at) of \(path) flipped: \(error)") }
      }
      try require(noticed > 100, "only \(noticed) of 200 flips were noticed")
    }
  }
}

extension CrashDriver {
  /// Holds a copy of the disk, as a loss now may leave it, against the ledger.
  func checkCrash(_ loss: CrashLedger.Loss, _ what: String) throws {
    let clones =
      loss == .process
      ? [world.fileSystem.processKillClone()]
      : [world.fileSystem.crashClone(.dropAll), world.fileSystem.crashClone(.random, seed: 5)]
    for clone in clones {
      clone.capacity = nil
      let next = CrashDriver(
        plan, options, SimulatedEnvironment(seed: 6, fileSystem: clone), ledger)
      do {
        try next.open(after: loss)
        let after = SimulatedEnvironment(seed: 7, fileSystem: clone.crashClone(.dropAll))
        try CrashDriver(plan, options, after, next.ledger).open(after: .power)
      } catch { throw Mismatch("\(what), after loss of \(loss): \(error)") }
    }
  }
}

/// One run of a plan in which something fails.
final class FaultRun {
  private let driver: CrashDriver
  private(set) var struck = false

  init(_ plan: CrashPlan, _ options: ModelOptions, seed: UInt64) {
    driver = CrashDriver(plan, options, CrashDriver.world(options, seed: seed), CrashLedger())
  }

  func run(_ rule: FaultRule, codes: Set<StoreError.Code>) throws {
    let fileSystem = driver.world.fileSystem
    fileSystem.inject(rule)
    do {
      try driver.open(after: .process)
      try driver.createTrees()
    } catch let error as StoreError { try check([error], codes) }
    for operation in driver.plan.operations {
      try driver.perform(operation)
      // What was refused is not seen, what was acknowledged is.
      if driver.step % 8 == 0, let error = try driver.compareAcknowledged() {
        try check([error], codes)
      }
    }
    var jobs = 0
    while driver.world.workers?.runOneHere() == true {
      jobs += 1
      try require(jobs < 1000, "background work never comes to rest")
    }
    struck = fileSystem.counts.faults > 0
    try check(driver.errors, codes)
    fileSystem.clearFaults()
    try driver.checkCrash(.process, "at the end")
    try driver.checkCrash(.power, "at the end")
    do { try driver.close(cleanly: true) } catch let error as StoreError {
      try check([error], codes.union([.io, .diskFull]))
    }
    try driver.checkCrash(.process, "closed")
    try driver.checkCrash(.power, "closed")
    try driver.open(after: .process)
    if let error = try driver.compareAcknowledged() { throw error }
    try driver.checkStore()
    try driver.close(cleanly: true)
  }

  private func check(_ errors: [StoreError], _ codes: Set<StoreError.Code>) throws {
    for error in errors {
      try require(codes.contains(error.code), "a call said: \(error)")
      try require(error.message.count > 10, "an error without a message: \(error)")
    }
  }
}
