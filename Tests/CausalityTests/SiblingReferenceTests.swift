import Testing

@testable import RoostCausality

/// The reference cases of dotted version vector sets (`dvvset.erl` by Gonçalves; Preguiça, Baquero,
/// Almeida, Fonte, Gonçalves): the numbers of our dots differ, live values and order relations agree.
// Budget: 1 s
@Suite struct SiblingReferenceTests {
  let none = VersionVector()

  /// A record that has seen `seen` and holds `live`.
  private func record(_ seen: [Dot], _ live: [(Dot, String)] = []) -> Record {
    let siblings = live.map { Sibling(dot: $0.0, timestamp: .zero, value: Array($0.1.utf8)) }
    return Record(
      context: VersionVector(seen + live.map(\.0)),
      siblings: SiblingSet(function: DotFunction(sorted: siblings.sorted { $0.dot < $1.dot })), states: [])
  }

  /// The join, which must be the same from both sides, with itself, and with either side again.
  private func join(_ x: Record, _ y: Record) -> Record {
    let joined = x.joined(y)
    #expect(joined == y.joined(x))
    #expect(joined == joined.joined(joined))
    #expect(joined == joined.joined(x) && joined == joined.joined(y))
    return joined
  }

  // MARK: Writes

  @Test func `A0: a write to nothing`() throws {
    #expect(try Record().putting("v1", none, dot("a", 1)).values == ["v1"])
  }

  @Test func `A1: a write with the context of the value replaces it`() throws {
    let a0 = try Record().putting("v1", none, dot("a", 1))
    #expect(try a0.putting("v2", a0.context, dot("a", 2)).values == ["v2"])
  }

  @Test func `A2: so it does at another replica`() throws {
    let a0 = try Record().putting("v1", none, dot("a", 1))
    let a1 = try a0.putting("v2", a0.context, dot("a", 2))
    #expect(try a1.putting("v3", a1.context, dot("b", 1)).values == ["v3"])
  }

  @Test func `A3: a write with an older context leaves what it had not seen`() throws {
    let a0 = try Record().putting("v1", none, dot("a", 1))
    let a1 = try a0.putting("v2", a0.context, dot("a", 2))
    #expect(try a1.putting("v4", a0.context, dot("b", 1)).values == ["v2", "v4"])
  }

  @Test func `A4: also where the replica of both is the same`() throws {
    let a0 = try Record().putting("v1", none, dot("a", 1))
    let a1 = try a0.putting("v2", a0.context, dot("a", 2))
    #expect(try a1.putting("v5", a0.context, dot("a", 3)).values == ["v2", "v5"])
  }

  // MARK: Joins

  @Test func `a value that the other side has seen and dropped goes`() {
    let x = record([dot("a", 1)])
    let y = record([], [(dot("a", 1), "v1"), (dot("a", 2), "v2")])
    #expect(join(x, y).values == ["v2"])
  }

  @Test func `a value that the other side has not seen stays`() {
    #expect(join(record([dot("x", 1)]), record([], [(dot("a", 1), "v1")])).values == ["v1"])
  }

  @Test func `values of two replicas are siblings`() {
    let x = record([], [(dot("a", 1), "v1")])
    let y = record([], [(dot("b", 1), "v2")])
    #expect(join(x, y).values == ["v1", "v2"])
  }

  @Test func `the same value under two dots is two siblings`() {
    let x = record([dot("a", 2)], [(dot("b", 1), "v3")])
    let y = record([dot("a", 2)], [(dot("c", 1), "v3")])
    let joined = join(x, y)
    #expect(joined.values == ["v3", "v3"])
    #expect(joined.siblings.elements.map(\.dot) == [dot("b", 1), dot("c", 1)])
  }

  @Test func `joins of three associate`() {
    let states = [
      record([dot("a", 1)]), record([], [(dot("a", 1), "v1"), (dot("a", 2), "v2")]),
      record([dot("a", 2)], [(dot("b", 1), "v3")]), record([dot("a", 2)], [(dot("c", 1), "v3")]),
      record([dot("x", 1)]), record([], [(dot("b", 1), "v3")]),
    ]
    for x in states {
      for y in states {
        for z in states { #expect(x.joined(y).joined(z) == x.joined(y.joined(z))) }
      }
    }
  }

  // MARK: Order

  @Test func `the order relations`() throws {
    let a = try Record().putting("v1", none, dot("a", 1))
    let b = try a.putting("v2", a.context, dot("a", 2))
    let b2 = try a.putting("v2", a.context, dot("b", 1))
    let b3 = try a.putting("v2", a.context, dot("z", 1))
    let c = try a.putting("v3", b.context, dot("c", 1))
    let d = try b2.putting("v4", c.context, dot("d", 1))
    func isLess(_ x: Record, _ y: Record) -> Bool { x.compare(to: y) == .before }

    #expect(isLess(a, b))
    #expect(isLess(a, c))
    #expect(isLess(b, c))
    #expect(isLess(b, d))
    #expect(isLess(b2, d))
    #expect(isLess(a, d))

    #expect(!isLess(b2, c))
    #expect(!isLess(b, b2))
    #expect(!isLess(b2, b))
    #expect(!isLess(a, a))
    #expect(!isLess(c, c))
    #expect(!isLess(d, b2))
    #expect(!isLess(b3, d))

    #expect(b.compare(to: b2) == .concurrent && b3.compare(to: d) == .concurrent)
    #expect(a.compare(to: a) == .equal && c.compare(to: b) == .after)
    #expect(d.values == ["v2", "v4"], "b2's value was not in c's context")
  }

  // MARK: Explosion

  @Test func `a hundred interleaved writes of two clients leave two siblings`() throws {
    var record = Record()
    var contexts = [none, none]
    for number in 1...100 {
      try record.put("\(number)", contexts[number % 2], dot("a", UInt64(number)))
      contexts[number % 2] = record.context
      #expect(record.siblings.count <= 2)
    }
    #expect(record.values == ["100", "99"])
  }

  @Test func `five blind writes leave five siblings`() throws {
    var record = Record()
    for number in 1...5 { try record.put("\(number)", none, dot("a", UInt64(number))) }
    #expect(record.values == ["1", "2", "3", "4", "5"])
  }
}
