import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostSimulation

/// What the simulator's checks find, and what they leave alone; and the order of its events.
// Budget: 1 s
@Suite struct CallHistoryTests {
  private let history = CallHistory()

  private func context(_ seen: Set<Int>) -> SimulatedContext {
    SimulatedContext(token: CausalContext(binding: 0, vector: VersionVector()), seen: seen)
  }

  @discardableResult
  private func call(
    _ asked: AskedCall, _ outcome: CallOutcome = .acknowledged, isSynced: Bool = true
  ) -> Int {
    let number = history.begin(asked, node: 0, isSynced: isSynced, at: 1)
    history.end(number, outcome, at: 2)
    return number
  }

  private func record(_ values: String...) throws -> Record { try record(values) }

  private func record(_ values: [String]) throws -> Record {
    var record = Record()
    for (index, value) in values.enumerated() {
      try record.put(
        Array(value.utf8), replacing: VersionVector(),
        dot: Dot(replica: ReplicaID(rawValue: 1), counter: UInt64(index) + 1),
        timestamp: Timestamp(milliseconds: UInt64(index) + 1, logical: 0))
    }
    return record
  }

  private func problem(_ record: Record?) -> String? {
    let found = history.violations(of: "k", record)
    return found.first.map { String($0.prefix { $0 != "\n" }) }
  }

  @Test func `a promised value that nobody replaced must be there`() throws {
    call(.put("k", "a", nil))
    #expect(problem(try record("a")) == nil)
    #expect(problem(nil) == "k: the acknowledged, synced value a (#0) is lost")
  }

  @Test func `what was not synced, or not acknowledged, may be there or not`() throws {
    call(.put("k", "a", nil), isSynced: false)
    call(.put("k", "b", nil), .inDoubt("deadline"))
    call(.put("k", "c", nil), .open)
    for values in [try record(), try record("a", "b", "c"), try record("b")] {
      #expect(problem(values) == nil)
    }
  }

  @Test func `what a write had seen may go, and goes for good where that write is promised`() throws {
    let first = call(.put("k", "a", nil))
    call(.put("k", "b", context([first])), .inDoubt("deadline"))
    #expect(problem(try record("a")) == nil)
    #expect(problem(try record("b")) == nil)
    call(.delete("k", context([first])))
    #expect(problem(try record("a")) == "k: the value a (#0) is back: it was replaced or deleted")
    #expect(problem(try record()) == nil)
  }

  @Test func `what was refused replaces nothing, and is not there`() throws {
    let first = call(.put("k", "a", nil))
    call(.put("k", "b", context([first])), .refused("unreachable"))
    #expect(problem(try record()) == "k: the acknowledged, synced value a (#0) is lost")
    #expect(problem(try record("a", "b")) == "k: the value b is there, and its write was refused")
    #expect(problem(try record("a", "z")) == "k: nobody wrote the value z")
  }

  @Test func `a counter lies between what is certain and all that may be`() throws {
    call(.increment("k", 5))
    call(.increment("k", -2), .inDoubt("deadline"))
    call(.increment("k", 4), isSynced: false)
    call(.increment("k", 100), .refused("busy"))
    for (sum, isRight) in [(2, false), (3, true), (5, true), (9, true), (10, false)] as [(Int64, Bool)] {
      var record = Record()
      let dot = Dot(replica: ReplicaID(rawValue: 1), counter: 1)
      try record.update(PNCounter.self, dot: dot) { try $0.increment(by: sum, dot: $1) }
      #expect((problem(record) == nil) == isRight, "\(sum)")
    }
  }

  @Test func `an element stays unless it was removed`() throws {
    call(.add("k", "a"))
    call(.add("k", "b"))
    call(.remove("k", "b"), .inDoubt("deadline"))
    #expect(problem(nil) == "k: the acknowledged, synced element a is lost")
    var record = Record()
    try record.update(ORSet.self, dot: Dot(replica: ReplicaID(rawValue: 1), counter: 1)) { set, dot in
      set.insert(Array("a".utf8), dot: dot)
    }
    #expect(problem(record) == nil)
    try record.update(ORSet.self, dot: Dot(replica: ReplicaID(rawValue: 1), counter: 2)) { set, dot in
      set.insert(Array("z".utf8), dot: dot)
    }
    #expect(problem(record) == "k: nobody added the element z")
  }

  // MARK: - Reads

  private func read(_ key: String, _ values: String...) throws {
    let number = history.begin(.get(key), node: 1, isSynced: false, at: 3)
    let found = KeyContent(try record(values))
    history.end(number, .acknowledged, found: found, at: 4)
  }

  private func readProblems() -> [String] {
    history.readViolations(of: "k").map { String($0.prefix { $0 != "\n" }) }
  }

  @Test func `a read that misses what was acknowledged before it is told of`() throws {
    history.checksReads = true
    try read("k")
    let first = call(.put("k", "a", nil))
    try read("k", "a")
    #expect(readProblems() == [])
    try read("k")
    #expect(readProblems().count == 1)
    #expect(readProblems()[0].hasSuffix("the acknowledged, synced value a (#1) is lost"))
    call(.delete("k", context([first])))
    try read("k", "a")
    #expect(readProblems().count == 2)
    #expect(readProblems()[1].hasSuffix("the value a (#1) is back: it was replaced or deleted"))
    history.checksReads = false
    #expect(readProblems() == [])
  }

  @Test func `a read may miss what is under way, what was not synced, and what a disk has lost`() throws {
    history.checksReads = true
    let open = history.begin(.put("k", "a", nil), node: 0, isSynced: true, at: 1)
    try read("k")
    try read("k", "a")
    history.end(open, .acknowledged, at: 5)
    call(.put("k", "b", nil), isSynced: false)
    try read("k", "a")
    #expect(readProblems() == [])
    history.noteLoss()
    try read("k")
    #expect(readProblems() == [])
    call(.put("k", "c", nil))
    try read("k")
    #expect(readProblems().count == 1)
    #expect(readProblems()[0].hasSuffix("the acknowledged, synced value c (#6) is lost"))
  }

  @Test func `a read sees nothing before it was asked for`() throws {
    history.checksReads = true
    try read("k", "a")
    call(.put("k", "a", nil))
    #expect(readProblems().count == 1)
    #expect(readProblems()[0].hasSuffix("the value a is there, and its write was refused"))
  }

  // MARK: - Events

  @Test func `events come in order of time, and then of planning`() throws {
    try withSeeds("CallHistoryTests", count: 20) { _, random in
      var queue = EventQueue()
      let label = EventLabel(kind: .step, from: 0, to: 0)
      var left = 0
      var last: (time: UInt64, number: UInt64) = (0, 0)
      for _ in 0..<500 {
        if left == 0 || random.next() % 5 < 3 {
          queue.plan(at: last.time + random.next() % 10, label) {}
          left += 1
        } else {
          let next = queue.next()
          let event = try #require(next)
          left -= 1
          // One that was planned for the present comes behind those that were there.
          let isLater = last < (event.time, event.number)
          try #require(isLater)
          last = (event.time, event.number)
        }
      }
    }
  }
}
