import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

// Budget: 2 s
@Suite struct QuorumReadTests {
  typealias Read = QuorumRead<Set<Int>>

  static func begin(_ replicas: [QuorumTarget], _ quorum: QuorumSize) -> (Read, [Read.Effect]) {
    Read.begin(replicas: replicas, quorum: quorum) { $0.union($1) }
  }

  @Test func `the answer is the join, and who lacks something is sent it`() {
    var (read, effects) = Self.begin(targets([1, 2, 3]), QuorumSize(2))
    #expect(effects == [.ask(1), .ask(2)])
    #expect(read.receive(.found(2, [1])) == [])
    effects = read.receive(.found(1, [1, 2]))
    #expect(effects == [.answer([1, 2]), .repair(2, [1, 2])])
    #expect(read.isFinished)
  }

  @Test func `where one fails the next is asked`() {
    var (read, _) = Self.begin(targets([1, 2, 3]), QuorumSize(2))
    #expect(read.receive(.failed(1)) == [.ask(3)])
    #expect(read.receive(.found(3, [3])) == [])
    #expect(read.receive(.failed(2)) == [.unavailable(answered: 1)])
    #expect(read.isFinished)
  }

  @Test func `impatience asks one more, and late answers are repaired`() {
    var (read, _) = Self.begin(targets([1, 2, 3]), QuorumSize(1))
    #expect(read.receive(.impatient) == [.ask(2)])
    #expect(read.receive(.found(2, [5])) == [.answer([5])])
    #expect(read.receive(.impatient) == [])
    #expect(read.receive(.found(1, [])) == [.repair(1, [5])])
    #expect(read.isFinished)
  }

  @Test func `what comes behind the answer repairs the others`() {
    var (read, effects) = Self.begin(targets([1, 2, 3]), QuorumSize(2))
    #expect(effects == [.ask(1), .ask(2)])
    effects = read.receive(.impatient)
    #expect(effects == [.ask(3)])
    #expect(read.receive(.found(1, [1])) == [])
    #expect(read.receive(.found(2, [1])) == [.answer([1])])
    // What the third knows comes too late for the answer, and not for the others.
    #expect(read.receive(.found(3, [1, 9])) == [.repair(1, [1, 9]), .repair(2, [1, 9])])
  }

  @Test func `stores of one host count once, and are asked last`() {
    let stores = targets([1, 2, 3], hosts: [1: 7, 2: 7, 3: 8])
    var (read, effects) = Self.begin(stores, QuorumSize(2))
    #expect(effects == [.ask(1), .ask(3)])
    #expect(read.receive(.failed(3)) == [.unavailable(answered: 0)] || !read.isFinished)
    (read, effects) = Self.begin(stores, QuorumSize(3))
    #expect(effects.last == .unavailable(answered: 0), "there are two hosts only")
  }

  @Test func `what was found stays found`() {
    var (read, _) = Self.begin(targets([1, 2, 3]), QuorumSize(2))
    #expect(read.receive(.found(1, [1])) == [])
    #expect(read.receive(.failed(1)) == [])
    #expect(read.receive(.found(1, [7])) == [])
    #expect(read.receive(.failed(3)) == [], "it was not asked")
    #expect(read.receive(.found(2, [2])) == [.answer([1, 2]), .repair(1, [1, 2]), .repair(2, [1, 2])])
  }

  @Test func `the deadline ends it`() {
    var (read, _) = Self.begin(targets([1, 2, 3]), QuorumSize(2))
    _ = read.receive(.found(1, [1]))
    #expect(read.receive(.deadline) == [.unavailable(answered: 1)])
    #expect(read.isFinished && read.receive(.found(2, [2])) == [])
  }

  @Test func `where that does not suffice all others are asked`() {
    func begin() -> (Read, [Read.Effect]) {
      Read.begin(
        replicas: targets([1, 2, 3]), quorum: QuorumSize(1), suffices: { $0.contains(7) },
        join: { $0.union($1) })
    }
    var (read, effects) = begin()
    #expect(effects == [.ask(1)])
    #expect(read.receive(.found(1, [1])) == [.ask(2), .ask(3)])
    #expect(read.receive(.impatient) == [], "nobody is left")
    #expect(read.receive(.found(3, [7])) == [.answer([1, 7])])
    #expect(read.receive(.failed(2)) == [.repair(1, [1, 7]), .repair(3, [1, 7])])
    // Nobody has it, or whoever has it is away: there is an end all the same.
    for last in [Read.Event.failed(3), .found(3, []), .deadline] {
      (read, effects) = begin()
      _ = read.receive(.found(1, [1]))
      #expect(read.receive(.found(2, [2])) == [])
      let found = if case .found = last { 3 } else { 2 }
      effects = read.receive(last)
      #expect(effects.first == .insufficient([1, 2], answered: found))
      #expect(read.isFinished && effects.count == found + 1, "they learn from each other")
    }
    (read, _) = begin()
    for member: MemberID in [1, 2] { _ = read.receive(.failed(member)) }
    #expect(read.receive(.failed(3)) == [.unavailable(answered: 0)], "too few have answered")
  }

  /// With R + W > N, whatever W replicas have, a read sees, whoever fails.
  @Test func `random worlds`() throws {
    try withSeeds("QuorumReadTests", count: TestSize.of(quick: 1_000, full: 20_000)) { seed, random in
      let count = 1 + random.below(5)
      let r = 1 + random.below(count)
      let w = count - r + 1
      let replicas = targets((1...count).map { UInt64($0) }.shuffled(using: &random))
      let holders = Set(replicas.shuffled(using: &random).prefix(w).map(\.member))
      var states: [MemberID: Set<Int>] = [:]
      for replica in replicas {
        states[replica.member] = [random.below(3) + 10]
        if holders.contains(replica.member) { states[replica.member]!.insert(1) }
      }
      var (read, effects) = Self.begin(replicas, QuorumSize(r))
      var open: [Read.Event] = []
      var asked: Set<MemberID> = []
      var answers = 0
      var heard: Set<MemberID> = []
      for step in 0... {
        for effect in effects {
          switch effect {
          case .ask(let member):
            try #require(asked.insert(member).inserted, "asked twice: seed \(seed)")
            open.append(random.below(4) == 0 ? .failed(member) : .found(member, states[member]!))
          case .answer(let state):
            answers += 1
            try #require(state.contains(1), "it misses what was acknowledged: seed \(seed)")
            try #require(heard.count >= r)
          case .unavailable(let answered):
            answers += 1
            try #require(answered == heard.count && answered < r, "seed \(seed)")
          case .insufficient: Issue.record("nothing more was asked for: seed \(seed)")
          case .repair(let member, let state):
            try #require(heard.contains(member) && states[member] != state)
            try #require(state == heard.reduce(into: Set()) { $0.formUnion(states[$1]!) })
          }
        }
        if read.isFinished { break }
        try #require(step < 200, "it does not end: seed \(seed)")
        if open.isEmpty || random.below(30) == 0 {
          effects = read.receive(.deadline)
          try #require(read.isFinished)
          continue
        }
        if random.below(10) == 0 {
          effects = read.receive(.impatient)
          continue
        }
        let event = open.remove(at: random.below(open.count))
        if random.below(5) == 0 { open.append(event) }
        if case .found(let member, _) = event { heard.insert(member) }
        effects = read.receive(event)
      }
      try #require(answers == 1, "one answer: seed \(seed)")
    }
  }
}
