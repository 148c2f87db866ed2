import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// What a comparison says of the age of the states that it sends.
// Budget: 2 s
@Suite struct RepairAgeTests {
  /// A state that says it was read later than it was would be taken where what has replaced it is reaped
  /// already. So whatever was written by the time that a message names is in its state: here something is
  /// written whenever the sender looks at the clock.
  @Test func `what is sent has all that was written up to the time that it names`() throws {
    let world = try ReapingTests.world()
    try world.make("latest", .lastWriterWins)
    let clock = ListeningTime(world.time)
    world.clocks[0] = clock
    try world.close(0)
    try world.restart(0)
    let keyspace = try world[0].keyspace("latest")
    let key = Array("a".utf8)
    func write(_ number: Int) throws -> Timestamp {
      let put = KeyRequest.Operation.put([UInt8(truncatingIfNeeded: number)], timeToLiveMilliseconds: nil)
      _ = try keyspace.write(KeyRequest(put, key, in: "latest"))
      return try #require(try keyspace.held(key)).highestTimestamp
    }
    var written = [try write(0)]
    var sent = 0
    let sender = world.numbers[0]
    world.wire.fate = { message, from, _ in
      guard message.kind == NodeMessageKind.apply, from == sender,
        let state = try? ReplicaMessage(decoding: message.body), state.key == key
      else { return .arrives }
      sent += 1
      guard let asOf = state.asOf, let record = state.record else {
        Issue.record("a state without its age")
        return .arrives
      }
      let known = written.last { $0 < asOf } ?? .zero
      #expect(record.highestTimestamp >= known, "written at \(known), named \(asOf)")
      return .arrives
    }
    clock.asked = {
      if written.count < 200, let timestamp = try? write(written.count) { written.append(timestamp) }
    }
    _ = try world.repair(at: 0)
    clock.asked = nil
    #expect(sent >= 2 && written.count > sent, "each other replica gets it, and the clock was looked at")
  }
}

/// A clock that lets something happen whenever it is asked for the time of day. Used by one thread.
private final class ListeningTime: TimeSource, @unchecked Sendable {
  private let base: SimulatedTime
  var asked: (() -> Void)?
  private var isTelling = false

  init(_ base: SimulatedTime) { self.base = base }

  var monotonicNanoseconds: UInt64 { base.monotonicNanoseconds }

  var wallClockNanoseconds: UInt64 {
    if let asked, !isTelling {
      isTelling = true
      asked()
      isTelling = false
    }
    return base.wallClockNanoseconds
  }

  func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    base.wait(on: condition, untilMonotonicNanoseconds: deadline)
  }
}
