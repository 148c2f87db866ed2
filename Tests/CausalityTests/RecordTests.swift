import RoostCausality
import Testing

/// What a record does with writes, deletes, expiry and the states of its types, one at a time.
// Budget: 1 s
@Suite struct RecordTests {
  let none = VersionVector()

  @Test func `two likes at once are two`() throws {
    var here = Record()
    var there = Record()
    try here.update(PNCounter.self, dot: dot("a", 17)) { try $0.increment(by: 1, dot: $1) }
    try there.update(PNCounter.self, dot: dot("b", 4)) { try $0.increment(by: 1, dot: $1) }
    #expect(here.compare(to: there) == .concurrent)
    here.join(there)
    there.join(here)
    #expect(here == there && here.encoded == there.encoded)
    #expect(try here.state(as: PNCounter.self).value() == 2)
    let changed = here.join(there)
    #expect(!changed)
  }

  @Test func `a new record holds nothing`() {
    let record = Record()
    #expect(record.isTombstone && record.context.isEmpty && record.highestTimestamp == .zero)
    #expect(record.state(as: ORSet.self).isEmpty && record == Record())
  }

  @Test func `a put replaces states that it has read, and leaves others`() throws {
    var record = Record()
    try record.update(ORSet.self, dot: dot("a", 1)) { $0.insert([1], dot: $1) }
    let read = record.context
    try record.update(PNCounter.self, dot: dot("a", 2)) { try $0.increment(by: 1, dot: $1) }
    try record.put("v", read, dot("a", 3))
    #expect(record.values == ["v"] && record.states.map(\.kind) == [.counter])
    try record.put("w", record.context, dot("a", 4))
    #expect(record.values == ["w"] && record.states.isEmpty)
  }

  @Test func `a write with a context read elsewhere has seen what that has`() throws {
    let there = try Record().putting("there", none, dot("b", 5))
    let here = try Record().putting("new", there.context, dot("a", 1))
    #expect(here.context == VersionVector([dot("a", 1), dot("b", 5)]))
    #expect(there.joined(here).values == ["new"] && there.compare(to: here) == .before)
  }

  @Test func `a writer's own last value goes, and others of that store that it has not read stay`() throws {
    var record = try Record().putting("other's", none, dot("a", 1)).putting("own", none, dot("a", 2))
    let before = record
    try record.put(
      [65], replacing: none, and: dot("a", 2), dot: dot("a", 3), timestamp: .zero)
    #expect(record.values == ["A", "other's"] && before.compare(to: record) == .before)
    #expect(before.joined(record) == record)
    try record.delete(replacing: none, and: dot("a", 3), dot: dot("a", 4))
    #expect(record.values == ["other's"])
    try record.delete(replacing: none, and: dot("b", 9), dot: dot("a", 5))
    #expect(record.values == ["other's"] && record.context == VersionVector([dot("a", 5)]))
  }

  @Test func `states are found by their type, in order of kind`() throws {
    var record = Record()
    try record.update(ORMap.self, dot: dot("a", 1)) { map, dot in
      map.update([1], as: EnableWinsFlag.self) { $0.enable(dot: dot) }
    }
    try record.update(EnableWinsFlag.self, dot: dot("a", 2)) { $0.enable(dot: $1) }
    try record.update(GCounter.self, dot: dot("a", 3)) { try $0.increment(by: 7, dot: $1) }
    try record.update(LWWRegister.self, dot: dot("a", 4)) { $0.assign([1], timestamp: .zero, dot: $1) }
    try record.update(ORSet.self, dot: dot("a", 5)) { $0.insert([1], dot: $1) }
    try record.update(PNCounter.self, dot: dot("a", 6)) { try $0.increment(by: -7, dot: $1) }
    #expect(record.states.map(\.kind) == RecordKind.allCases && !record.isTombstone)
    #expect(try record.state(as: GCounter.self).value() == 7)
    #expect(try record.state(as: PNCounter.self).value() == -7)
    #expect(record.state(as: ORMap.self).field([1], as: EnableWinsFlag.self).isEnabled)
    #expect(record.state(as: EnableWinsFlag.self).isEnabled && record.state(as: ORSet.self).contains([1]))
    #expect(record.state(as: LWWRegister.self).value == [1])
    try record.update(ORSet.self, dot: dot("a", 7)) { set, _ in set.removeAll() }
    #expect(record.states.map(\.kind) == [.gCounter, .counter, .register, .flag, .map])
    var live: [Dot] = []
    record.forEachDot { live.append($0) }
    #expect(live.map(\.counter) == [3, 6, 4, 2, 1])
  }

  @Test func `what throws has changed nothing`() throws {
    var record = Record()
    try record.update(GCounter.self, dot: dot("a", 1)) { try $0.increment(by: .max, dot: $1) }
    let before = record
    let error = #expect(throws: CausalityError.self) {
      try record.update(GCounter.self, dot: dot("a", 2)) { try $0.increment(by: 1, dot: $1) }
    }
    #expect(error?.code == .overflow && record == before)
  }

  @Test func `expiry takes what is due, and leaves the rest and the context`() throws {
    var record = Record()
    for (counter, expiry) in [(1, 0), (2, 100), (3, 200)] as [(UInt64, UInt64)] {
      try record.put(
        [UInt8(counter)], expiry: expiry, replacing: none, dot: dot("a", counter), timestamp: .zero)
    }
    let context = record.context
    var changed = record.expire(at: 99)
    #expect(!changed && record.siblings.count == 3)
    changed = record.expire(at: 100)
    #expect(changed && record.siblings.elements.map(\.value) == [[1], [3]])
    changed = record.expire(at: .max)
    #expect(changed && record.siblings.elements.map(\.value) == [[1]] && record.context == context)
  }

  @Test func `the latest is of the greatest time, then the greatest dot`() throws {
    var record = Record()
    for (counter, time) in [(1, 5), (2, 9), (3, 9), (4, 1)] as [(UInt64, UInt64)] {
      try record.put(
        [UInt8(counter)], replacing: none, dot: dot("a", counter), timestamp: Timestamp(rawValue: time))
    }
    #expect(record.siblings.latest?.value == [3] && record.highestTimestamp == Timestamp(rawValue: 9))
    try record.update(ORMap.self, dot: dot("a", 5)) { map, dot in
      map.update([], as: LWWRegister.self) { $0.assign([], timestamp: Timestamp(rawValue: 12), dot: dot) }
    }
    #expect(record.highestTimestamp == Timestamp(rawValue: 12))
    try record.update(LWWRegister.self, dot: dot("a", 6)) {
      $0.assign([], timestamp: Timestamp(rawValue: 11), dot: $1)
    }
    #expect(record.highestTimestamp == Timestamp(rawValue: 12))
  }

  @Test func `of two that have seen the same, the one that holds less is after`() throws {
    let record = try Record().putting("v", none, dot("a", 1)).putting("w", none, dot("a", 2))
    let less = record.joined(Record(seen: VersionVector([dot("a", 1)])))
    #expect(less.values == ["w"] && less.context == record.context)
    #expect(less.compare(to: record) == .after && record.compare(to: less) == .before)
    #expect(record.joined(less) == less)
  }
}

extension Record {
  /// A tombstone that has seen so much.
  fileprivate init(seen: VersionVector) {
    self.init()
    for entry in seen.entries {
      try? delete(replacing: VersionVector(), dot: Dot(replica: entry.replica, counter: entry.counter))
    }
  }
}
