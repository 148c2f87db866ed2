import Testing

/// The checker of registers and the bank's, on known histories.
// Budget: 1 s
@Suite("The checkers of registers and of the bank")
struct RegisterCheckerTests {
  private func names(_ transactions: [MadeTransaction]) -> [String] {
    RegisterChecker.check(history(transactions)).map(\.name)
  }

  @Test("find nothing in good histories")
  func good() {
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1), .read("x", 1)], .ok, (0, 1), commit: 1),
        MadeTransaction("b", [.read("x", 1), .write("x", 2), .read("x", 2)], .ok, (2, 3), commit: 2),
        MadeTransaction("c", [.write("x", 3)], .info, (0, 9)),
        MadeTransaction("d", [.read("x", 3), .read("y", nil)], .ok, (5, 6), commit: 9),
      ]) == [])
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1)]), MadeTransaction("b", [.write("x", 2)]),
        MadeTransaction("c", [.read("x", 1)]), MadeTransaction("d", [.read("x", nil)]),
      ]) == [])
  }

  @Test("G1a, G1b, G1c, garbage and internal reads")
  func reads() {
    #expect(
      names([MadeTransaction("a", [.write("x", 1)], .fail), MadeTransaction("b", [.read("x", 1)])])
        == ["G1a"])
    #expect(
      names([MadeTransaction("a", [.write("x", 1), .write("x", 2)]), MadeTransaction("b", [.read("x", 1)])])
        == ["G1b"])
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1), .read("y", 1)]),
        MadeTransaction("b", [.write("y", 1), .read("x", 1)]),
      ]).contains("G1c"))
    #expect(names([MadeTransaction("a", [.read("x", 7)])]) == ["garbage read"])
    #expect(names([MadeTransaction("a", [.write("x", 7), .read("x", nil)])]) == ["internal"])
    #expect(
      names([MadeTransaction("a", [.read("x", nil), .read("x", 1)]), MadeTransaction("b", [.write("x", 1)])])
        == ["internal"])
  }

  @Test("G0: each replaces what the other wrote")
  func g0() {
    #expect(
      names([
        MadeTransaction("a", [.read("y", 2), .write("y", 1), .write("x", 1)]),
        MadeTransaction("b", [.read("x", 1), .write("x", 2), .write("y", 2)]),
      ]).contains("G0"))
  }

  @Test("G-single and a lost update")
  func lostUpdate() {
    let found = names([
      MadeTransaction("a", [.read("x", nil), .write("x", 1)]),
      MadeTransaction("b", [.read("x", nil), .write("x", 2)]),
    ])
    #expect(found.contains("lost update") && found.contains("G-single") == false)
    #expect(found.contains("G2"))
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1), .write("y", 1)]),
        MadeTransaction("b", [.read("x", 1), .read("y", nil)]),
      ]) == ["G-single"])
  }

  @Test("G2: write skew")
  func g2() {
    #expect(
      names([
        MadeTransaction("a", [.read("x", nil), .write("y", 1)]),
        MadeTransaction("b", [.read("y", nil), .write("x", 1)]),
      ]) == ["G2"])
  }

  @Test("versions in a circle")
  func circle() {
    #expect(
      names([
        MadeTransaction("a", [.read("x", 2), .write("x", 1)]),
        MadeTransaction("b", [.read("x", 1), .write("x", 2)]),
      ]).contains("cyclic versions"))
  }

  @Test("a stale read, and one of the future")
  func realTime() {
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.write("x", 2)], .ok, (2, 3)),
        MadeTransaction("c", [.read("x", 1)], .ok, (4, 5)),
      ]) == ["G-single-realtime"])
    #expect(
      names([
        MadeTransaction("a", [.read("x", 1)], .ok, (0, 1)),
        MadeTransaction("b", [.write("x", 1)], .ok, (2, 3)),
      ]) == ["G1c-realtime"])
  }

  @Test("commit timestamps against the order")
  func timestamps() {
    #expect(
      names([
        MadeTransaction("a", [.write("x", 1)], commit: 5), MadeTransaction("b", [.read("x", 1)], commit: 4),
      ]) == ["timestamp order"])
  }

  @Test("bank totals, missing accounts, overdrafts")
  func bank() {
    let bank = BankChecker(total: 30, accountCount: 3)
    #expect(bank.fault([10, 20, 0]) == nil)
    #expect(bank.fault([10, 21, 0])?.contains("total of 31") == true)
    #expect(bank.fault([10, 20]) != nil)
    #expect(bank.fault([-10, 40, 0])?.contains("-10") == true)
  }
}
