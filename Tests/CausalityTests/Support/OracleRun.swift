import RoostEnvironment
import TestSupport

@testable import RoostCausality

/// Replicas of one record and, beside each, the events that it knows of; after every step the two must agree.
struct OracleRun {
  struct Replica {
    var record = Record()
    var known: Set<Int> = []
    var mint: Mint
  }

  private(set) var oracle = Oracle()
  private(set) var replicas: [Replica]
  /// What was ever read anywhere.
  private var reads: [(record: Record, known: Set<Int>)] = [(Record(), [])]
  private var random: SplitMix64

  init(replicas: Int, seed: SplitMix64) {
    random = seed
    self.replicas = []
    for _ in 0..<replicas {
      self.replicas.append(Replica(mint: Mint(replica: ReplicaID(rawValue: random.next()))))
    }
  }

  mutating func run(steps: Int) throws {
    for _ in 0..<steps {
      let here = random.below(replicas.count)
      try step(here)
      try expectAgreement(here)
      reads.append((replicas[here].record, replicas[here].known))
    }
  }

  func expectAgreement(_ here: Int) throws {
    let replica = replicas[here]
    let expected = oracle.live(replica.known)
    try check(replica.record.parts == expected, "holds \(replica.record.parts), not \(expected)")
    try check(replica.record.context == oracle.context(replica.known), "context \(replica.record.context)")
    try check(replica.record.isTombstone == expected.isEmpty, "a tombstone is what holds nothing")
  }

  /// Everyone hears of everything.
  mutating func exchangeAll() throws {
    for here in replicas.indices {
      for there in replicas.indices { join(replicas[there].record, replicas[there].known, at: here) }
    }
    for here in replicas.indices {
      join(replicas[replicas.count - 1].record, replicas[replicas.count - 1].known, at: here)
      try expectAgreement(here)
      try check(replicas[here].record == replicas[0].record, "replicas that exchanged everything agree")
    }
  }

  private mutating func join(_ record: Record, _ known: Set<Int>, at here: Int) {
    replicas[here].record.join(record)
    replicas[here].known.formUnion(known)
  }

  private mutating func step(_ here: Int) throws {
    switch random.below(24) {
    case 0: replicas[here].mint = Mint(replica: ReplicaID(rawValue: random.next()))
    case 1: replicas[here] = Replica(mint: Mint(replica: ReplicaID(rawValue: random.next())))
    case 2..<8:
      let read = random.chance(2, of: 3) ? nil : random.pick(reads)
      let there = random.below(replicas.count)
      join(read?.record ?? replicas[there].record, read?.known ?? replicas[there].known, at: here)
    case 8..<13: try put(here)
    case 13..<15: try delete(here)
    case 15: expire(here)
    case 16: try change(here, GCounter.self, in: "grow-only counter")
    case 17: try change(here, PNCounter.self, in: "counter")
    case 18: try change(here, LWWRegister.self, in: "register")
    case 19: try change(here, EnableWinsFlag.self, in: "flag")
    case 20..<22: try change(here, ORSet.self, in: "set")
    default: try change(here, ORMap.self, in: "map")
    }
  }

  // MARK: Values

  private mutating func randomRead(_ here: Int) -> (record: Record, known: Set<Int>) {
    switch random.below(4) {
    case 0: (Record(), [])
    case 1: (replicas[here].record, replicas[here].known)
    default: random.pick(reads)
    }
  }

  private mutating func put(_ here: Int) throws {
    let read = randomRead(here)
    let dot = replicas[here].mint.dot(&random)
    let expiry = random.chance(1, of: 3) ? UInt64(1 + random.below(100)) : 0
    let part = Oracle.Part(place: "sibling", dot: dot, content: random.bytes(2), expiry: expiry)
    let own = randomOwn(here)
    let before = replicas[here].record
    try replicas[here].record.put(
      part.content, expiry: expiry, replacing: read.record.context, and: own?.dot, dot: dot,
      timestamp: .zero)
    try expectReplaced(before, read.record, own, replicas[here].record, dot)
    var event = Oracle.Event(adds: [part], removes: oracle.added(read.known), dot: dot)
    if let own { event.removes.insert(own) }
    happen(here, event, with: read.known)
  }

  private mutating func delete(_ here: Int) throws {
    let read = randomRead(here)
    let dot = replicas[here].mint.dot(&random)
    let own = randomOwn(here)
    let before = replicas[here].record
    try replicas[here].record.delete(replacing: read.record.context, and: own?.dot, dot: dot)
    try expectReplaced(before, read.record, own, replicas[here].record, dot)
    var event = Oracle.Event(adds: [], removes: oracle.added(read.known), dot: dot)
    if let own { event.removes.insert(own) }
    happen(here, event, with: read.known)
  }

  /// Now and then, a value that is here, for its writer to replace beside what it has read.
  private mutating func randomOwn(_ here: Int) -> Oracle.Part? {
    guard random.chance(1, of: 4) else { return nil }
    let siblings = oracle.live(replicas[here].known).filter { $0.place == "sibling" }
    return siblings.sorted { $0.dot < $1.dot }.randomElement(using: &random)
  }

  /// What the client read and replaced is gone, what it had not seen stays.
  private func expectReplaced(
    _ before: Record, _ read: Record, _ own: Oracle.Part?, _ after: Record, _ dot: Dot
  ) throws {
    try check(after.parts.isDisjoint(with: read.parts), "what was read and replaced is gone")
    let unseen = before.parts.filter { !read.context.contains($0.dot) && $0 != own }
    try check(after.parts.isSuperset(of: unseen), "what was not seen stays")
    try check(after.parts.subtracting(unseen).allSatisfy { $0.dot == dot }, "nothing else is added")
    try check(before.compare(to: after) == .before, "a write is after what it wrote on")
  }

  private mutating func expire(_ here: Int) {
    let now = UInt64(random.below(100))
    let gone = oracle.live(replicas[here].known).filter { $0.expiry != 0 && $0.expiry <= now }
    _ = replicas[here].record.expire(at: now)
    happen(here, Oracle.Event(adds: [], removes: gone, dot: nil), with: [])
  }

  private mutating func happen(_ here: Int, _ event: Oracle.Event, with read: Set<Int>) {
    let number = oracle.happen(event)
    replicas[here].known.insert(number)
    replicas[here].known.formUnion(read)
  }

  // MARK: States

  /// Changes a state at random, and works out from what it shows before and after, place by place, what the
  /// event added; what it removes is all that was seen in the places it touched.
  private mutating func change<State: MergeableState & RandomlyChanged>(
    _ here: Int, _ type: State.Type, in place: String
  ) throws {
    let dot = replicas[here].mint.dot(&random)
    let before = replicas[here].record
    let timestamp = replicas[here].mint.timestamp(&random)
    var generator = random
    try replicas[here].record.update(type, dot: dot) { try $0.change($1, timestamp, &generator) }
    random = generator
    let after = replicas[here].record
    let added = after.parts.subtracting(before.parts)
    try check(added.allSatisfy { $0.dot == dot && isIn($0.place, place) }, "a change adds under its dot")
    let removed = before.parts.subtracting(after.parts)
    try check(removed.allSatisfy { isIn($0.place, place) }, "a change removes where it is")
    // An element that is inserted again, or a counter that counts on, replaces what was seen of it.
    happen(here, Oracle.Event(adds: Array(added), removes: removed, dot: dot), with: [])
  }

  private func isIn(_ part: String, _ place: String) -> Bool { part == place || part.hasPrefix(place + "/") }
}
