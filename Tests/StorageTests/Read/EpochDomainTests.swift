import Foundation
import Synchronization
import Testing

@testable import RoostStorage

// Budget: 5 s. Run with --sanitize=thread too.
@Suite(.serialized) struct EpochDomainTests {
  /// Counts the live ones, shared by reference.
  final class Count: Sendable {
    let value = Atomic<Int>(0)
    var now: Int { value.load(ordering: .relaxed) }
  }

  /// Poisons its word as it goes. The words lie in one array that outlives all canaries, so that a
  /// reader of a freed one finds the poison, not whatever the allocator made of its memory.
  final class Canary: Sendable {
    let words: Words
    let number: Int
    let live: Count

    init(_ number: Int, _ words: Words, _ live: Count) {
      self.number = number
      self.words = words
      self.live = live
      live.value.wrappingAdd(1, ordering: .relaxed)
    }

    deinit {
      words.poison(number)
      live.value.wrappingSubtract(1, ordering: .relaxed)
    }
  }

  @safe
  final class Words: @unchecked Sendable {
    private let base: UnsafeMutablePointer<Atomic<Int>>
    let count: Int

    init(_ count: Int) {
      self.count = count
      unsafe base = .allocate(capacity: count)
      for i in 0..<count { unsafe (base + i).initialize(to: Atomic(i)) }
    }

    deinit { unsafe base.deallocate() }

    func poison(_ i: Int) { unsafe base[i].store(-1, ordering: .relaxed) }
    func isWhole(_ i: Int) -> Bool { unsafe base[i].load(ordering: .relaxed) == i }
  }

  @Test func `what a reader holds is not freed under it`() {
    let total = 20_000
    // A reader that is preempted inside holds everything up until it runs again: then it takes longer.
    let most = 50 * total
    let domain = EpochDomain()
    let live = Count()
    let words = Words(most + 1)
    let pointer = EpochPointer(Canary(0, words, live))
    let isDone = Count()
    let faults = Faults()
    let frees = Count()
    runThreads(4) { thread in
      if thread == 0 {
        var waiting = 0
        for i in 1...most where i <= total || frees.now == 0 {
          pointer.swap(Canary(i, words, live), retiringIn: domain)
          let left = domain.reclaim()
          if i > total { sched_yield() }
          if left <= waiting { frees.value.wrappingAdd(1, ordering: .relaxed) }
          waiting = left
        }
        isDone.value.store(1, ordering: .releasing)
        return
      }
      var last = 0
      var turn = 0
      while isDone.value.load(ordering: .acquiring) == 0 {
        turn &+= 1
        let token = domain.enter(thread % 2)
        let object = unsafe pointer.load(within: token)!
        // The number is read from the object itself, so the thread sanitizer sees a free beside it.
        let number = unsafe object._withUnsafeGuaranteedRef { $0.number }
        faults.check(number >= last)
        last = number
        for _ in 0..<turn % 50 { faults.check(words.isWhole(number)) }
        faults.check(words.isWhole(number))
        faults.check(unsafe object._withUnsafeGuaranteedRef { $0.number } == number)
        domain.exit(token)
      }
    }
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
    while domain.reclaim() > 0 {}
    #expect(live.now == 1)
    // Readers came and went all the time, and still retired objects were freed.
    #expect(frees.now > 0)
  }

  @Test func `retired objects wait for the readers inside, in whichever generation`() {
    let domain = EpochDomain()
    let live = Count()
    let words = Words(100)
    let pointer = EpochPointer(Canary(0, words, live))

    let early = domain.enter(0)
    pointer.swap(Canary(1, words, live), retiringIn: domain)
    for _ in 0..<10 { #expect(domain.reclaim() == 1) }
    // Enters after the first was retired, before the second is: holds up the second only.
    let late = domain.enter(1)
    pointer.swap(Canary(2, words, live), retiringIn: domain)
    for _ in 0..<10 { #expect(domain.reclaim() == 2) }
    #expect(live.now == 3 && domain.retiredCount == 2)

    domain.exit(early)
    for _ in 0..<10 { domain.reclaim() }
    #expect(words.isWhole(2) && words.isWhole(1) && !words.isWhole(0))
    #expect(domain.retiredCount == 1)
    domain.exit(late)
    for _ in 0..<10 { domain.reclaim() }
    #expect(live.now == 1 && domain.retiredCount == 0)
  }

  /// Readers that overlap without a gap: one counter alone would never be at zero.
  @Test func `reclaiming does not starve under readers without a gap`() {
    let domain = EpochDomain()
    let live = Count()
    let words = Words(1001)
    let pointer = EpochPointer(Canary(0, words, live))
    var inside = domain.enter(3)
    for i in 1...1000 {
      pointer.swap(Canary(i, words, live), retiringIn: domain)
      domain.reclaim()
      let next = domain.enter(3)
      domain.exit(inside)
      inside = next
      #expect(domain.retiredCount <= 8)
    }
    domain.exit(inside)
    while domain.reclaim() > 0 {}
    #expect(live.now == 1)
  }

  @Test func `a strong reference outlives the stay`() {
    let domain = EpochDomain()
    let live = Count()
    let words = Words(2)
    let pointer = EpochPointer(Canary(0, words, live))
    let kept = pointer.strong(in: domain, stripe: 40)!
    pointer.swap(Canary(1, words, live), retiringIn: domain)
    while domain.reclaim() > 0 {}
    #expect(live.now == 2 && words.isWhole(kept.number))
  }

  @Test func `pointer and domain free what they own`() {
    let live = Count()
    let words = Words(2)
    do {
      let domain = EpochDomain()
      let pointer = EpochPointer(Canary(0, words, live))
      pointer.swap(Canary(1, words, live), retiringIn: domain)
      #expect(live.now == 2)
    }
    #expect(live.now == 0)
  }
}
