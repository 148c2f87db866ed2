import Foundation
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Questions about what became of transactions, where workers have threads.
// Budget: 5 s
@Suite struct OutcomeThreadTests {
  private static func open(_ folder: TemporaryDirectory) throws -> DatabaseCore {
    try DatabaseOpening.open([folder.appending("disk").string], Databases.options(), .posix())
  }

  /// Looking it up may wait for a disk. A coordinator that has nothing else to do handles its events on the
  /// thread that brings them, and others' events wait behind them.
  @Test func `an answer is looked up on a thread for questions`() throws {
    let folder = try TemporaryDirectory()
    let core = try Self.open(folder)
    let manager = try TransactionManager(core)
    let id = try manager.begin(age: nil)
    manager.abort(id, .requested)
    let asker = ThreadStripe.currentThread
    let (answers, told) = (Guarded<[Bool]>([]), DispatchSemaphore(value: 0))
    manager.outcome(of: id) { result in
      var isAborted = false
      if case .success(.aborted) = result { isAborted = true }
      let isElsewhere = ThreadStripe.currentThread != asker
      answers.withLock { $0.append(isAborted && isElsewhere) }
      told.signal()
    }
    manager.standing(of: id) { _ in
      let isElsewhere = ThreadStripe.currentThread != asker
      answers.withLock { $0.append(isElsewhere) }
      told.signal()
    }
    for _ in 0..<2 { try #require(told.wait(timeout: .now() + 300) == .success, "never answered") }
    #expect(answers.withLock { $0 } == [true, true])
    try manager.close()
    try core.close()
  }

  @Test func `whoever asks while the transactions are closed is answered once`() throws {
    let folder = try TemporaryDirectory()
    for round in 0..<TestSize.of(quick: 10, full: 100) {
      let core = try Self.open(folder)
      let manager = try TransactionManager(core)
      let id = try manager.begin(age: nil)
      let count = 500
      let answers = Guarded<[Int: Int]>([:])
      let (begun, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
      Thread {
        for number in 0..<count {
          if number == 20 { begun.signal() }
          manager.outcome(of: id) { _ in answers.withLock { $0[number, default: 0] += 1 } }
        }
        ended.signal()
      }.start()
      try #require(begun.wait(timeout: .now() + 300) == .success)
      try manager.close()
      try #require(ended.wait(timeout: .now() + 300) == .success)
      // Answered, or refused as it was closed: nothing is left to answer later.
      let found = answers.withLock { $0 }
      #expect(found.count == count && found.values.allSatisfy { $0 == 1 }, "round \(round)")
      manager.outcome(of: id) { result in
        if case .failure(let error) = result, error.code == .closed { answers.withLock { $0[-1] = 1 } }
      }
      #expect(answers.withLock { $0[-1] } == 1)
      try core.close()
    }
  }
}
