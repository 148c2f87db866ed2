import Foundation
import Synchronization
import TestSupport
import Testing

@testable import RoostCluster

/// What is looked up without locks while others change it.
// Budget: 5 s
@Suite(.serialized) struct RouteThreadTests {
  /// Two replicas, one after the other in the one state and the other way round in the other: a view
  /// that has one store twice is half of a change.
  @Test func `a view of the routes that counts is one state of them`() {
    let routes = RouteTable(partitionCount: 1, replicas: 2)
    routes.set(0, owners: [1, 2], tenancies: [1, 2], pending: nil)
    let rounds = TestSize.of(quick: 200_000, full: 2_000_000)
    let isDone = SharedFlag()
    let torn = Atomic<Int>(0)
    let seen = Atomic<Int>(0)
    let group = DispatchGroup()
    group.enter()
    Thread {
      while !isDone.isSet {
        let version = routes.version
        let pair = (routes.owner(0, 0), routes.owner(0, 1))
        let pending = routes.pendingOwner(0, ofFirst: 2)
        guard routes.isUnchanged(since: version) else { continue }
        seen.wrappingAdd(1, ordering: .relaxed)
        let isFirst = pair == (1, 2) && pending == Int(RouteTable.none)
        let isSecond = pair == (2, 1) && pending == 3
        if !isFirst, !isSecond { torn.wrappingAdd(1, ordering: .relaxed) }
      }
      group.leave()
    }.start()
    for round in 0..<rounds {
      if round % 2 == 0 {
        routes.set(0, owners: [2, 1], tenancies: [2, 1], pending: 3)
      } else {
        routes.set(0, owners: [1, 2], tenancies: [1, 2], pending: nil)
      }
    }
    // One more look at what stays.
    while seen.load(ordering: .relaxed) == 0 {}
    isDone.set()
    group.wait()
    let tornViews = torn.load(ordering: .relaxed)
    #expect(tornViews == 0)
  }

  @Test func `what is read while a change is made is no state`() {
    let routes = RouteTable(partitionCount: 1, replicas: 1)
    #expect(routes.isUnchanged(since: routes.version))
    #expect(!routes.isUnchanged(since: 1), "an odd version")
    let version = routes.version
    routes.set(0, owners: [1], tenancies: [1], pending: nil)
    #expect(!routes.isUnchanged(since: version))
  }

  /// A writer has its stripe and has looked at the clock, and has not said so yet: settling waits for
  /// it all the same.
  @Test func `settling waits for a writer that has not said that it writes`() {
    let locks = KeyLocks()
    let isWritten = SharedFlag()
    let hasSettled = DispatchSemaphore(value: 0)
    let stripe = locks[7]
    stripe.lock.lock()
    let wasWritten = SharedFlag()
    let group = DispatchGroup()
    group.enter()
    Thread {
      locks.settle()
      if isWritten.isSet { wasWritten.set() }
      hasSettled.signal()
      group.leave()
    }.start()
    // Gives one that does not wait the time to show it; one that waits is not kept by it.
    _ = hasSettled.wait(timeout: .now() + 0.1)
    stripe.inFlight.store(5, ordering: .sequentiallyConsistent)
    isWritten.set()
    stripe.inFlight.store(0, ordering: .sequentiallyConsistent)
    stripe.lock.unlock()
    group.wait()
    #expect(wasWritten.isSet)
  }
}
