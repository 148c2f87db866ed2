import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCausality

/// Increments with an id: tried anywhere, any number of times, each counts once.
// Budget: 3 s
@Suite struct OperationTests {
  private func id(_ number: UInt64, begun milliseconds: UInt64 = 0) -> OperationID {
    OperationID(high: milliseconds << 16, low: number)
  }

  private func counted(
    on counter: Causal<PNCounter> = Causal(), _ amount: Int64, _ number: UInt64, _ dot: Dot
  ) throws -> Causal<PNCounter> {
    var counter = counter
    try counter.update(dot: dot) { try $0.increment(by: amount, operation: id(number), dot: $1) }
    return counter
  }

  /// Forgets all ids, for the dot's replica.
  @discardableResult
  private func fold(_ counter: inout Causal<PNCounter>, _ dot: Dot) throws -> Int {
    try counter.update(dot: dot) { counter, dot in counter.fold(before: 1, dot: dot) }
  }

  private func joined(_ counters: Causal<PNCounter>...) -> Causal<PNCounter> {
    var all = Causal<PNCounter>()
    for counter in counters { all.join(counter) }
    return all
  }

  @Test func `an increment that is tried again at the same replica counts once`() throws {
    var counter = try counted(5, 1, dot("a", 1))
    let again = try counter.update(dot: dot("a", 2)) {
      try $0.increment(by: 5, operation: id(1), dot: $1)
    }
    #expect(!again)
    #expect(try counter.state.value() == 5)
    #expect(try counted(on: counter, 7, 2, dot("a", 3)).state.value() == 12)
  }

  @Test func `attempts at two replicas count once where they meet`() throws {
    let x = try counted(5, 1, dot("a", 1))
    let y = try counted(5, 1, dot("b", 1))
    #expect(try x.state.value() == 5 && y.state.value() == 5)
    let all = joined(x, y)
    #expect(try all.state.value() == 5)
    #expect(all == joined(y, x) && all.state.operations.count == 2)
    // Of two amounts under one id, which nobody should send, all replicas take the same.
    let other = try counted(9, 1, dot("c", 1))
    #expect(try joined(other, x).state.value() == 5 && joined(x, other).state.value() == 5)
  }

  @Test func `who took the first attempt forgets, once it knows of all, and nobody else`() throws {
    let x = try counted(5, 1, dot("a", 1))
    let y = try counted(5, 1, dot("b", 1))
    var all = joined(x, y)
    #expect(all.state.foldableCount(of: replica("b"), before: 1) == 0)
    #expect(try fold(&all, dot("b", 2)) == 0)
    #expect(all.state.foldableCount(of: replica("a"), before: 0) == 0, "it is too young")
    #expect(all.state.foldableCount(of: replica("a"), before: 1) == 1)
    #expect(try fold(&all, dot("a", 2)) == 1)
    #expect(try all.state.operations.isEmpty && all.state.value() == 5)
    // What is late changes nothing.
    for late in [x, y, joined(x, y)] {
      #expect(joined(late, all) == all && joined(all, late) == all)
    }
  }

  /// What the rule is for: forgotten before all were heard, one id counts twice, for ever.
  @Test func `forgotten before all were heard an id counts twice`() throws {
    var x = try counted(5, 1, dot("a", 1))
    var y = try counted(5, 1, dot("b", 1))
    try fold(&x, dot("a", 2))
    #expect(try joined(x, y).state.value() == 10)
    try fold(&y, dot("b", 2))
    #expect(try joined(x, y).state.value() == 10)
  }

  @Test func `a delete takes the attempts that it has seen`() throws {
    let x = try counted(5, 1, dot("a", 1))
    let y = try counted(5, 1, dot("b", 1))
    var deleted = x
    try deleted.update(dot: dot("a", 2)) { counter, _ in counter = PNCounter() }
    #expect(deleted.state.isEmpty)
    #expect(joined(deleted, x).state.isEmpty)
    #expect(try joined(deleted, y).state.value() == 5)
  }

  @Test func `a full counter refuses, and a sum that does not fit`() throws {
    var full = Causal<PNCounter>()
    let limit = UInt64(PNCounter.operationLimit)
    try full.update(dot: dot("a", limit)) { counter, _ in
      let operations = (1...limit).map { PNCounter.Operation(dot: dot("a", $0), id: id($0), amount: 1) }
      counter = PNCounter(function: DotFunction(), remembered: DotFunction(sorted: operations))
    }
    let one = limit + 1
    let error = #expect(throws: CausalityError.self) { try counted(on: full, 1, one, dot("a", one)) }
    #expect(error?.code == .tooManyOperations)
    // One that it remembers is still recognised.
    #expect(try counted(on: full, 1, 1, dot("a", one)).state == full.state)
    try full.update(dot: dot("a", one)) { counter, dot in
      #expect(counter.fold(before: 1, dot: dot) == PNCounter.operationLimit)
      let isCounted = try counter.increment(by: 1, operation: id(one), dot: dot)
      #expect(isCounted)
    }
    #expect(try full.state.value() == Int64(one) && full.state.operations.count == 1)

    let high = try counted(.max, 1, dot("a", 1))
    let overflow = #expect(throws: CausalityError.self) { try counted(on: high, 1, 2, dot("a", 2)) }
    #expect(overflow?.code == .overflow)
    #expect(try counted(on: high, -1, 2, dot("a", 2)).state.value() == .max - 1)
  }

  /// An entry has room for so much: what would not fit stays remembered, and counted.
  @Test func `what an entry has no room for is not forgotten`() throws {
    var counter = Causal<PNCounter>()
    for (number, amount) in [Int64.max, .min, .max, .min, .max].enumerated() {
      counter = try counted(on: counter, amount, UInt64(number), dot("a", UInt64(number) + 1))
    }
    let value = try counter.state.value()
    try fold(&counter, dot("a", 9))
    #expect(try counter.state.value() == value)
    #expect(!counter.state.operations.isEmpty)
  }

  @Test func `ids are text, and of an age`() throws {
    var generator = SplitMix64(seed: 1)
    let id = OperationID(milliseconds: 1_700_000_000_000, using: &generator)
    #expect(id.milliseconds == 1_700_000_000_000)
    #expect(OperationID(id.description) == id && id.description.count == 32)
    #expect(OperationID(id.description.uppercased()) == id)
    #expect(id < OperationID(milliseconds: 1_700_000_000_001, using: &generator))
    let zeros = String(repeating: "0", count: 31)
    for bad in ["", "0", zeros, "g" + zeros, "+" + zeros, "\(id)0"] { #expect(OperationID(bad) == nil) }
  }

  /// Replicas that try, try again, tell each other late and twice, and forget by the rule: an attempt is
  /// taken while its id is younger than the window; an older id is forgotten with all states at hand.
  @Test func `each id counts once, whoever heard what and when`() throws {
    try withSeeds("OperationTests", count: TestSize.of(quick: 500, full: 5_000)) { _, random in
      var run = Run(random)
      for _ in 0..<60 { try run.step() }
      random = run.random
    }
  }

  private struct Run {
    static let window: UInt64 = 12
    var random: SplitMix64
    private var now: UInt64 = 1
    private var replicas = [Causal<PNCounter>](repeating: Causal(), count: 3)
    private var mints: [Mint]
    private var past: [Causal<PNCounter>] = []
    private var begun: [(id: OperationID, amount: Int64)] = []
    private var expected: Int64 = 0

    init(_ random: SplitMix64) {
      self.random = random
      mints = (1...3).map { Mint(replica: ReplicaID(rawValue: $0 * 1_000)) }
    }

    mutating func step() throws {
      now += 1
      let here = random.below(3)
      switch random.below(12) {
      case 0..<3:
        let operation = OperationID(high: now << 16, low: UInt64(begun.count))
        let amount = Int64(random.below(200)) - 100
        begun.append((operation, amount))
        expected += amount
        try attempt(operation, amount, at: here)
      case 3..<6:
        let young = begun.filter { now < $0.id.milliseconds + Self.window }
        guard let again = young.randomElement(using: &random) else { break }
        try attempt(again.id, again.amount, at: here)
      case 6:
        expected += 3
        try replicas[here].update(dot: mints[here].dot(&random)) { try $0.increment(by: 3, dot: $1) }
      case 7..<9: replicas[here].join(random.pick(replicas))
      case 9: if let late = past.randomElement(using: &random) { replicas[here].join(late) }
      case 10: mints[here] = Mint(replica: ReplicaID(rawValue: random.next()))
      default:
        for other in replicas { replicas[here].join(other) }
        let forgotten = now - min(now, Self.window)
        try replicas[here].update(dot: mints[here].dot(&random)) { counter, dot in
          _ = counter.fold(before: forgotten, dot: dot)
        }
        for id in replicas[here].state.operations.map(\.id) where id.milliseconds < forgotten {
          let left = replicas[here].state.foldableCount(of: mints[here].replica, before: forgotten)
          try check(left == 0, "\(id) is left")
        }
      }
      past.append(replicas[here])
      var all = Causal<PNCounter>()
      for replica in replicas { all.join(replica) }
      let value = try all.state.value()
      try check(value == expected, "all together say \(value), not \(expected)")
    }

    private mutating func attempt(_ id: OperationID, _ amount: Int64, at here: Int) throws {
      try replicas[here].update(dot: mints[here].dot(&random)) { counter, dot in
        _ = try counter.increment(by: amount, operation: id, dot: dot)
      }
    }
  }
}
