import Testing

/// Every anomaly by its name, and good histories that look like them.
// Budget: 1 s
@Suite("The checker of list appends")
struct ListAppendCheckerTests {
  private func names(_ transactions: [MadeTransaction]) -> [String] {
    ListAppendChecker.check(history(transactions)).map(\.name)
  }

  @Test("finds nothing in a history that is serial")
  func serial() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1), .readList("x", [1])], .ok, (0, 1), commit: 10),
        MadeTransaction(
          "b", [.readList("x", [1]), .append("x", 2), .readList("x", [1, 2])], .ok, (2, 3), commit: 20),
        MadeTransaction("c", [.readList("x", [1, 2]), .readList("y", [])], .ok, (4, 5), commit: 20),
        MadeTransaction("d", [.append("y", 1)], .ok, (6, 7), commit: 31),
      ]) == [])
  }

  @Test("lets concurrent transactions take place in any order")
  func concurrent() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1), .append("y", 1)]),
        MadeTransaction("b", [.readList("x", []), .readList("y", [])]),
        MadeTransaction("c", [.readList("x", [1]), .readList("y", [1])]),
      ]) == [])
  }

  @Test("lets what nobody knows of have happened, late, or not")
  func info() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .info, (0, 1)),
        MadeTransaction("b", [.readList("x", [])], .ok, (2, 3)),
        MadeTransaction("c", [.readList("x", [1])], .ok, (4, 5)),
      ]) == [])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .info, (0, 1)),
        MadeTransaction("b", [.readList("x", [])], .ok, (4, 5)),
      ]) == [])
  }

  @Test("finds what nobody knows of that came and went")
  func infoGone() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .info, (0, 1)),
        MadeTransaction("b", [.readList("x", [1])], .ok, (2, 3)),
        MadeTransaction("c", [.readList("x", [])], .ok, (4, 5)),
      ]) == ["G-single-realtime"])
  }

  @Test("G0: writes cross")
  func g0() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1), .append("y", 1)]),
        MadeTransaction("b", [.append("x", 2), .append("y", 2)]),
        MadeTransaction("c", [.readList("x", [1, 2]), .readList("y", [2, 1])]),
      ]).contains("G0"))
  }

  @Test("G1a: what was aborted is read")
  func g1a() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .fail), MadeTransaction("b", [.readList("x", [1])]),
      ]) == ["G1a"])
  }

  @Test("G1b: what was overwritten within its transaction is read")
  func g1b() {
    let found = names([
      MadeTransaction("a", [.append("x", 1), .append("x", 2)]), MadeTransaction("b", [.readList("x", [1])]),
    ])
    #expect(found.contains("G1b"))
  }

  @Test("G1c: two read each other's writes")
  func g1c() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1), .readList("y", [1])]),
        MadeTransaction("b", [.append("y", 1), .readList("x", [1])]),
      ]).contains("G1c"))
  }

  @Test("G-single: a torn read")
  func gSingle() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1), .append("y", 1)]),
        MadeTransaction("b", [.readList("x", [1]), .readList("y", [])]),
        MadeTransaction("c", [.readList("y", [1])]),
      ]) == ["G-single"])
  }

  @Test("G2: write skew")
  func g2() {
    #expect(
      names([
        MadeTransaction("a", [.readList("x", []), .append("y", 1)]),
        MadeTransaction("b", [.readList("y", []), .append("x", 1)]),
        MadeTransaction("c", [.readList("x", [1]), .readList("y", [1])]),
      ]) == ["G2"])
  }

  @Test("a lost update")
  func lostUpdate() {
    #expect(
      names([
        MadeTransaction("a", [.readList("x", []), .append("x", 1)]),
        MadeTransaction("b", [.readList("x", []), .append("x", 2)]),
        MadeTransaction("c", [.readList("x", [1, 2])]),
      ]).contains("lost update"))
  }

  @Test("an acknowledged append that later reads do not have")
  func lostAppend() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.readList("x", [])], .ok, (2, 3)),
      ]) == ["G-single-realtime"])
  }

  @Test("real time: a stale read, crossed reads, writes in the wrong order")
  func realTime() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.readList("x", [])], .ok, (2, 3)),
        MadeTransaction("c", [.readList("x", [1])], .ok, (4, 5)),
      ]) == ["G-single-realtime"])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.append("x", 2)], .ok, (2, 3)),
        MadeTransaction("c", [.readList("x", [2, 1])], .ok, (4, 5)),
      ]) == ["G0-realtime"])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .ok, (3, 4)),
        MadeTransaction("b", [.readList("x", [1])], .ok, (0, 1)),
      ]) == ["G1c-realtime"])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], .ok, (1, 2)),
        MadeTransaction("b", [.append("y", 1)], .ok, (1, 2)),
        MadeTransaction("c", [.readList("x", []), .readList("y", [1])], .ok, (0, 9)),
        MadeTransaction("d", [.readList("x", [1]), .readList("y", [])], .ok, (0, 9)),
      ]) == ["G2"])
  }

  @Test("a value twice, a value of nobody, two orders, and a forgotten own append")
  func values() {
    #expect(
      names([MadeTransaction("a", [.append("x", 1)]), MadeTransaction("b", [.readList("x", [1, 1])])])
        .contains("duplicate elements"))
    #expect(names([MadeTransaction("a", [.readList("x", [7])])]) == ["garbage read"])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)]), MadeTransaction("b", [.append("x", 2)]),
        MadeTransaction("c", [.readList("x", [1, 2])]), MadeTransaction("d", [.readList("x", [2])]),
      ]).contains("incompatible order"))
    #expect(
      names([MadeTransaction("a", [.append("x", 1), .readList("x", [])])]).contains("internal"))
    #expect(
      names([
        MadeTransaction("a", [.readList("x", []), .readList("x", [1])]),
        MadeTransaction("b", [.append("x", 1)]),
      ]).contains("internal"))
  }

  @Test("commit timestamps against the order")
  func timestamps() {
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], commit: 20),
        MadeTransaction("b", [.readList("x", [1])], commit: 19),
      ]) == ["timestamp order"])
    #expect(
      names([
        MadeTransaction("a", [.append("x", 1)], commit: 20),
        MadeTransaction("b", [.readList("x", [])], commit: 20),
        MadeTransaction("c", [.readList("x", [1])], commit: 20),
      ]) == ["timestamp order"])
  }

  @Test("names the cycle")
  func text() {
    let found = ListAppendChecker.check(
      history([
        MadeTransaction("a", [.append("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.readList("x", [])], .ok, (2, 3)),
      ]))
    #expect(found.map(\.description) == ["G-single-realtime: b -rw x-> a -rt-> b"])
  }

  @Test("takes long chains without recursion")
  func long() {
    let chain = (0..<5_000).map {
      MadeTransaction("t\($0)", [.append("x", $0)], .ok, (2 * $0, 2 * $0 + 1))
    }
    let whole = MadeTransaction("r", [.readList("x", Array(0..<5_000))], .ok, (20_000, 20_001))
    #expect(names(chain + [whole]) == [])
  }

  @Test("is written as JSON lines")
  func json() {
    let made = history([
      MadeTransaction(
        "a", [.append("x", 1), .readList("y", [1, 2]), .write("r", 3), .read("r", 3)], commit: 7)
    ])
    #expect(
      made.jsonLines == """
        {"index":0,"type":"invoke","process":0,"f":"txn","id":"a","time":0,\
        "value":[["append","x",1],["r","y",null],["w","r",3],["r","r",null]]}
        {"index":1,"type":"ok","process":0,"f":"txn","id":"a","time":100,\
        "value":[["append","x",1],["r","y",[1,2]],["w","r",3],["r","r",3]],"commit":7}

        """)
  }
}
