import RoostCausality
import Testing

@testable import RoostTransactions

/// How a process tells effects that come late, and whose marks are gone, from new ones.
// Budget: 1 s
@Suite struct ForgottenEffectsTests {
  private func time(_ number: UInt64) -> Timestamp { Timestamp(rawValue: number) }

  @Test func `what was forgotten is known, and nothing else`() {
    let forgotten = ForgottenEffects()
    #expect(!forgotten.contains(txn(1)))
    forgotten.add(txn(1), told: time(10))
    #expect(forgotten.contains(txn(1)))
    #expect(!forgotten.contains(txn(2)))
    #expect(!forgotten.contains(txn(1, coordinator: 2)))
    // What others told before that, and has been on its way since, is done.
    #expect(!forgotten.isPassed(time(5)))
  }

  @Test func `beyond the limit what was told before is passed over, and what is told again is not`() {
    let forgotten = ForgottenEffects(limit: 8)
    // Of two coordinators, whose clocks are 100 apart.
    func coordinator(_ number: UInt64) -> UInt64 { 1 + number % 2 }
    func told(_ number: UInt64) -> UInt64 { number.isMultiple(of: 2) ? 1_000 + number : 900 + number }
    for number in 1...40 as ClosedRange<UInt64> {
      forgotten.add(txn(number, coordinator: coordinator(number)), told: time(told(number)))
      var known = 0
      for earlier in 1...number {
        let isKnown = forgotten.contains(txn(earlier, coordinator: coordinator(earlier)))
        // Its effects were told before.
        #expect(isKnown || forgotten.isPassed(time(told(earlier) - 1)), "\(earlier) of \(number)")
        if isKnown { known += 1 }
      }
      #expect(known >= min(5, number) && known <= 8, "\(number)")
      // The clock that is ahead has not come further by those that are not known any more.
      #expect(!forgotten.isPassed(time(1_000 + number - UInt64(known) + 1)), "\(number)")
    }
    #expect(forgotten.isPassed(time(1_000)))
  }
}
