import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// A disk that fails or is full under transactions: each is answered, clearly, and by what is there once
/// the stores were opened again. Committed is all there, aborted is not, unknown is one of the two, and
/// nothing is done in part or in doubt.
// Budget: 10 s quick, 60 s full.
@Suite struct TransactionFaultTests {
  struct Fault: Sendable, CustomStringConvertible {
    var kind: Operation.Kind
    var action: FaultRule.Action
    var description: String { "\(kind) \(action)" }
  }

  static let faults: [Fault] = [
    Fault(kind: .sync, action: .fail(.io)), Fault(kind: .write, action: .fail(.noSpace)),
    Fault(kind: .write, action: .fail(.io)), Fault(kind: .write, action: .shortWrite(9, .noSpace)),
    Fault(kind: .syncDirectory, action: .fail(.io)), Fault(kind: .open, action: .fail(.noSpace)),
    Fault(kind: .allocate, action: .fail(.noSpace)),
  ]

  /// The n-th operation of a kind fails, for every n that there is; once, or from then on.
  @Test(arguments: faults) func `each operation fails`(_ fault: Fault) throws {
    try withSeeds("DatabaseTests.TransactionFaultTests/\(fault)", count: 1) { seed, random in
      var occurrence = 1 + (TestSize.isFull ? 0 : random.below(6))
      var answers = FaultyRun.Answers()
      while true {
        var struck = false
        for repeats in TestSize.isFull ? [false, true] : [random.below(2) == 0] {
          for access in [StoreOptions.LogAccess.calls, .mapped] {
            let run = try FaultyRun(seed: seed, access)
            let rule = FaultRule([fault.kind], occurrence: occurrence, repeats: repeats, fault.action)
            run.fileSystem.inject(rule)
            do { try run.run() } catch {
              throw Mismatch("occurrence \(occurrence), repeats \(repeats), \(access): \(error)")
            }
            answers.add(run.answers)
            struck = struck || run.wasStruck
          }
        }
        if !struck { break }
        occurrence += TestSize.isFull ? 1 : 1 + random.below(8)
      }
      // Where nothing commits any more, or all does, little is tested.
      #expect(answers.committed > 0, "\(answers)")
      if fault.kind == .sync || fault.kind == .write { #expect(answers.unknown > 0, "\(answers)") }
    }
  }

  @Test func `the disk is full`() throws {
    let name = "DatabaseTests.TransactionFaultTests/full"
    try withSeeds(name, count: TestSize.of(quick: 12, full: 200)) { seed, random in
      let run = try FaultyRun(seed: seed, random.below(2) == 0 ? .calls : .mapped)
      run.fileSystem.capacity = run.fileSystem.usedByteCount + Int64(random.below(80_000))
      run.valueBytes = 2_000
      try run.run(count: 60)
      #expect(run.answers.committed < 60, "\(run.answers)")
    }
  }
}

/// Some transactions in a world where something fails, and what they were answered.
final class FaultyRun {
  struct Answers: CustomStringConvertible {
    var committed = 0
    var aborted = 0
    var unknown = 0
    /// Not even begun.
    var refused = 0

    mutating func add(_ other: Answers) {
      committed += other.committed
      aborted += other.aborted
      unknown += other.unknown
      refused += other.refused
    }

    var description: String {
      "\(committed) committed, \(aborted) aborted, \(unknown) unknown, \(refused) refused"
    }
  }

  private struct Asked {
    var id: TransactionID
    var names: [String]
    var counter: String?
    var outcome: TransactionOutcome?
  }

  private let world: TransactionWorld
  private let access: StoreOptions.LogAccess
  /// Keys of the one store and of the other.
  private let names: ([String], [String])
  private var asked: [Asked] = []
  private(set) var answers = Answers()
  private(set) var wasStruck = false
  var valueBytes = 3

  init(seed: UInt64, _ access: StoreOptions.LogAccess) throws {
    self.access = access
    world = try TransactionWorld(TransferWorld(seed: seed)) { $0.store.logAccess = access }
    let all = (0..<400).map { "account\($0)" }
    let first = try world.owner(all[0])
    names = (
      try all.filter { [world] in try world.owner($0) === first },
      try all.filter { [world] in try world.owner($0) !== first }
    )
    try world.commit(try world.begin([names.0[0]: "begun", names.1[0]: "begun"], counter: "begun"))
  }

  var fileSystem: SimulatedFileSystem { world.world.fileSystem }

  func run(count: Int = 6) throws {
    for number in 1...count { try ask(number) }
    wasStruck = fileSystem.counts.faults > 0
    // As a kill, a power loss and a close leave it.
    let images = [
      fileSystem.processKillClone(), fileSystem.crashClone(.dropAll),
      fileSystem.crashClone(.random, seed: 3),
    ]
    try? world.close()
    for (number, image) in (images + [fileSystem.processKillClone()]).enumerated() {
      image.clearFaults()
      image.capacity = nil
      do { try check(image) } catch { throw Mismatch("image \(number): \(error)") }
    }
  }

  /// In turn: two stores and an effect, one store, the other store, two stores.
  private func ask(_ number: Int) throws {
    let (a, b) = (names.0[number], names.1[number])
    let keys = [[a, b], [a, names.0[number + 60]], [b], [a, b]][number % 4]
    let counter = number % 4 == 0 ? "n\(number)" : nil
    let value = String(repeating: "v", count: valueBytes)
    let transaction: TransactionCore
    do {
      transaction = try world.begin(
        Dictionary(uniqueKeysWithValues: keys.map { ($0, value) }), counter: counter)
    } catch let error as DatabaseError {
      try require([.storage, .indeterminate].contains(error.code), "begin threw \(error)")
      try require(error.message.count > 20, "begin threw \(error)")
      answers.refused += 1
      return
    }
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: true) { answer.set($0) }
    // What nobody answers ends at its deadline.
    var jobs = 0
    while answer.value == nil, jobs < 2_000, world.world.run(1) > 0 { jobs += 1 }
    try require(answer.count == 1, "transaction \(number) was answered \(answer.count) times")
    switch answer.value! {
    case .committed: answers.committed += 1
    case .unknown(let id):
      try require(id == transaction.id, "unknown is \(id)")
      answers.unknown += 1
    case .aborted(let reason):
      answers.aborted += 1
      switch reason {
      case .failed(let text):
        try require(text.contains("/data/s"), "aborted, and does not say where: \(text)")
      case .deadline, .expired, .interrupted, .conflict: break
      default: throw Mismatch("aborted: \(reason)")
      }
    }
    asked.append(Asked(id: transaction.id, names: keys, counter: counter, outcome: answer.value))
  }

  // MARK: - What is there

  private func check(_ fileSystem: SimulatedFileSystem) throws {
    let world = try TransactionWorld(TransferWorld(seed: 77, fileSystem)) { [access] in
      $0.store.logAccess = access
    }
    var jobs = 0
    func wait(_ isDone: () throws -> Bool) throws {
      while try !isDone(), jobs < 2_000, world.world.run(1) > 0 { jobs += 1 }
    }
    try wait { world.manager.inDoubt.isEmpty }
    try require(world.manager.inDoubt.isEmpty, "in doubt: \(world.manager.inDoubt.map(\.doubt))")
    for asked in asked {
      let found = try asked.names.map { try world.value($0) != nil }
      let isCommitted = found[0]
      try require(found.allSatisfy { $0 == isCommitted }, "\(asked) is there in part: \(found)")
      switch asked.outcome {
      case .committed: try require(isCommitted, "\(asked) was acknowledged, and is not there")
      case .aborted: try require(!isCommitted, "\(asked) was aborted, and is there")
      case .unknown, nil: break
      }
      switch try world.manager.outcome(of: asked.id) {
      case .committed: try require(isCommitted, "\(asked) is told to have committed")
      case .aborted: try require(!isCommitted, "\(asked) is told to be aborted")
      case let other: throw Mismatch("the outcome of \(asked) is \(other)")
      }
      guard let counter = asked.counter else { continue }
      let expected: Int64 = isCommitted ? 1 : 0
      try wait { try world.count(counter) == expected }
      let count = try world.count(counter)
      try require(count == expected, "the effect of \(asked) was done \(count) times")
    }
    // No lock was left behind, and all goes on.
    let last = asked.flatMap(\.names)
    try world.commit(world.begin(Dictionary(last.map { ($0, "last") }, uniquingKeysWith: { $1 })))
    for name in last { try require(try world.value(name) == "last", "\(name) was not written") }
    try world.close()
  }
}
