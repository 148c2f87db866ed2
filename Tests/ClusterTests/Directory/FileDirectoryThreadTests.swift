import Foundation
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// A directory's file under several threads, each with an opening of its own: as processes would have.
// Budget: 5 s quick, 20 s full.
@Suite struct FileDirectoryThreadTests {
  @Test func `no change is lost, and who watches sees the last`() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path.appending("cluster").string
    let (threads, rounds) = (4, TestSize.of(quick: 25, full: 200))
    var options = FileDirectory.Options()
    // Nobody is served in turn, so one may wait for long.
    options.lockDeadline = .seconds(600)
    let patient = options
    let watched = try FileDirectory(at: path, patient, environment: .posix())
    let seen = DispatchSemaphore(value: 0)
    let watch = watched.watch(prefix: "count") { records in
      if records.first.map({ $0.value.count }) == threads * rounds { seen.signal() }
    }
    let group = DispatchGroup()
    let failures = Guarded<[String]>([])
    for thread in 0..<threads {
      group.enter()
      Thread {
        defer { group.leave() }
        do {
          let directory = try FileDirectory(at: path, patient, environment: .posix())
          var done = 0
          while done < rounds {
            let old = try directory.record("count")
            let next = (old?.value ?? []) + [UInt8(thread)]
            if try directory.compareAndSet("count", version: old?.version ?? 0, next) != nil { done += 1 }
          }
          directory.close()
        } catch { failures.withLock { $0.append("\(error)") } }
      }.start()
    }
    group.wait()
    #expect(failures.withLock { $0 } == [])
    let value = try #require(try watched.record("count")).value
    for thread in 0..<threads { #expect(value.count { $0 == UInt8(thread) } == rounds) }
    #expect(seen.wait(timeout: .now() + 600) == .success)
    watch.cancel()
    watched.close()
  }
}
