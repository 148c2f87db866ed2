import RoostEnvironment
import TestSupport

@testable import RoostCausality

/// What the laws speak of: values that join and compare, come about by changes, and have one encoding.
protocol Lattice: Equatable {
  init()
  @discardableResult mutating func join(_ other: Self) -> Bool
  func compare(to other: Self) -> CausalOrder
  var encoding: [UInt8] { get }
  /// Makes one random change at a replica; `known` are states that a client may have read.
  mutating func change(_ mint: inout Mint, known: [Self], _ random: inout SplitMix64) throws
}

extension Lattice {
  func joined(_ other: Self) -> Self {
    var result = self
    result.join(other)
    return result
  }
}

/// One replica's source of dots and times. Counters have gaps, as those of a store do, which counts for all
/// its keys.
struct Mint {
  var replica: ReplicaID
  var counter: UInt64 = 0

  mutating func dot(_ random: inout SplitMix64) -> Dot {
    counter += 1 + UInt64(random.below(3))
    return Dot(replica: replica, counter: counter)
  }

  /// From few, so that some are the same.
  func timestamp(_ random: inout SplitMix64) -> Timestamp { Timestamp(rawValue: UInt64(random.below(8))) }
}

/// Several replicas that change one value and tell each other whole states, late, twice or never; now and
/// then one takes a new identity, or loses all it held and takes a new one.
struct History<Value: Lattice> {
  /// All states there ever were, in order.
  private(set) var past: [Value] = [Value()]
  private(set) var current: [Value]

  private var mints: [Mint]

  init(replicas: Int, steps: Int, _ random: inout SplitMix64) throws {
    current = Array(repeating: Value(), count: replicas)
    mints = (0..<replicas).map { _ in Mint(replica: ReplicaID(rawValue: random.next())) }
    for _ in 0..<steps { try step(&random) }
  }

  private mutating func step(_ random: inout SplitMix64) throws {
    let here = random.below(current.count)
    switch random.below(20) {
    case 0:
      mints[here] = Mint(replica: ReplicaID(rawValue: random.next()))
    case 1:
      mints[here] = Mint(replica: ReplicaID(rawValue: random.next()))
      current[here] = Value()
    case 2..<7:
      current[here].join(random.pick(current))
    case 7..<9:
      current[here].join(random.pick(past))
    default:
      try current[here].change(&mints[here], known: past, &random)
    }
    past.append(current[here])
  }
}

/// The laws of joins and of their order, for three states that histories have reached.
func checkLaws<Value: Lattice>(_ a: Value, _ b: Value, _ c: Value) throws {
  let ab = a.joined(b)
  let ba = b.joined(a)
  try check(ab == ba && ab.encoding == ba.encoding, "join commutes")
  let left = ab.joined(c)
  let right = a.joined(b.joined(c))
  try check(left == right && left.encoding == right.encoding, "join associates")
  var again = ab
  try check(!again.join(ab) && again == ab, "join is idempotent")
  try check(!again.join(a) && !again.join(b) && again == ab, "a join has both")
  for side in [a, b] {
    let order = ab.compare(to: side)
    try check(order == .after || order == .equal, "a join is at or above both")
    try check((order == .equal) == (ab == side), "equal is ==")
    try check((a.encoding == b.encoding) == (a == b), "equal values have equal encodings, and only they")
  }
  // The order is that of joins.
  let order = a.compare(to: b)
  let expected = CausalOrder(atMost: ab == b, atLeast: ab == a)
  try check(order == expected, "compare says what join does: \(order), not \(expected)")
  try check(b.compare(to: a) == order.reversed, "compare turns round")
  if [.before, .equal].contains(a.compare(to: c)), [.before, .equal].contains(b.compare(to: c)) {
    try check([.before, .equal].contains(ab.compare(to: c)), "a join is the least above both")
  }
  var joined = a
  try check(joined.join(b) == (joined != a), "join says whether it changed anything")
}

extension CausalOrder {
  var reversed: CausalOrder {
    switch self {
    case .before: .after
    case .after: .before
    case .equal, .concurrent: self
    }
  }
}

/// Runs the laws over `count` histories, on states old and new.
func lawsHold<Value: Lattice>(
  _ type: Value.Type, count: Int = TestSize.of(quick: 2000, full: 10_000)
) throws {
  var seen: Set<CausalOrder> = []
  var runs = 0
  try withSeeds("LawTests", count: count) { _, random in
    let history = try History<Value>(replicas: 2 + random.below(3), steps: 4 + random.below(20), &random)
    for _ in 0..<4 {
      let a = random.pick(history.past)
      let b = random.chance(1, of: 2) ? random.pick(history.past) : random.pick(history.current)
      try checkLaws(a, b, random.pick(history.current))
      seen.insert(a.compare(to: b))
    }
    runs += 1
    // Whatever the order of exchanges, who has had all is at the same state.
    var all = Value()
    for state in history.past.shuffled(using: &random) { all.join(state) }
    var others = Value()
    for state in history.past { others.join(state) }
    try check(all == others && all.encoding == others.encoding, "replicas that exchanged everything agree")
  }
  // The histories are worth their name: they reach all four relations.
  if runs > 100 { try check(seen.count == 4, "only \(seen) were met") }
}
