import RoostCausality
import Testing

/// The interleavings that break a careless version, as far as values show them; where the rule that prevents
/// one is kept by stores, the test shows what breaks without it and that it holds with it.
// Budget: 1 s
@Suite struct InterleavingTests {
  let none = VersionVector()

  @Test func `1: two stores with one identity lose a write, two identities lose none`() throws {
    let disk1 = try Record().putting("one", none, dot("n", 17))
    let disk2 = try Record().putting("two", none, dot("n", 17))
    #expect(disk1.joined(disk2).siblings.count == 1)

    let other = try Record().putting("two", none, dot("m", 17))
    #expect(disk1.joined(other).values == ["one", "two"])
  }

  @Test func `the same dot minted twice: joins no longer commute`() throws {
    let x = try Record().putting("x", none, dot("a", 1))
    let y = try Record().putting("y", none, dot("a", 1))
    #expect(x.joined(y) != y.joined(x))
    // Each side takes the other for itself, so no exchange will ever mend it.
    #expect(x.compare(to: y) == .equal)
  }

  @Test func `2: a replica that comes back under its old identity kills what it missed`() throws {
    let onC = try Record().putting("v", none, dot("a", 8))
    // a is filled again from b, which missed v, and writes.
    let returned = try Record().putting("w", none, dot("a", 20))
    #expect(onC.joined(returned).values == ["w"], "v was acknowledged, and is gone")

    let renewed = try Record().putting("w", none, dot("A", 1))
    #expect(onC.joined(renewed).values == ["v", "w"])
  }

  @Test func `2: so does a counter, whose total must not begin anew`() throws {
    var onC = Record()
    try onC.update(PNCounter.self, dot: dot("a", 8)) { try $0.increment(by: 10, dot: $1) }
    var returned = Record()
    try returned.update(PNCounter.self, dot: dot("a", 20)) { try $0.increment(by: 1, dot: $1) }
    #expect(try onC.joined(returned).state(as: PNCounter.self).value() == 1, "10 were acknowledged")

    var renewed = Record()
    try renewed.update(PNCounter.self, dot: dot("A", 1)) { try $0.increment(by: 1, dot: $1) }
    #expect(try onC.joined(renewed).state(as: PNCounter.self).value() == 11)
  }

  @Test func `3: a bare dot is not a state, a whole state is`() throws {
    let early = try Record().putting("v7", none, dot("a", 7))
    let onA15 = try early.putting("v15", none, dot("a", 15))
    let onA = try onA15.putting("v20", none, dot("a", 20))
    var onB = early

    // What a message with the new value alone would be: a context that claims a:15 and does not hold it.
    let bare = try Record().putting("v20", none, dot("a", 20))
    #expect(onA.joined(onB.joined(bare)).values == ["v20"], "v7 and v15 are gone where they were written")

    onB.join(onA)
    #expect(onA.joined(onB).values == ["v15", "v20", "v7"])
    #expect(onB == onA)
  }

  @Test func `4: a delete is seen by contexts`() throws {
    let onC = try Record().putting("v", none, dot("a", 1))
    var onA = onC
    try onA.delete(replacing: onA.context, dot: dot("a", 2))
    #expect(onA.isTombstone)
    #expect(onA.context != onC.context, "leaves over contexts would agree for ever")
    #expect(onC.compare(to: onA) == .before)
    #expect(onC.joined(onA).isTombstone && onA.joined(onC).isTombstone)
  }

  @Test func `4: so are the removals of sets, maps and flags`() throws {
    var record = Record()
    try record.update(ORSet.self, dot: dot("a", 1)) { $0.insert([1], dot: $1) }
    try record.update(EnableWinsFlag.self, dot: dot("a", 2)) { $0.enable(dot: $1) }
    try record.update(ORMap.self, dot: dot("a", 3)) { map, dot in
      try map.update([1], as: PNCounter.self) { try $0.increment(by: 1, dot: dot) }
    }
    let before = record
    try record.update(ORSet.self, dot: dot("a", 4)) { set, _ in set.remove([1]) }
    #expect(record.context[replica("a")] == 4 && record.states.count == 2)
    try record.update(EnableWinsFlag.self, dot: dot("a", 5)) { flag, _ in flag.disable() }
    #expect(record.context[replica("a")] == 5 && record.states.count == 1)
    try record.update(ORMap.self, dot: dot("a", 6)) { map, _ in map.remove([1]) }
    #expect(record.context[replica("a")] == 6 && record.isTombstone)
    #expect(before.joined(record) == record)
  }

  @Test func `8: what expired does not come back, and all agree`() throws {
    let old = try Record().putting("v0", none, dot("a", 1))
    var onA = old
    try onA.put(
      Array("v1".utf8), expiry: 1000, replacing: old.context, dot: dot("a", 2),
      timestamp: Timestamp(milliseconds: 1))
    var onB = onA
    var expired = onA.expire(at: 999)
    #expect(!expired && onA.values == ["v1"])
    expired = onA.expire(at: 1000)
    #expect(expired && onA.isTombstone && onA.context == onB.context)

    // b has not expired it yet: the exchange does.
    #expect(onA.compare(to: onB) == .after)
    #expect(onA.joined(onB) == onA && onB.joined(onA) == onA)
    expired = onB.expire(at: 5000)
    #expect(expired && onB == onA)

    // c was away, and holds what v1 had replaced.
    #expect(onA.joined(old).isTombstone && old.joined(onA).isTombstone)
  }

  @Test func `15: resolutions that are stored are siblings again, those on read are not`() throws {
    var onA = try Record().putting("x", none, dot("a", 1))
    var onB = try Record().putting("y", none, dot("b", 1))
    func exchange() {
      onA.join(onB)
      onB.join(onA)
    }
    exchange()
    func resolve(_ record: Record) -> String { record.values.joined(separator: "+") }

    #expect(resolve(onA) == "x+y" && resolve(onA) == resolve(onB))
    exchange()
    #expect(onA == onB && onA.siblings.count == 2, "reading has written nothing")

    for round in 2...4 as ClosedRange<UInt64> {
      try onA.put(resolve(onA), onA.context, dot("a", round))
      try onB.put(resolve(onB), onB.context, dot("b", round))
      exchange()
      #expect(onA.siblings.count == 2, "round \(round) ends where it began")
    }
  }

  @Test func `16: a context that knows more of a replica than it has written is refused`() throws {
    var record = try Record().putting("v", none, dot("a", 500))
    let borrowed = VersionVector([dot("a", 900)])
    let before = record
    let error = #expect(throws: CausalityError.self) {
      try record.put("w", borrowed, dot("a", 501))
    }
    #expect(error?.code == .dotAlreadySeen)
    #expect(throws: CausalityError.self) { try record.delete(replacing: borrowed, dot: dot("a", 501)) }
    #expect(record == before)

    // At another replica nothing shows it: so contexts are bound to their keys.
    #expect(try record.putting("w", borrowed, dot("b", 1)).values == ["w"])
    let x = CausalContext(binding: 1, vector: borrowed)
    #expect(x != CausalContext(binding: 2, vector: borrowed))
  }

  @Test func `a store that lost its count is told so by any record it wrote`() throws {
    var record = try Record().putting("v", none, dot("a", 9))
    let before = record
    for counter in [1, 9] as [UInt64] {
      #expect(throws: CausalityError.self) { try record.put("w", none, dot("a", counter)) }
      #expect(throws: CausalityError.self) {
        try record.update(ORSet.self, dot: dot("a", counter)) { $0.insert([1], dot: $1) }
      }
    }
    #expect(record == before)
  }
}
