import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// A founder that is cut off before each thing that it writes, on its disk or into the directory, is the same
/// member when it is back, and the cluster is founded once.
// Budget: 8 s
@Suite struct FoundingCrashTests {
  private static func found(
    _ index: Int, _ directory: TestDirectory, _ disk: SimulatedEnvironment
  ) throws -> ClusterFounding {
    var cluster = ClusterOptions(cluster: "test")
    cluster.foundingNodes = 3
    return try ClusterFounding(
      at: "/disk/db", NodeWorld.options, cluster, directory: directory, address: try NodeWorld.address(index),
      disk.environment)
  }

  @Test(arguments: [CrashPolicy.dropAll, .random])
  func `founding is cut off at each durable step`(policy: CrashPolicy) throws {
    let stride = policy == .dropAll ? 1 : TestSize.of(quick: 3, full: 1)
    // No founding takes that many.
    for step in Swift.stride(from: 1, through: 1_000, by: stride) where try !Self.run(cutAt: step, policy) {
      #expect(step > 10, "the store alone takes some")
      return
    }
    Issue.record("it goes on for ever")
  }

  /// - Returns: whether it came to that step.
  private static func run(cutAt step: Int, _ policy: CrashPolicy) throws -> Bool {
    let comment: Comment = "cut off before step \(step)"
    let time = SimulatedTime()
    let directory = TestDirectory(time)
    var disks = (0..<3).map { SimulatedEnvironment(seed: UInt64(step * 10 + $0), time: time) }
    let others = try [1, 2].map { try found($0, directory, disks[$0]) }

    let done = Guarded(0)
    let files = disks[0].fileSystem
    files.onOperation { [unowned files] operation in
      guard operation.changesDisk else { return }
      if done.withLock({ done in
        done += 1
        return done == step
      }) {
        files.powerOff()
      }
    }
    directory.before = { call throws(DatabaseError) in
      guard call.changes || done.withLock({ $0 }) >= step else { return }
      let isOver = done.withLock { done in
        done += 1
        return done >= step
      }
      if isOver {
        files.powerOff()
        throw DatabaseError(.storage, "the process is gone")
      }
    }
    var member: MemberID?
    do {
      let founding = try found(0, directory, disks[0])
      member = founding.member
      try founding.finish(until: .max).close()
    } catch { #expect(done.withLock { $0 } >= step, "\(error)") }
    directory.before = nil
    files.onOperation(nil)
    let wasCut = done.withLock { $0 } >= step

    disks[0] = disks[0].crashed(policy, seed: UInt64(step))
    let again = try found(0, directory, disks[0])
    // Once it has told anybody who it is, it is.
    if let member { #expect(again.member == member, comment) }
    let known = again.member
    let first = try again.finish(until: .max)
    let cores = try [first] + others.map { try $0.finish(until: .max) }
    #expect(Set(cores.map(\.id)).count == 1 && Set(cores.map(\.ring.epoch)).count == 1, comment)
    for core in cores {
      #expect(core.ring.members.count == 3 && core.ring.member(known) != nil, comment)
      try core.close()
    }
    // And it comes back as what it is by now.
    let back = try found(0, directory, disks[0])
    #expect(back.isMember && back.member == known, comment)
    try back.finish(until: .max).close()
    return wasCut
  }
}
