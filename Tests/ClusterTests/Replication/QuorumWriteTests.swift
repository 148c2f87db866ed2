import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

extension MemberID: ExpressibleByIntegerLiteral {
  public init(integerLiteral value: UInt64) { self.init(rawValue: value) }
}

/// Stores 1, 2, 3, … each on a host of its own, but where said otherwise.
func targets(_ members: [UInt64], hosts: [UInt64: UInt64] = [:]) -> [QuorumTarget] {
  members.map { QuorumTarget(member: MemberID(rawValue: $0), host: hosts[$0] ?? $0) }
}

// Budget: 2 s
@Suite struct QuorumWriteTests {
  @Test func `enough acknowledgements answer it, and the rest still comes in`() {
    var (write, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), quorum: QuorumSize(2), isSloppy: false)
    #expect(effects == [.send(to: 2), .send(to: 3)])
    #expect(write.receive(.acknowledged(3)) == [.answer(.written)])
    #expect(!write.isFinished)
    effects = write.receive(.failed(2))
    #expect(effects == [.missed(2)])
    #expect(write.isFinished)
  }

  @Test func `one replica that acknowledges twice counts once`() {
    var (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), quorum: QuorumSize(3), isSloppy: false)
    for _ in 0..<3 { #expect(write.receive(.acknowledged(2)) == []) }
    #expect(write.receive(.acknowledged(3)) == [.answer(.written)])
  }

  @Test func `a strict quorum that cannot be met is indeterminate at once`() {
    var (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), fallbacks: targets([4, 5]), quorum: QuorumSize(2),
      isSloppy: false)
    #expect(write.receive(.failed(2)) == [.hint(at: 4, for: 2)])
    // A hint is kept, and counts for nothing.
    #expect(
      write.receive(.failed(3)) == [.hint(at: 5, for: 3), .answer(.indeterminate(acknowledged: 1))])
    #expect(write.receive(.hinted(for: 2)) == [])
    #expect(write.receive(.hinted(for: 3)) == [])
    #expect(write.isFinished && write.strength == 1)
  }

  @Test func `a sloppy quorum counts hints`() {
    var (write, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), fallbacks: targets([2, 4, 5]), down: [3],
      quorum: QuorumSize(3), isSloppy: true)
    // Store 2 is a replica itself.
    #expect(effects == [.send(to: 2), .hint(at: 4, for: 3)])
    effects = write.receive(.hintFailed(for: 3))
    #expect(effects == [.hint(at: 5, for: 3)])
    #expect(write.receive(.acknowledged(2)) == [])
    #expect(write.receive(.hinted(for: 3)) == [.answer(.written)])
    #expect(write.isFinished)
  }

  /// CASSANDRA-2434: a store that is still being filled must not stand in for a replica.
  @Test func `pending stores get it and do not count`() {
    var (write, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2]), pending: [9, 2], quorum: QuorumSize(2), isSloppy: true)
    #expect(effects == [.send(to: 2), .send(to: 9)])
    #expect(write.receive(.acknowledged(9)) == [])
    #expect(write.receive(.acknowledged(2)) == [.answer(.written)])
    (write, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2]), pending: [9], quorum: QuorumSize(1), isSloppy: true)
    #expect(effects == [.send(to: 2), .send(to: 9), .answer(.written)])
    #expect(write.receive(.failed(9)) == [.pendingMissed(9)])
  }

  @Test func `two disks of one host count once, unless asked otherwise`() {
    let two = targets([1, 2, 3], hosts: [1: 7, 2: 7, 3: 8])
    var (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: two, quorum: QuorumSize(2), isSloppy: false)
    #expect(write.receive(.acknowledged(2)) == [])
    #expect(write.receive(.acknowledged(3)) == [.answer(.written)])
    (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: two, quorum: QuorumSize(2, countsHosts: false), isSloppy: false)
    #expect(write.receive(.acknowledged(2)) == [.answer(.written)])
    // Then the third cannot be met.
    let (_, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: two, quorum: QuorumSize(3), isSloppy: true)
    #expect(effects.contains(.answer(.indeterminate(acknowledged: 1))))
  }

  /// A hint on a host that acknowledged already would say that two hosts have it.
  @Test func `a hint beside the replica that acknowledged adds nothing`() {
    let stores = targets([1, 2, 3, 4], hosts: [1: 1, 2: 2, 3: 3, 4: 1])
    var (write, effects) = QuorumWrite.begin(
      coordinator: 1, replicas: Array(stores.prefix(3)), fallbacks: [stores[3]], down: [2],
      quorum: QuorumSize(2), isSloppy: true)
    #expect(effects == [.hint(at: 4, for: 2), .send(to: 3)])
    #expect(write.receive(.hinted(for: 2)) == [])
    #expect(write.receive(.acknowledged(3)) == [.answer(.written)])
  }

  @Test func `the deadline ends it`() {
    var (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), pending: [8], quorum: QuorumSize(2), isSloppy: true)
    #expect(
      write.receive(.deadline) == [
        .pendingMissed(8), .missed(2), .missed(3), .answer(.indeterminate(acknowledged: 1)),
      ])
    #expect(write.isFinished && write.receive(.acknowledged(2)) == [])
  }

  /// A connection that breaks behind the answer, an answer that comes behind the hint.
  @Test func `what contradicts itself is taken for the better`() {
    var (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2, 3]), fallbacks: targets([4]), quorum: QuorumSize(3),
      isSloppy: false)
    #expect(write.receive(.acknowledged(2)) == [])
    #expect(write.receive(.failed(2)) == [])
    #expect(write.receive(.failed(3)).contains(.hint(at: 4, for: 3)))
    #expect(write.receive(.failed(3)) == [], "one hint a replica")
    (write, _) = QuorumWrite.begin(
      coordinator: 1, replicas: targets([1, 2]), fallbacks: targets([3]), quorum: QuorumSize(2),
      isSloppy: true)
    #expect(write.receive(.failed(2)) == [.hint(at: 3, for: 2)])
    #expect(write.receive(.acknowledged(2)) == [.answer(.written)])
    #expect(write.receive(.hintFailed(for: 2)) == [])
  }

  /// A world that answers anything in any order, doubled and late.
  @Test func `random worlds`() throws {
    try withSeeds("QuorumWriteTests", count: TestSize.of(quick: 1_000, full: 20_000)) { seed, random in
      let count = 1 + random.below(5)
      let hosts = 1 + random.below(8)
      var host: [UInt64: UInt64] = [:]
      for member in 1...12 { host[UInt64(member)] = UInt64(random.below(hosts)) }
      let replicas = targets((1...count).map { UInt64($0) }, hosts: host)
      let fallbacks = targets((1...random.below(6) + count).map { UInt64($0) }, hosts: host)
      let pending = (0..<random.below(3)).map { MemberID(rawValue: UInt64(20 + $0)) }
      let quorum = QuorumSize(1 + random.below(count + 1), countsHosts: random.below(2) == 0)
      let isSloppy = random.below(2) == 0
      let down = Set(replicas.dropFirst().map(\.member).filter { _ in random.below(4) == 0 })
      var (write, effects) = QuorumWrite.begin(
        coordinator: 1, replicas: replicas, pending: pending, fallbacks: fallbacks, down: down,
        quorum: quorum, isSloppy: isSloppy)
      var has: [QuorumTarget] = [replicas[0]]
      var sent: [MemberID] = []
      var hints: [MemberID: MemberID] = [:]
      var answers: [QuorumWrite.Answer] = []
      var open: [QuorumWrite.Event] = []
      func target(_ member: MemberID) -> QuorumTarget {
        QuorumTarget(member: member, host: host[member.rawValue] ?? member.rawValue)
      }
      for step in 0... {
        for effect in effects {
          switch effect {
          case .send(let member):
            try #require(!sent.contains(member) && member != 1, "seed \(seed)")
            sent.append(member)
            open.append(random.below(3) == 0 ? .failed(member) : .acknowledged(member))
          case .hint(let fallback, let member):
            try #require(!has.contains { $0.member == fallback && $0.member.rawValue <= count })
            try #require(fallback.rawValue > count && !pending.contains(fallback), "seed \(seed)")
            hints[member] = fallback
            open.append(random.below(3) == 0 ? .hintFailed(for: member) : .hinted(for: member))
          case .answer(let answer):
            answers.append(answer)
            if answer == .written {
              // What the model saw acknowledged is a quorum.
              let strength =
                quorum.countsHosts ? Set(has.map(\.host)).count : Set(has.map(\.member)).count
              try #require(strength >= quorum.count, "seed \(seed)")
            }
          case .pendingMissed(let member): try #require(pending.contains(member))
          case .missed(let member): try #require(replicas.contains { $0.member == member })
          }
        }
        if write.isFinished { break }
        try #require(step < 200, "it does not end: seed \(seed)")
        if random.below(40) == 0 || open.isEmpty {
          // Something is under way that nobody will answer.
          effects = write.receive(.deadline)
          try #require(write.isFinished, "the deadline ends it: seed \(seed)")
          continue
        }
        let event = open.remove(at: random.below(open.count))
        if random.below(5) == 0 { open.append(event) }
        switch event {
        case .acknowledged(let member) where member.rawValue <= count: has.append(target(member))
        case .hinted(let member):
          if isSloppy, let fallback = hints[member] { has.append(target(fallback)) }
        default: break
        }
        effects = write.receive(event)
      }
      try #require(answers.count == 1, "one answer: seed \(seed)")
      try #require(write.receive(.deadline) == [])
    }
  }
}
