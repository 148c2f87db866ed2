import TestSupport
import Testing

@testable import RoostEnvironment

/// Whose turn it is: priorities, order, yielding.
// Budget: 2 s
@Suite struct TokenQueueTests {
  typealias Priority = RateLimiter.Priority
  static let second: UInt64 = 1_000_000_000

  static func queue(_ rate: Int, _ burst: Int) throws -> TokenQueue {
    TokenQueue(try TokenBucket(unitsPerSecond: rate, burst: burst, at: 0))
  }

  /// One whose bucket is empty at time 0.
  static func empty(_ rate: Int, _ burst: Int) throws -> TokenQueue {
    var queue = try queue(rate, burst)
    #expect(queue.take(burst, .normal, at: 0) == true)
    return queue
  }

  @Test func firstComeFirstServedWithinAPriority() throws {
    var queue = try Self.empty(1, 10)
    let tickets = [3, 1, 2].map { queue.enqueue($0, .normal) }
    #expect(queue.serve(at: 2 * Self.second) == [])
    // A small request does not pass the large one before it, nor does a newcomer.
    #expect(queue.take(1, .normal, at: 2 * Self.second) == false)
    #expect(queue.first == tickets[0])
    #expect(queue.firstDelay(at: 2 * Self.second) == Self.second)
    #expect(queue.serve(at: 3 * Self.second) == [tickets[0]])
    #expect(queue.serve(at: 6 * Self.second) == [tickets[1], tickets[2]])
    #expect(queue.count == 0 && queue.first == nil)
    #expect(queue.firstDelay(at: 6 * Self.second) == nil)
  }

  @Test func higherPrioritiesGoFirst() throws {
    var queue = try Self.empty(1, 10)
    let low = queue.enqueue(1, .low)
    let normal = queue.enqueue(1, .normal)
    let high = queue.enqueue(1, .high)
    let late = queue.enqueue(1, .high)
    #expect(queue.countAhead(of: low, .low) == 3)
    #expect(queue.countAhead(of: late, .high) == 1)
    #expect(queue.serve(at: 4 * Self.second) == [high, late, normal, low])
    // Who does not wait has a priority too.
    _ = queue.enqueue(2, .normal)
    #expect(queue.take(1, .low, at: 5 * Self.second) == false)
    #expect(queue.take(1, .normal, at: 5 * Self.second) == false)
    #expect(queue.take(1, .high, at: 5 * Self.second) == true)
  }

  @Test func eachTenthGrantGoesToWhoWasPassedOver() throws {
    var queue = try Self.empty(1, 100)
    let low = queue.enqueue(1, .low)
    let normal = queue.enqueue(1, .normal)
    let high = (0..<30).map { _ in queue.enqueue(1, .high) }
    // The low one came first, so it has waited longest.
    let expected = high[..<9] + [low] + high[9..<18] + [normal] + high[18...]
    #expect(queue.serve(at: 100 * Self.second) == Array(expected))
  }

  /// Those who never wait do not starve those who do, either.
  @Test func newcomersYieldToo() throws {
    var queue = try Self.queue(1000, 50)
    let low = queue.enqueue(50, .low)
    var passed = 0
    for _ in 0..<40 where queue.take(1, .high, at: 0) { passed += 1 }
    #expect(passed == 9)
    #expect(queue.first == low)
    #expect(queue.serve(at: 8_000_000) == [])
    #expect(queue.take(1, .high, at: 8_000_000) == false)
    #expect(queue.serve(at: 9_000_000) == [low])
    #expect(queue.take(1, .high, at: 10_000_000) == true)
  }

  @Test func aRequestThatLeavesMakesWay() throws {
    var queue = try Self.empty(1, 10)
    let large = queue.enqueue(10, .normal)
    let small = queue.enqueue(1, .normal)
    #expect(queue.serve(at: Self.second) == [])
    queue.cancel(large)
    #expect(queue.count == 1)
    #expect(queue.serve(at: Self.second) == [small])
    queue.cancel(large)
    #expect(queue.count == 0)
  }

  @Test func aSmallerBurstRefusesWhatItCanNeverGrant() throws {
    var queue = try Self.empty(1, 10)
    let large = queue.enqueue(8, .high)
    let small = queue.enqueue(2, .low)
    #expect(try queue.set(unitsPerSecond: 1, burst: 5, at: 0) == [large])
    #expect(queue.first == small && queue.count == 1)
    #expect(queue.serve(at: 2 * Self.second) == [small])
  }

  @Test func delayCountsThoseAhead() throws {
    var queue = try Self.empty(10, 10)
    _ = queue.enqueue(10, .high)
    _ = queue.enqueue(5, .low)
    #expect(queue.delay(for: 3, .high, at: 0) == 1_300_000_000)
    #expect(queue.delay(for: 3, .low, at: 0) == 1_800_000_000)
    #expect(queue.delay(for: 0, .normal, at: Self.second) == 0)
  }

  /// The rules again, told in the plainest way: one list, searched whole each time.
  private struct Reference {
    struct Request { var ticket: UInt64, units: Int, priority: Priority }
    var waiting: [Request] = []
    var passedOver = 0

    func next() -> Request? {
      guard let top = waiting.map(\.priority).max() else { return nil }
      let below = waiting.filter { $0.priority < top }
      let yields = passedOver >= 9 && !below.isEmpty
      return (yields ? below : waiting.filter { $0.priority == top }).min { $0.ticket < $1.ticket }
    }

    mutating func granted(_ priority: Priority) {
      let passes = waiting.contains { $0.priority < priority }
      let yields = waiting.contains { $0.priority > priority }
      passedOver = passes && !yields ? passedOver + 1 : 0
    }
  }

  @Test func agreesWithThePlainRules() throws {
    var grants = 0
    var yields = 0
    try withSeeds("agreesWithThePlainRules", count: TestSize.of(quick: 100, full: 1000)) { seed, random in
      let rate = 1 + random.below(1000)
      let burst = 1 + random.below(50)
      var now: UInt64 = 0
      var queue = try Self.queue(rate, burst)
      var reference = Reference()
      var granted: [(at: UInt64, units: Int)] = []
      for _ in 0..<300 {
        now += UInt64(random.below(20)) * Self.second / UInt64(rate)
        let units = random.below(burst + 1)
        let priority = Priority(rawValue: random.below(3))!
        switch random.below(10) {
        case 0:
          if let gone = reference.waiting.randomElement(using: &random) {
            queue.cancel(gone.ticket)
            reference.waiting.removeAll { $0.ticket == gone.ticket }
          }
        case 1, 2:
          if queue.take(units, priority, at: now) {
            // It was its turn: as one who came last, it would be the next.
            var probe = reference
            probe.waiting.append(.init(ticket: .max, units: units, priority: priority))
            try #require(probe.next()?.ticket == .max, "seed \(seed)")
            reference.granted(priority)
            granted.append((now, units))
          }
        default:
          reference.waiting.append(
            .init(ticket: queue.enqueue(units, priority), units: units, priority: priority))
        }
        for ticket in queue.serve(at: now) {
          let next = try #require(reference.next())
          try #require(next.ticket == ticket, "seed \(seed)")
          reference.waiting.removeAll { $0.ticket == ticket }
          if reference.waiting.contains(where: { $0.priority > next.priority }) { yields += 1 }
          reference.granted(next.priority)
          granted.append((now, next.units))
        }
        try #require(queue.count == reference.waiting.count)
        try #require(queue.first == reference.next()?.ticket)
        // What stays waiting could not be granted.
        if let next = reference.next() {
          var bucket = queue.bucket
          try #require(bucket.available(at: now) < next.units)
          try #require(queue.firstDelay(at: now) == bucket.delay(for: next.units, at: now))
        }
      }
      grants += granted.count
      for i in granted.indices {
        var sum: Int128 = 0
        for j in i..<granted.count {
          sum += Int128(granted[j].units)
          try #require(sum <= TokenBucketTests.most(rate, burst, granted[j].at - granted[i].at))
        }
      }
      // All are served in the end, whoever else there was.
      var rest = 0
      while queue.count > 0, rest < 10_000 {
        now += 60 * Self.second
        rest += queue.serve(at: now).count
      }
      try #require(queue.count == 0 && rest == reference.waiting.count)
    }
    #expect(grants > 5000)
    #expect(yields > 50)
  }

  /// However many come at a higher priority, and for ever: a low one waits for ten grants at most.
  @Test func nobodyStarves() throws {
    try withSeeds("nobodyStarves", count: 50) { seed, random in
      var queue = try Self.empty(1000, 20)
      let low = queue.enqueue(1 + random.below(20), .low)
      var grants = 0
      var now: UInt64 = 0
      while true {
        while queue.count < 5 {
          _ = queue.enqueue(1 + random.below(20), random.below(2) == 0 ? .high : .normal)
        }
        now += UInt64(random.below(20)) * 1_000_000
        if queue.take(random.below(5), .high, at: now) { grants += 1 }
        let served = queue.serve(at: now)
        if let index = served.firstIndex(of: low) {
          grants += index
          break
        }
        grants += served.count
        try #require(grants <= 20, "seed \(seed)")
      }
      #expect(grants <= 10)
    }
  }
}
