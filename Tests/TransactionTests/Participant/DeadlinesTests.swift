import TestSupport
import Testing

@testable import RoostTransactions

/// One time a key, against a dictionary.
// Budget: 1 s
@Suite struct DeadlinesTests {
  @Test func `the earliest is known, and each key comes when its time has`() throws {
    try withSeeds("TransactionTests.DeadlinesTests/model", count: TestSize.of(quick: 50, full: 1_000)) {
      _, random in
      var deadlines = Deadlines<Int>()
      var model: [Int: UInt64] = [:]
      var now: UInt64 = 0
      for _ in 0..<2_000 {
        let key = Int(random.below(20))
        switch random.below(8) {
        case 0:
          deadlines.set(key, nil)
          model[key] = nil
        case 1:
          now += UInt64(random.below(40))
          while let due = deadlines.next(at: now) {
            try #require(model[due] == model.values.min() && model[due]! <= now)
            model[due] = nil
          }
          try #require(model.values.allSatisfy { $0 > now })
        default:
          // Most move back, some come nearer.
          let time = now + 1 + UInt64(random.below(200))
          deadlines.set(key, time)
          model[key] = time
        }
        try #require(deadlines.earliest == model.values.min())
      }
    }
  }
}
