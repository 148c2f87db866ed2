import RoostEnvironment
import TestSupport

@testable import RoostCausality

/// A state that can be told to change at random.
protocol RandomlyChanged: DotStore {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws
  /// As a record of its own, for its encoding.
  func record(_ context: VersionVector) -> Record
}

extension RandomlyChanged where Self: MergeableState {
  func record(_ context: VersionVector) -> Record {
    Record(context: context, siblings: SiblingSet(), states: isEmpty ? [] : [recordState])
  }
}

extension Causal: Lattice where State: RandomlyChanged {
  var encoding: [UInt8] { state.record(context).encoded }

  mutating func change(_ mint: inout Mint, known: [Causal], _ random: inout SplitMix64) throws {
    let timestamp = mint.timestamp(&random)
    // What a client read, somewhere, and removes here.
    let read = random.chance(1, of: 6) ? random.pick(known).context : nil
    try update(dot: mint.dot(&random)) { state, dot in
      if let read { state.remove(seenBy: read) } else { try state.change(dot, timestamp, &random) }
    }
  }
}

/// Few, so that replicas meet on the same ones; of lengths that share prefixes.
func randomName(_ random: inout SplitMix64) -> [UInt8] {
  random.pick([[], [0], [0, 0], Array("a".utf8), Array("ab".utf8), [0xFF]])
}

extension GCounter: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    if random.chance(1, of: 8) {
      self = GCounter()
    } else {
      try increment(by: UInt64(random.below(300)), dot: dot)
    }
  }
}

extension PNCounter: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    switch random.below(8) {
    case 0: self = PNCounter()
    case 1..<4:
      // Few ids, so that replicas try the same ones; the amount is the id's.
      let number = UInt64(random.below(6))
      _ = try increment(
        by: Int64(number) * 7 - 20, operation: OperationID(high: number << 16, low: number), dot: dot)
    case 4: fold(before: UInt64(random.below(8)), dot: dot)
    default: try increment(by: Int64(random.below(300)) - 150, dot: dot)
    }
  }
}

extension LWWRegister: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    if random.chance(1, of: 8) { clear() } else { assign(random.bytes(2), timestamp: timestamp, dot: dot) }
  }
}

extension EnableWinsFlag: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    if random.chance(1, of: 3) { disable() } else { enable(dot: dot) }
  }
}

extension ORSet: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    switch random.below(8) {
    case 0..<2: remove(randomName(&random))
    case 2: removeAll()
    case 3:
      // One write of several elements has one dot.
      for _ in 0..<3 { insert(randomName(&random), dot: dot) }
    default: insert(randomName(&random), dot: dot)
    }
  }
}

extension ORMap: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    let name = randomName(&random)
    switch random.below(8) {
    case 0: remove(name)
    case 1: remove(name, kind: random.pick(Array(RecordKind.allCases)))
    case 2: removeAll()
    default:
      // Two fields with one dot, now and then.
      for _ in 0...random.below(2) { try changeField(name, dot, timestamp, &random) }
    }
  }

  private mutating func changeField(
    _ name: [UInt8], _ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64
  ) throws {
    func change<State: FieldState & RandomlyChanged>(_ type: State.Type) throws {
      // A counter refuses the same dot twice.
      if let counter = field(name, as: type) as? any Counting, counter.hasSeen(dot) { return }
      try update(name, as: type) { try $0.change(dot, timestamp, &random) }
    }
    switch random.below(5) {
    case 0: try change(GCounter.self)
    case 1: try change(PNCounter.self)
    case 2: try change(LWWRegister.self)
    case 3: try change(EnableWinsFlag.self)
    default: try change(ORSet.self)
    }
  }
}

private protocol Counting: DotStore {}

extension Counting {
  func hasSeen(_ dot: Dot) -> Bool {
    var seen = false
    forEachDot { if $0 == dot { seen = true } }
    return seen
  }
}

extension GCounter: Counting {}
extension PNCounter: Counting {}

extension SiblingSet: RandomlyChanged {
  mutating func change(_ dot: Dot, _ timestamp: Timestamp, _ random: inout SplitMix64) throws {
    if random.chance(1, of: 2), let gone = elements.randomElement(using: &random) {
      remove(seenBy: VersionVector([gone.dot]))
    }
    if random.chance(4, of: 5) {
      insert(Sibling(dot: dot, timestamp: timestamp, value: random.bytes(random.below(3))))
    }
  }

  func record(_ context: VersionVector) -> Record { Record(context: context, siblings: self, states: []) }
}

extension Record: Lattice {
  var encoding: [UInt8] { encoded }

  mutating func change(_ mint: inout Mint, known: [Record], _ random: inout SplitMix64) throws {
    let timestamp = mint.timestamp(&random)
    func change<State: MergeableState & RandomlyChanged>(_ type: State.Type) throws {
      try update(type, dot: mint.dot(&random)) { try $0.change($1, timestamp, &random) }
    }
    /// What a client hands back: nothing, what is here, what it read elsewhere or long ago.
    func replacing() -> VersionVector {
      switch random.below(4) {
      case 0: VersionVector()
      case 1: context
      default: random.pick(known).context
      }
    }
    /// Now and then one of the values, for its writer to replace.
    func own() -> Dot? {
      random.chance(1, of: 4) ? random.pick(known).siblings.elements.randomElement(using: &random)?.dot : nil
    }
    switch random.below(16) {
    case 0..<5:
      try put(
        random.bytes(random.below(3)), expiry: random.chance(1, of: 3) ? UInt64(1 + random.below(100)) : 0,
        replacing: replacing(), and: own(), dot: mint.dot(&random), timestamp: timestamp)
    case 5..<7: try delete(replacing: replacing(), and: own(), dot: mint.dot(&random))
    case 7: _ = expire(at: UInt64(random.below(100)))
    case 8: try change(GCounter.self)
    case 9: try change(PNCounter.self)
    case 10: try change(LWWRegister.self)
    case 11: try change(EnableWinsFlag.self)
    case 12..<14: try change(ORSet.self)
    default: try change(ORMap.self)
    }
  }
}

/// A vector alone is a lattice too.
extension VersionVector: Lattice {
  mutating func join(_ other: VersionVector) -> Bool {
    let before = self
    merge(other)
    return self != before
  }

  var encoding: [UInt8] { Record(context: self, siblings: SiblingSet(), states: []).encoded }

  mutating func change(_ mint: inout Mint, known: [VersionVector], _ random: inout SplitMix64) throws {
    include(mint.dot(&random))
  }
}
