import RoostCausality
import Testing

/// What a record does with writes, deletes and the states of its types, one at a time.
// Budget: 1 s
@Suite struct RecordTests {
  let a = ReplicaID(rawValue: 1)
  let b = ReplicaID(rawValue: 2)

  func dot(_ replica: ReplicaID, _ counter: UInt64) -> Dot { Dot(replica: replica, counter: counter) }

  @Test func `two likes at once are two`() throws {
    var here = Record()
    var there = Record()
    try here.update(PNCounter.self, dot: dot(a, 17)) { counter, dot in
      try counter.increment(by: 1, dot: dot)
    }
    try there.update(PNCounter.self, dot: dot(b, 4)) { counter, dot in
      try counter.increment(by: 1, dot: dot)
    }
    #expect(here.compare(to: there) == .concurrent)
    here.join(there)
    there.join(here)
    #expect(here == there && here.encoded == there.encoded)
    #expect(try here.state(as: PNCounter.self).value() == 2)
    #expect(try Record(decoding: here.encoded) == here)
    let changed = here.join(there)
    #expect(!changed)
  }
}
