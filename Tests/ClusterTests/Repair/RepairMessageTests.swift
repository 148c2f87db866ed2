import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// What replicas say to each other about trees: it comes back as it went, and damage is refused.
// Budget: 10 s
@Suite struct RepairMessageTests {
  private static let groups = GroupSet(bits: 0x8000_0005)
  private static let leaves: LeafSet = {
    var leaves = LeafSet()
    for leaf in [0, 63, 64, 500, 1_023] { leaves.insert(leaf) }
    return leaves
  }()

  private static let questions: [TreeComparison.Question] = [
    .root, .groups, .leaves(groups), .keys(leaves, after: []), .keys(leaves, after: [0, 255]),
  ]

  private static func request(_ question: TreeComparison.Question) -> TreeRequest {
    var limit = 0
    if case .keys = question { limit = 70_000 }
    return TreeRequest(
      MessageHead(
        database: DatabaseID(high: 1, low: .max), ring: RingPrint(revision: 300, print: .max - 1),
        keyspace: 2),
      partition: 65_535, seed: 0x0102_0304, question, byteLimit: limit, isSynced: limit > 0)
  }

  private static let answers: [(TreeComparison.Question, TreeAnswer)] = [
    (.root, .hashes([7])), (.groups, .hashes((0..<32).map { UInt64($0) &* 0x9E37_79B9_7F4A_7C15 })),
    (.leaves(groups), .hashes((0..<96).map { UInt64($0) })),
    (.keys(leaves, after: []), .keys(KeyPage())),
    (
      .keys(leaves, after: [1]),
      .keys(KeyPage(keys: [HashedKey(key: [1, 2], hash: .max), HashedKey(key: [3], hash: 0)], through: [9]))
    ),
  ]

  private static var report: RepairReport {
    var report = RepairReport()
    report.keys = 300
    report.differing = 5
    report.mended = 4
    report.compared = 31
    report.notCompared = 1
    report.bytes = 1 << 40
    report.problem = "node 3 is out of reach"
    report.scanned = 16
    report.wrongLeaves = 2
    return report
  }

  @Test func `messages come back as they went`() throws {
    for question in Self.questions {
      let request = Self.request(question)
      #expect(try TreeRequest(decoding: request.encoded()) == request)
    }
    for (question, answer) in Self.answers {
      #expect(try TreeAnswer(decoding: answer.encoded(question), question) == answer)
    }
    #expect(try RepairReport(decoding: Self.report.encoded()) == Self.report)
  }

  /// The bytes are for good.
  @Test func `a question has the bytes that the format says`() throws {
    let request = TreeRequest(
      MessageHead(
        database: DatabaseID(high: 1, low: 2), ring: RingPrint(revision: 3, print: 7), keyspace: 4),
      partition: 5, seed: 6, .leaves(GroupSet(bits: 0x81)))
    let shown = try FormatDocument.example("tree-question")
    #expect(request.encoded() == shown)
    #expect(try TreeRequest(decoding: shown) == request)
    let page = KeyPage(keys: [HashedKey(key: [0x61], hash: 1)], through: [0x62])
    #expect(
      TreeAnswer.keys(page).encoded(.keys(LeafSet(), after: []))
        == [1, 3, 0, 1, 0x62, 1, 1, 0x61, 1, 0, 0, 0, 0, 0, 0, 0])
    #expect(NodeMessageKind.compare == 8)
  }

  @Test func `a report of the version before ends with its problem`() throws {
    var old = Self.report.encoded()
    #expect(old.first == 2 && old.suffix(2) == [16, 2])
    old.removeLast(2)
    old[0] = 1
    var expected = Self.report
    (expected.scanned, expected.wrongLeaves) = (0, 0)
    #expect(try RepairReport(decoding: old) == expected)
    for request in [RepairRequest(), RepairRequest(isFull: true)] {
      #expect(try RepairRequest(decoding: request.encoded()) == request)
    }
    #expect(RepairRequest().encoded() == [] && RepairRequest(isFull: true).encoded() == [1])
    #expect(code { _ = try RepairRequest(decoding: [2]) } == .invalidArgument)
    #expect(code { _ = try RepairRequest(decoding: [1, 0]) } == .invalidArgument)
  }

  @Test func `a status of the version before has no last pass`() throws {
    var status = NodeStatus(
      cluster: "c", database: DatabaseID(high: 1, low: 2), epoch: 1, partitionCount: 16, replicas: 3,
      members: [], keyspaces: [], counters: NodeStatus.Counters())
    var old = status.encoded()
    // No progress of a change, and, in the one before, no last pass.
    var progress = FieldWriter()
    ChangeProgress().write(to: &progress)
    #expect(old.suffix(progress.bytes.count) == progress.bytes[...])
    old.removeLast(progress.bytes.count)
    old[0] = 2
    #expect(try NodeStatus(decoding: old) == status)
    let last = old.removeLast()
    #expect(last == 0)
    old[0] = 1
    #expect(try NodeStatus(decoding: old) == status)
    status.lastPass = NodeStatus.RepairPass(ended: 1_700_000_000_000, report: Self.report)
    #expect(try NodeStatus(decoding: status.encoded()) == status)
    // A report of version 1 in a status of version 3.
    var third = status.encoded()
    third[0] = 3
    third.removeSubrange((third.count - progress.bytes.count - 2)..<(third.count - progress.bytes.count))
    status.lastPass?.report.scanned = 0
    status.lastPass?.report.wrongLeaves = 0
    #expect(try NodeStatus(decoding: third) == status)
  }

  /// Cut off anywhere, one bit changed anywhere, one byte too many: an error, or another message; no trap.
  @Test func `damage is refused or is another message`() throws {
    var bodies = Self.questions.map { Self.request($0).encoded() }
    bodies += Self.answers.map { $1.encoded($0) }
    bodies.append(Self.report.encoded())
    func decodeAll(_ bytes: [UInt8]) -> Int {
      var decoded = 0
      if (try? TreeRequest(decoding: bytes)) != nil { decoded += 1 }
      if (try? RepairReport(decoding: bytes)) != nil { decoded += 1 }
      decoded += Self.questions.count { (try? TreeAnswer(decoding: bytes, $0)) != nil }
      return decoded
    }
    for body in bodies {
      #expect(decodeAll(body) > 0)
      for bit in 0..<(8 * body.count) {
        var changed = body
        changed[bit / 8] ^= 1 << UInt8(bit % 8)
        _ = decodeAll(changed)
      }
    }
    for question in Self.questions {
      let body = Self.request(question).encoded()
      for count in body.indices {
        #expect(code { _ = try TreeRequest(decoding: Array(body[..<count])) } == .invalidArgument)
      }
      #expect(code { _ = try TreeRequest(decoding: body + [0]) } == .invalidArgument)
      #expect(code { _ = try TreeRequest(decoding: [3] + body.dropFirst()) } == .newerFormat)
    }
    for (question, answer) in Self.answers {
      let body = answer.encoded(question)
      for count in body.indices {
        #expect(code { _ = try TreeAnswer(decoding: Array(body[..<count]), question) } == .corruption)
      }
      #expect(code { _ = try TreeAnswer(decoding: body + [0], question) } == .corruption)
    }
    try withSeeds("treeRubbish", count: 200) { _, random in
      let count = random.below(200)
      _ = decodeAll(random.bytes(count))
    }
  }

  /// Each byte of each question, changed on its way to a real node: it answers, or refuses.
  @Test func `a node bears every damaged question`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0)
    let stranger = world.messages.transport(of: NodeID(rawValue: 1_000))
    for question in Self.questions {
      var request = Self.request(question)
      request.head = MessageHead(try world[0].keyspace("k"), world[0].view.print(of: 3))
      request.partition = 3
      let body = request.encoded()
      for position in -1..<body.count {
        for mask in position < 0 ? [0] : [0x01, 0x10, 0x80, 0xFF] as [UInt8] {
          var changed = body
          if position >= 0 { changed[position] ^= mask }
          let outcome = Guarded<Bool?>(nil)
          stranger.request(
            NodeMessage(kind: NodeMessageKind.compare, body: changed), of: world.numbers[0],
            deadline: world.time.monotonicNanoseconds + 1_000_000_000
          ) { result in
            guard case .success(let bytes) = result else { return }
            outcome.withLock { $0 = code { _ = try NodeAnswer.decode(bytes) } == nil }
          }
          let isTaken = outcome.withLock { $0 }
          try #require(isTaken != nil, "never answered")
          if position < 0 { #expect(isTaken == true) }
        }
      }
    }
    #expect(try world.values("k", at: 1) == ["v"])
  }

  @Test func `questions of others, and about what is not there, are refused`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    let node = world[0]
    let ring = node.core.ring
    var request = Self.request(.root)
    request.partition = try #require((0..<16).first { ring.replicas(of: $0).contains(node.local.id) })
    request.head = MessageHead(try node.keyspace("k"), node.view.print(of: request.partition))
    func refusal(_ change: (inout TreeRequest) -> Void) -> DatabaseError.Code? {
      var changed = request
      change(&changed)
      return code { _ = try node.compare(changed.encoded()) { false } }
    }
    #expect(refusal { _ in } == nil)
    #expect(refusal { $0.head.database = DatabaseID(high: 1, low: 2) } == .foreignStore)
    #expect(refusal { $0.head.ring.print &+= 1 } == .staleRing)
    #expect(refusal { $0.head.ring.revision += 1 } == nil, "a change that left the partition alone")
    #expect(refusal { $0.head.keyspace = 99 } == .unknownKeyspace)
    #expect(refusal { $0.partition = 16 } == .invalidArgument)
    let other = try #require((0..<16).first { !ring.replicas(of: $0).contains(node.local.id) })
    #expect(refusal { $0.partition = other } == .staleRing)
    let others = node.view.print(of: other)
    #expect(refusal { ($0.partition, $0.head.ring) = (other, others) } == .unreachable)
    let long = [UInt8](repeating: 1, count: StoredKey.longestKey + 1)
    #expect(refusal { $0.question = .keys(Self.leaves, after: long) } == .invalidArgument)
  }

  /// A node whose answers about trees are damaged: whoever compares with it ends, and holds what it held.
  @Test func `a replica that answers wrongly does no harm`() throws {
    try withSeeds("lyingReplica", count: TestSize.of(quick: 40, full: 400)) { seed, random in
      let world = try NodeWorld(2, replicas: 2, seed: seed)
      try world.make()
      for number in 0..<40 { try world.put("k\(number)", "v", at: number % 2) }
      world.cut(0, 1)
      for number in 0..<10 { _ = try? world.put("k\(random.below(50))", "w\(number)", at: 0, quorum: 1) }
      world.heal()
      let liar = LyingNode(world[1], seed: random.next())
      world.messages.transport(of: world.numbers[1]).attach(liar)
      // The transport does not keep its handler.
      let report = try withExtendedLifetime(liar) { try world.repair(at: 0) }
      try #require(report.compared + report.notCompared == 16, "seed \(seed)")
      world.messages.transport(of: world.numbers[1]).attach(world[1])
      try #require(try world.repair(at: 0).notCompared == 0, "seed \(seed)")
      for number in 0..<50 { try #require(try world.agree(on: "k\(number)"), "seed \(seed): k\(number)") }
    }
  }
}

/// Hands messages on to a node, and damages some of its answers about trees.
private final class LyingNode: NodeMessageHandler {
  private let node: ClusterNode
  private let random: Guarded<SplitMix64>

  init(_ node: ClusterNode, seed: UInt64) {
    self.node = node
    random = Guarded(SplitMix64(seed: seed))
  }

  func heard(_ sign: NodeSign) { node.heard(sign) }

  func receive(_ message: ReceivedMessage) {
    guard message.message.kind == NodeMessageKind.compare else { return node.receive(message) }
    let (bits, isCut) = random.withLock { random in
      (random.below(3) == 0 ? 0 : 1 + random.below(3), random.below(8) == 0)
    }
    let random = random
    node.receive(
      ReceivedMessage(from: message.from, message.message, deadline: message.deadline, isRequest: true) {
        answer in
        guard case .success(var bytes)? = answer else { return message.answer(answer ?? .success([])) }
        random.withLock { random in
          for _ in 0..<bits where !bytes.isEmpty {
            bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
          }
          if isCut { bytes = Array(bytes.prefix(random.below(bytes.count + 1))) }
        }
        message.answer(bytes)
      })
  }
}
