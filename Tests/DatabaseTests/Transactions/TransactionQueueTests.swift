import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// Many transactions that wait for one key, and get it one after the other on one thread: the commit of each
/// lets the next one go on. Were each handled within the one before, a thread's stack would end.
// Budget: 3 s
@Suite struct TransactionQueueTests {
  /// With the store in order, and with one that writes nothing more.
  @Test(arguments: [false, true])
  func `thousands that wait for one key go on one after the other`(isBroken: Bool) throws {
    let bank = try MovingBank(TransferWorld(seed: 31), stores: [0])
    let key = bank.account(0)
    let holder = try TransactionCore(bank.manager)
    #expect(try bank.read(key, in: holder) == 100)
    let count = 3_000
    var answers: [Answer<TransactionOutcome>] = []
    for number in 0..<count {
      let transaction = try TransactionCore(bank.manager)
      try transaction.write(bank.reference(key), bank.text(number))
      let answer = Answer<TransactionOutcome>()
      try transaction.commit(isSynced: false) { answer.set($0) }
      answers.append(answer)
    }
    #expect(answers.allSatisfy { $0.value == nil })
    if isBroken {
      bank.world.fileSystem.onOperation { operation throws(FileSystemError) in
        guard operation.kind == .write || operation.kind == .sync || operation.kind == .map else { return }
        throw FileSystemError(.io, operation: "\(operation.kind)", path: operation.path.string)
      }
      #expect(throws: DatabaseError.self) { try bank.core.presentMembers[0].writeSystem("x", [1]) }
    }
    holder.abort()
    var steps = 0
    while steps < 1_000, answers.contains(where: { $0.value == nil }), bank.pump() { steps += 1 }
    let committed = answers.count { if case .committed? = $0.value { true } else { false } }
    #expect(answers.allSatisfy { $0.value != nil } && committed == (isBroken ? 0 : count))
    bank.world.fileSystem.onOperation(nil)
    try? bank.close()
  }
}
