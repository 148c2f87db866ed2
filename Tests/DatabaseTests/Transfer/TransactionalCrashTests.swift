import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A bank whose stores join, leave and are weighed anew while it transfers; also with the power lost or the
/// process killed before any file operation. The total always holds, now and at earlier times; transfers that
/// were acknowledged are there (as synced, where the power was lost), each with its effect, once, and their
/// outcomes are told; and what moves goes on until each partition is with its owner and nowhere else.
// Budget: 30 s quick, 120 s full.
@Suite struct TransactionalCrashTests {
  @Test(arguments: [1, 2])
  func `the model of a bank`(replicas: Int) throws {
    let name = "DatabaseTests.TransactionalCrashTests/model\(replicas)"
    try withSeeds(name, count: TestSize.of(quick: 4, full: 40)) { seed, random in
      let bank = try MovingBank(TransferWorld(seed: seed), stores: [0, 1, 2], replicas: replicas)
      for step in 0..<1_000 {
        do {
          try bank.step(&random)
          if random.below(300) == 0 { try bank.reopen() }
        } catch { throw Mismatch("step \(step), seed \(seed): \(error)") }
      }
      try bank.finish()
      try bank.close()
      #expect(bank.met.commits > 50)
    }
  }

  /// One store joins and one leaves, with a crash before each file operation that changes the disk.
  @Test(arguments: [1, 2])
  func `a crash before every operation of a bank`(replicas: Int) throws {
    let name = "DatabaseTests.TransactionalCrashTests/every\(replicas)"
    try withSeeds(name, count: TestSize.of(quick: 1, full: 3)) { seed, random in
      let bank = try MovingBank(TransferWorld(seed: seed), stores: [0, 1, 2], replicas: replicas)
      let steps = 40
      for _ in 0..<steps { try bank.step(&random) }
      let joining = (0..<8).first { !bank.stores.contains($0) }!
      let crasher = crasher(bank, seed) { random in random.below(TestSize.of(quick: 40, full: 8)) == 0 }
      try crasher.run {
        try bank.addStore(joining)
        for _ in 0..<steps { try bank.step(&random) }
        let first = bank.core.ringSnapshot.ring.staying[0].id
        if bank.core.ringSnapshot.ring.staying.count > replicas + 1 { try bank.core.removeStore(first) }
        for _ in 0..<steps { try bank.step(&random) }
        try bank.finish()
      }
      #expect(crasher.crashes > 10)
      try bank.close()
    }
  }

  /// Of the last partition of the store whose coordinator decides: what it has on record goes elsewhere.
  @Test func `a crash before every operation while the coordinator's store leaves`() throws {
    let name = "DatabaseTests.TransactionalCrashTests/leaves"
    try withSeeds(name, count: TestSize.of(quick: 1, full: 3)) { seed, random in
      let bank = try MovingBank(TransferWorld(seed: seed), stores: [0, 1, 2])
      for _ in 0..<40 { try bank.transfer(&random) }
      let core = bank.core
      let crasher = crasher(bank, seed) { random in
        core.transfers.withRecord { $0.moves.count } <= 1
          && random.below(TestSize.of(quick: 4, full: 1)) == 0
      }
      let home = core.presentMembers.map(\.id).min()!
      try crasher.run {
        try core.removeStore(home)
        for _ in 0..<10 { try bank.transfer(&random) }
        try bank.finish()
      }
      #expect(crasher.crashes > 3 && core.presentMembers.count == 2)
      for _ in 0..<10 { try bank.transfer(&random) }
      try bank.finish()
      try bank.reopen()
      try bank.close()
    }
  }

  private func crasher(
    _ bank: MovingBank, _ seed: UInt64, _ chooses: @escaping (inout SplitMix64) -> Bool
  ) -> RebalanceCrasher {
    RebalanceCrasher(bank.world.fileSystem, seed: seed, chooses: chooses) { clone, loss, random in
      let next = try MovingBank(TransferWorld(seed: random.next(), clone), after: bank, loss)
      for _ in 0..<random.below(20) { try next.step(&random) }
      try next.finish()
      try next.close()
    }
  }
}
