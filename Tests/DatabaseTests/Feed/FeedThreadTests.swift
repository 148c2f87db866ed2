import Foundation
import Roost
import RoostSimulation
import Synchronization
import TestSupport
import Testing

/// The feed beside threads that write: whoever follows it ends up with what the database holds. A
/// page that passed a number before its record was written would lose that change; a wake-up that
/// was lost would leave the follower waiting.
// Budget: 5 s quick, 20 s full; 20 s quick under the thread sanitizer.
@Suite(.serialized) struct FeedThreadTests {
  private func runThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let group = DispatchGroup()
    for index in 0..<count {
      group.enter()
      Thread {
        body(index)
        group.leave()
      }.start()
    }
    group.wait()
  }

  @Test func `no change is lost between the pages of a reader`() throws {
    let folder = try TemporaryDirectory()
    let database = try SynchronousDatabase(in: folder, stores: 2, partitions: 4)
    let posts = database.posts
    let writers = 3
    let rounds = TestSize.of(quick: 400, full: 4_000)
    let running = Atomic<Int>(writers)
    let told = Guarded<[[UInt8]: Record]>([:])
    let failures = Guarded<[String]>([])
    runThreads(writers + 1) { index in
      do {
        if index < writers {
          defer { running.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
          for round in 0..<rounds {
            // Each key is written once: a change that is passed over is not told later.
            try "w\(index)-\(round)".withKeyBytes { key throws(DatabaseError) in
              _ = try posts.put(key, [UInt8(truncatingIfNeeded: round)], context: nil)
            }
          }
          return
        }
        var token: ChangeToken?
        while true {
          let isLast = running.load(ordering: .sequentiallyConsistent) == 0
          let page = try posts.changes(since: token, limit: ChangePageLimit(changes: 64))
          token = page.token
          told.withLock { told in
            for change in page.changes {
              if case .changed(let key, let record) = change.event { told[key] = record }
            }
          }
          if isLast, page.isAtEnd { return }
        }
      } catch { failures.withLock { $0.append("\(error)") } }
    }
    #expect(failures.withLock { $0 } == [])
    let count = told.withLock { $0.count }
    #expect(count == writers * rounds)
    try database.core.close()
  }

  /// Stripes are the database's: a look at one keyspace stops short of what is on its way in another.
  @Test(arguments: [false, true])
  func `a follower misses no wake-up`(besideAnother: Bool) async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(at: folder.path.string + "/a", Databases.options())
    let posts = try await database.keyspace("posts", .eventual)
    let other = try await database.keyspace("other", .eventual).core
    let isDone = SharedFlag()
    let busy = DispatchGroup()
    if besideAnother {
      busy.enter()
      Thread {
        for round in 0... {
          if isDone.isSet { break }
          _ = "o\(round % 100)".withKeyBytes { try? other.delete($0, context: nil) }
          _ = "o\(round % 100)".withKeyBytes { try? other.put($0, [1], context: nil) }
        }
        busy.leave()
      }.start()
    }
    let rounds = TestSize.of(quick: 300, full: 3_000)
    let core = posts.core
    let next = DispatchSemaphore(value: 0)
    // Writes one after the other, each when the one before was told.
    Thread {
      for round in 0..<rounds {
        if round > 0 { next.wait() }
        _ = "k\(round)".withKeyBytes { try? core.put($0, [1], context: nil) }
      }
    }.start()
    var seen = 0
    for try await _ in posts.changes() {
      seen += 1
      next.signal()
      if seen == rounds { break }
    }
    #expect(seen == rounds)
    isDone.set()
    await withCheckedContinuation { continuation in busy.notify(queue: .global()) { continuation.resume() } }
    try await database.close()
  }

  /// One write is on its way for long, and hides from the feed what comes after it. An export that begins
  /// then waits for it: what was acknowledged before an export is in it.
  @Test func `an export has what was written before it, whoever else is still writing`() throws {
    let database = try SynchronousDatabase()
    let (isWriting, mayEnd) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let ends = DispatchGroup()
    ends.enter()
    Thread {
      do {
        try "slow".withKeyBytes { key throws(DatabaseError) in
          try database.posts.update(key) { _, _ throws(DatabaseError) in
            isWriting.signal()
            mayEnd.wait()
            return (false, ())
          }
        }
      } catch { Issue.record("\(error)") }
      ends.leave()
    }.start()
    isWriting.wait()
    // Of another stripe: the lowest eight bits of the hash.
    let slow = "slow".withKeyBytes { Placement.hash($0) }
    let names = (0..<100).map { "fast\($0)" }
    let others = names.filter { name in
      let hash = name.withKeyBytes { Placement.hash($0) }
      return (hash ^ slow) & 0xFF != 0
    }
    let fast = try #require(others.first)
    try database.put(fast, "v")
    let isDone = SharedFlag()
    let exported = Guarded<Set<[UInt8]>>([])
    ends.enter()
    Thread {
      do {
        var token: ChangeToken?
        while true {
          let page = try database.posts.export(since: token, byteLimit: 1 << 20)
          token = page.token
          exported.withLock { $0.formUnion(page.states.map(\.key)) }
          if page.isComplete { break }
        }
      } catch { Issue.record("\(error)") }
      isDone.set()
      ends.leave()
    }.start()
    // One that does not wait is done meanwhile.
    for _ in 0..<10_000 where !isDone.isSet { sched_yield() }
    mayEnd.signal()
    ends.wait()
    #expect(exported.withLock { $0 }.contains(Array(fast.utf8)))
  }
}
