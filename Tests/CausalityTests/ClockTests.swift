import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

/// The hybrid logical clock: forward only, close to physical time, never above its bound.
// Budget: 1 s
@Suite struct ClockTests {
  private func clock(at milliseconds: UInt64 = 0, bound: UInt64 = 1 << 40) -> HybridLogicalClock {
    HybridLogicalClock(
      notBefore: Timestamp(milliseconds: milliseconds), bound: Timestamp(milliseconds: bound))
  }

  @Test func `a timestamp is milliseconds, then a count`() {
    let time = Timestamp(milliseconds: 1_700_000_000_123, logical: 7)
    #expect(time.milliseconds == 1_700_000_000_123 && time.logical == 7)
    #expect(time.rawValue == 1_700_000_000_123 << 16 + 7 && "\(time)" == "1700000000123.7")
    #expect(Timestamp(milliseconds: 1, logical: .max) < Timestamp(milliseconds: 2))
    #expect(Timestamp(milliseconds: .max, logical: .max).rawValue == .max)
    #expect(Timestamp(milliseconds: 1 << 48).milliseconds == (1 << 48) - 1)
    #expect(Timestamp.zero == Timestamp(milliseconds: 0))
  }

  @Test func `it follows the physical clock`() {
    var clock = clock()
    #expect(clock.now(physicalMilliseconds: 10) == Timestamp(milliseconds: 10))
    #expect(clock.now(physicalMilliseconds: 10) == Timestamp(milliseconds: 10, logical: 1))
    #expect(clock.now(physicalMilliseconds: 12) == Timestamp(milliseconds: 12))
  }

  @Test func `it goes on where the physical clock goes back`() {
    var clock = clock()
    _ = clock.now(physicalMilliseconds: 100)
    #expect(clock.now(physicalMilliseconds: 50) == Timestamp(milliseconds: 100, logical: 1))
    #expect(clock.now(physicalMilliseconds: 0) == Timestamp(milliseconds: 100, logical: 2))
  }

  @Test func `a full count runs over into the milliseconds`() {
    let last = Timestamp(milliseconds: 5, logical: .max)
    #expect(HybridLogicalClock.next(after: last, physicalMilliseconds: 5) == Timestamp(milliseconds: 6))
    let end = Timestamp(rawValue: .max)
    #expect(HybridLogicalClock.next(after: end, physicalMilliseconds: .max) == end)
    var clock = HybridLogicalClock(notBefore: end, bound: end)
    #expect(clock.now(physicalMilliseconds: 5) == nil, "no time is issued twice")
  }

  @Test func `nothing is issued above the bound, until it is raised`() {
    var clock = clock(bound: 20)
    #expect(clock.now(physicalMilliseconds: 20) == Timestamp(milliseconds: 20))
    #expect(clock.now(physicalMilliseconds: 20) == nil && clock.now(physicalMilliseconds: 21) == nil)
    #expect(clock.last == Timestamp(milliseconds: 20))
    clock.raiseBound(to: Timestamp(milliseconds: 30))
    clock.raiseBound(to: Timestamp(milliseconds: 25))
    #expect(clock.bound == Timestamp(milliseconds: 30))
    #expect(clock.now(physicalMilliseconds: 30) == Timestamp(milliseconds: 30))
  }

  @Test func `after a restart nothing is issued again`() {
    var before = clock(bound: 1000)
    let issued = before.now(physicalMilliseconds: 999)
    #expect(issued == Timestamp(milliseconds: 999))
    // The physical clock was set back meanwhile.
    var after = HybridLogicalClock(notBefore: before.bound, bound: before.bound)
    #expect(after.now(physicalMilliseconds: 5) == nil)
    after.raiseBound(to: Timestamp(milliseconds: 2000))
    #expect(after.now(physicalMilliseconds: 5) == Timestamp(milliseconds: 1000, logical: 1))
  }

  @Test func `what is issued is after what was received`() throws {
    var clock = clock()
    let remote = Timestamp(milliseconds: 150, logical: 9)
    try clock.receive(remote, physicalMilliseconds: 100, maximumOffsetMilliseconds: 50)
    #expect(clock.now(physicalMilliseconds: 100) == Timestamp(milliseconds: 150, logical: 10))
    try clock.receive(.zero, physicalMilliseconds: 100, maximumOffsetMilliseconds: 50)
    #expect(clock.now(physicalMilliseconds: 100) == Timestamp(milliseconds: 150, logical: 11))
  }

  @Test func `the far future is refused`() throws {
    var clock = clock()
    let before = clock
    let error = #expect(throws: CausalityError.self) {
      try clock.receive(
        Timestamp(milliseconds: 151), physicalMilliseconds: 100, maximumOffsetMilliseconds: 50)
    }
    #expect(error?.code == .farFuture && error?.message.contains("51 ms") == true)
    #expect(clock == before)
    try clock.receive(
      Timestamp(rawValue: .max), physicalMilliseconds: .max, maximumOffsetMilliseconds: .max)
    #expect(clock.last == Timestamp(rawValue: .max))
  }

  @Test func `times rise whatever the physical clocks do`() throws {
    try withSeeds("ClockTests", count: TestSize.of(quick: 1000, full: 5000)) { _, random in
      var clock = clock(at: UInt64(random.below(50)), bound: 60)
      var last = clock.last
      for _ in 0..<40 {
        let physical = UInt64(random.below(200))
        if random.chance(1, of: 4) {
          let remote = Timestamp(rawValue: UInt64(random.below(200 << 16)))
          let isNear = remote.milliseconds <= physical + 10
          let accepted: Bool
          do {
            try clock.receive(remote, physicalMilliseconds: physical, maximumOffsetMilliseconds: 10)
            accepted = true
            last = max(last, remote)
          } catch { accepted = false }
          try check(accepted == isNear, "refused exactly what is too far ahead")
        }
        let bound = clock.bound
        if let time = clock.now(physicalMilliseconds: physical) {
          try check(time > last && time <= bound && time.milliseconds >= physical, "\(time) after \(last)")
          last = time
        } else {
          let next = max(last.rawValue + 1, physical << 16)
          try check(next > bound.rawValue, "refused for no reason")
          clock.raiseBound(to: Timestamp(rawValue: next + UInt64(random.below(1 << 18))))
        }
      }
    }
  }
}
