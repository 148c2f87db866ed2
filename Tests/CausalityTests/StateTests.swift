import RoostCausality
import Testing

/// What each of the replicated data types decides when changes race.
// Budget: 1 s
@Suite struct StateTests {
  // MARK: Registers

  @Test func `the last writer wins, and the greater dot where times are the same`() throws {
    var x = Causal<LWWRegister>()
    var y = x
    try x.update(dot: dot("a", 1)) { $0.assign([1], timestamp: Timestamp(rawValue: 5), dot: $1) }
    try y.update(dot: dot("b", 1)) { $0.assign([2], timestamp: Timestamp(rawValue: 4), dot: $1) }
    x.join(y)
    #expect(x.state.value == [1] && x.state.writes.count == 2)

    try y.update(dot: dot("b", 2)) { $0.assign([3], timestamp: Timestamp(rawValue: 5), dot: $1) }
    x.join(y)
    #expect(x.state.value == [3], "b is the greater replica")
  }

  @Test func `a register's write replaces what it saw, whatever the clock says`() throws {
    var x = Causal<LWWRegister>()
    try x.update(dot: dot("a", 1)) { $0.assign([1], timestamp: Timestamp(rawValue: 5), dot: $1) }
    try x.update(dot: dot("b", 1)) { $0.assign([2], timestamp: Timestamp(rawValue: 4), dot: $1) }
    #expect(x.state.value == [2] && x.state.writes.count == 1)
    try x.update(dot: dot("b", 2)) { register, _ in register.clear() }
    #expect(x.state.value == nil)
  }

  /// The winner of one pair may itself be replaced: who pruned the loser early would differ from who did not.
  @Test func `joins of registers do not prune by time`() throws {
    var x = Causal<LWWRegister>()
    var y = x
    try x.update(dot: dot("a", 1)) { $0.assign([1], timestamp: Timestamp(rawValue: 5), dot: $1) }
    try y.update(dot: dot("b", 1)) { $0.assign([2], timestamp: Timestamp(rawValue: 4), dot: $1) }
    var cleared = x
    try cleared.update(dot: dot("a", 2)) { register, _ in register.clear() }
    var first = x
    first.join(y)
    first.join(cleared)
    var last = x
    last.join(cleared)
    last.join(y)
    #expect(first == last && first.state.value == [2])
  }

  // MARK: Flags

  @Test func `enabling wins over a disabling that had not seen it`() throws {
    var x = Causal<EnableWinsFlag>()
    try x.update(dot: dot("a", 1)) { $0.enable(dot: $1) }
    var y = x
    try x.update(dot: dot("a", 2)) { flag, _ in flag.disable() }
    #expect(!x.state.isEnabled)
    var seen = y
    seen.join(x)
    #expect(!seen.state.isEnabled, "the disabling had seen the enabling")
    try y.update(dot: dot("b", 1)) { $0.enable(dot: $1) }
    x.join(y)
    #expect(x.state.isEnabled && x.state.dots == [dot("b", 1)])
  }

  // MARK: Sets

  @Test func `inserting wins over a removal that had not seen it`() throws {
    var x = Causal<ORSet>()
    try x.update(dot: dot("a", 1)) { $0.insert([1], dot: $1) }
    try x.update(dot: dot("a", 2)) { $0.insert([2], dot: $1) }
    var y = x
    let was = try x.update(dot: dot("a", 3)) { set, _ in set.remove([1]) }
    let again = try x.update(dot: dot("a", 4)) { set, _ in set.remove([1]) }
    #expect(was && !again && x.state.values == [[2]])
    try y.update(dot: dot("b", 1)) { $0.insert([1], dot: $1) }
    x.join(y)
    #expect(x.state.values == [[1], [2]])
    #expect(x.state.contains([1]) && !x.state.contains([3]) && x.state.count == 2)
  }

  @Test func `elements are in order, prefixes first`() throws {
    var set = Causal<ORSet>()
    let shuffled: [[UInt8]] = [[2], [1, 0], [], [255], [1], [1, 0, 0], [0]]
    for (number, element) in shuffled.enumerated() {
      try set.update(dot: dot("a", UInt64(number + 1))) { $0.insert(element, dot: $1) }
    }
    #expect(set.state.values == [[], [0], [1], [1, 0], [1, 0, 0], [2], [255]])
  }

  @Test func `a write of several elements has one dot, and each goes by itself`() throws {
    var x = Causal<ORSet>()
    try x.update(dot: dot("a", 1)) { set, dot in
      set.insert([1], dot: dot)
      set.insert([2], dot: dot)
    }
    var y = x
    try y.update(dot: dot("b", 1)) { set, _ in set.remove([1]) }
    #expect(x.compare(to: y) == .before)
    x.join(y)
    #expect(x.state.values == [[2]] && x == y)
  }

  // MARK: Maps

  @Test func `a field removed in a race with its change stays with the change`() throws {
    var x = Causal<ORMap>()
    let name = Array("likes".utf8)
    try x.update(dot: dot("a", 1)) { map, dot in
      map.update(name, as: ORSet.self) { $0.insert([1], dot: dot) }
    }
    var y = x
    try x.update(dot: dot("a", 2)) { map, _ in map.remove(name) }
    try y.update(dot: dot("b", 1)) { map, dot in
      map.update(name, as: ORSet.self) { $0.insert([2], dot: dot) }
    }
    x.join(y)
    #expect(x.state.field(name, as: ORSet.self).values == [[2]])
  }

  @Test func `fields of one name and two kinds are both there`() throws {
    var x = Causal<ORMap>()
    var y = x
    try x.update(dot: dot("a", 1)) { map, dot in
      map.update([1], as: EnableWinsFlag.self) { $0.enable(dot: dot) }
    }
    try y.update(dot: dot("b", 1)) { map, dot in
      try map.update([1], as: GCounter.self) { try $0.increment(by: 2, dot: dot) }
    }
    x.join(y)
    #expect(x.state.fields.map(\.kind) == [.gCounter, .flag])
    #expect(x.state.field([1], as: EnableWinsFlag.self).isEnabled)
    #expect(try x.state.field([1], as: GCounter.self).value() == 2)
    #expect(x.state.field([1], as: ORSet.self).isEmpty)
    let one = try x.update(dot: dot("a", 2)) { map, _ in map.remove([1], kind: .flag) }
    #expect(one && x.state.fields.map(\.kind) == [.gCounter])
    let none = try x.update(dot: dot("a", 3)) { map, _ in map.remove([2]) }
    #expect(!none)
  }

  @Test func `a field that was emptied is not there`() throws {
    var x = Causal<ORMap>()
    try x.update(dot: dot("a", 1)) { map, dot in
      map.update([1], as: ORSet.self) { $0.insert([1], dot: dot) }
    }
    try x.update(dot: dot("a", 2)) { map, _ in
      map.update([1], as: ORSet.self) { _ = $0.remove([1]) }
      map.update([2], as: ORSet.self) { _ = $0.remove([1]) }
    }
    #expect(x.state.isEmpty)
  }

  @Test func `what throws has changed nothing`() throws {
    struct Refused: Error {}
    var x = Causal<ORMap>()
    try x.update(dot: dot("a", 1)) { map, dot in
      map.update([1], as: ORSet.self) { $0.insert([1], dot: dot) }
    }
    let before = x
    #expect(throws: Refused.self) {
      try x.update(dot: dot("a", 2)) { map, dot in
        map.remove([1])
        throw Refused()
      }
    }
    #expect(x == before)
    #expect(throws: CausalityError.self) { try x.update(dot: dot("a", 1)) { map, _ in map.removeAll() } }
    #expect(x == before)
  }
}

/// The order of states that have seen the same writes. Removals have dots, so that honest histories do not
/// meet this; the order must hold all the same, or a join would be passed over.
// Budget: 1 s
@Suite struct StateOrderTests {
  /// One write, of which `less` makes fewer parts than `full`.
  private func expectOrder<State: MergeableState>(
    _ type: State.Type, _ full: (inout State, Dot) throws -> Void,
    less: (inout State, Dot) throws -> Void = { _, _ in }, _ sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    var x = Causal<State>()
    var y = x
    try x.update(dot: dot("a", 1), full)
    try y.update(dot: dot("a", 1), less)
    #expect(x.compare(to: y) == .before && y.compare(to: x) == .after, sourceLocation: sourceLocation)
    x.join(y)
    #expect(x == y, sourceLocation: sourceLocation)

    var record = Record()
    var other = record
    try record.update(type, dot: dot("a", 1), full)
    try other.update(type, dot: dot("a", 1), less)
    #expect(record.compare(to: other) == .before, sourceLocation: sourceLocation)
    #expect(other.compare(to: record) == .after, sourceLocation: sourceLocation)
    #expect(record.joined(other) == other && other.joined(record) == other, sourceLocation: sourceLocation)
  }

  @Test func `of two that have seen the same, the one that holds less is after`() throws {
    try expectOrder(GCounter.self, { try $0.increment(by: 1, dot: $1) })
    try expectOrder(PNCounter.self, { try $0.increment(by: 1, dot: $1) })
    try expectOrder(LWWRegister.self, { $0.assign([1], timestamp: .zero, dot: $1) })
    try expectOrder(EnableWinsFlag.self, { $0.enable(dot: $1) })
    try expectOrder(ORSet.self, { $0.insert([1], dot: $1) })
    try expectOrder(ORMap.self, { map, dot in map.update([1], as: ORSet.self) { $0.insert([1], dot: dot) } })
  }

  @Test func `so it is by elements and fields`() throws {
    for kept in [[1], [2], [3]] as [[UInt8]] {
      try expectOrder(
        ORSet.self,
        { set, dot in
          for element in [[1], [2], [3]] as [[UInt8]] { set.insert(element, dot: dot) }
        },
        less: { $0.insert(kept, dot: $1) })
      try expectOrder(
        ORMap.self,
        { map, dot in
          for name in [[1], [2], [3]] as [[UInt8]] {
            map.update(name, as: EnableWinsFlag.self) { $0.enable(dot: dot) }
          }
        },
        less: { map, dot in map.update(kept, as: EnableWinsFlag.self) { $0.enable(dot: dot) } })
    }
  }
}

/// Counters: races with deletes, and the ends of the numbers.
// Budget: 1 s
@Suite struct CounterTests {
  private func counted(_ amount: Int64, _ dot: Dot) throws -> Causal<PNCounter> {
    var counter = Causal<PNCounter>()
    try counter.update(dot: dot) { try $0.increment(by: amount, dot: $1) }
    return counter
  }

  private func expectOverflow(_ body: () throws -> Void) {
    let error = #expect(throws: CausalityError.self) { try body() }
    #expect(error?.code == .overflow)
  }

  @Test func `counts of replicas add up, each counted once`() throws {
    var x = try counted(5, dot("a", 1))
    var y = try counted(-7, dot("b", 1))
    x.join(y)
    y.join(x)
    y.join(x)
    try x.update(dot: dot("a", 2)) { try $0.increment(by: 1, dot: $1) }
    y.join(x)
    #expect(try y.state.value() == -1)
    #expect(y.state.entries.map(\.positive) == [6, 0] && y.state.entries.map(\.negative) == [0, 7])
  }

  @Test func `a delete that races an increment leaves that entry's whole total`() throws {
    var record = Record()
    try record.update(PNCounter.self, dot: dot("a", 1)) { try $0.increment(by: 10, dot: $1) }
    var other = record
    try other.update(PNCounter.self, dot: dot("b", 1)) { try $0.increment(by: 100, dot: $1) }
    record.join(other)

    try other.update(PNCounter.self, dot: dot("b", 2)) { try $0.increment(by: 1, dot: $1) }
    try record.delete(replacing: record.context, dot: dot("a", 2))
    record.join(other)
    #expect(try record.state(as: PNCounter.self).value() == 101, "b's 100 and 1; a's 10 are deleted")

    // After a delete, an entry begins anew.
    try record.delete(replacing: record.context, dot: dot("a", 3))
    try record.update(PNCounter.self, dot: dot("a", 4)) { try $0.increment(by: 3, dot: $1) }
    record.join(other)
    #expect(try record.state(as: PNCounter.self).value() == 3)
  }

  @Test func `counting by nothing makes a counter`() throws {
    let zero = try counted(0, dot("a", 1))
    #expect(try !zero.state.isEmpty && zero.state.value() == 0)
    #expect(try PNCounter().value() == 0 && GCounter().value() == 0)
  }

  @Test func `a counter reaches both ends of its numbers`() throws {
    for end in [Int64.min, .max] {
      var x = try counted(end, dot("a", 1))
      #expect(try x.state.value() == end)
      let before = x
      expectOverflow { try x.update(dot: dot("a", 2)) { try $0.increment(by: end.signum(), dot: $1) } }
      #expect(x == before)
      try x.update(dot: dot("a", 2)) { try $0.increment(by: -end.signum(), dot: $1) }
      #expect(try x.state.value() == end - end.signum())
    }
  }

  @Test func `an overflow by joins throws on reads, never in the join, and can be counted back`() throws {
    var x = try counted(.max, dot("a", 1))
    x.join(try counted(2, dot("b", 1)))
    expectOverflow { _ = try x.state.value() }
    expectOverflow { try x.update(dot: dot("a", 2)) { try $0.increment(by: 1, dot: $1) } }
    try x.update(dot: dot("a", 2)) { try $0.increment(by: -2, dot: $1) }
    #expect(try x.state.value() == .max)

    var y = try counted(.min, dot("a", 1))
    y.join(try counted(-2, dot("b", 1)))
    expectOverflow { _ = try y.state.value() }
    expectOverflow { try y.update(dot: dot("a", 2)) { try $0.increment(by: -1, dot: $1) } }
    try y.update(dot: dot("a", 2)) { try $0.increment(by: 2, dot: $1) }
    #expect(try y.state.value() == .min)
  }

  @Test func `an entry's own total does not overflow`() throws {
    var x = try counted(.max, dot("a", 1))
    for counter in stride(from: 2, to: 6, by: 2) as StrideTo<UInt64> {
      try? x.update(dot: dot("a", counter)) { try $0.increment(by: -.max, dot: $1) }
      try? x.update(dot: dot("a", counter + 1)) { try $0.increment(by: .max, dot: $1) }
    }
    let entry = try #require(x.state.entries.first)
    #expect(entry.positive == 2 * UInt64(Int64.max))
    let before = x
    expectOverflow { try x.update(dot: dot("a", 9)) { try $0.increment(by: .max, dot: $1) } }
    #expect(x == before)
  }

  @Test func `a grow-only counter reaches its end`() throws {
    var x = Causal<GCounter>()
    try x.update(dot: dot("a", 1)) { try $0.increment(by: .max, dot: $1) }
    #expect(try x.state.value() == .max)
    expectOverflow { try x.update(dot: dot("b", 1)) { try $0.increment(by: 1, dot: $1) } }
    try x.update(dot: dot("a", 2)) { try $0.increment(by: 0, dot: $1) }
    var y = Causal<GCounter>()
    try y.update(dot: dot("b", 1)) { try $0.increment(by: 1, dot: $1) }
    y.join(x)
    expectOverflow { _ = try y.state.value() }
    #expect(y.state.entries.map(\.total) == [.max, 1])
  }
}
