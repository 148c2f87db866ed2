import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostTransactions

/// What clients ask about transactions, and what they are told, as bytes.
// Budget: 1 s
@Suite struct ClientMessageTests {
  private static let time = Timestamp(milliseconds: 77, logical: 3)

  static let statements: [ClientStatement] = {
    let operations: [ClientStatement.Operation] = [
      .get([], keyspace: "a", forUpdate: false), .get([[1], [], [2, 3]], keyspace: "b", forUpdate: true),
      .scan(from: [], to: nil, limit: 1, keyspace: "a"),
      .scan(from: [1], to: [2, 3], limit: 10_000, keyspace: "a"),
      .put([1], [], keyspace: "a"), .put([], [7, 8], keyspace: ""), .delete([9], keyspace: "a"),
      .effect(.increment(.min), [1], keyspace: "n"), .effect(.increment(.max), [1], keyspace: "n"),
      .effect(.put([1], context: nil), [1], keyspace: "n"),
      .effect(.put([], context: [7]), [1], keyspace: "n"),
      .effect(.delete(context: nil), [1], keyspace: "n"),
      .effect(.delete(context: [1, 2]), [1], keyspace: "n"),
      .commit(isSynced: nil), .commit(isSynced: false), .commit(isSynced: true), .abort,
    ]
    return operations.enumerated().map { ClientStatement(txn(5), UInt64($0), $1) } + [
      ClientStatement(nil, 1 << 60, .begin(age: nil, idleMilliseconds: 5_000, durationMilliseconds: 0)),
      ClientStatement(nil, 0, .begin(age: txn(2), idleMilliseconds: 1, durationMilliseconds: 600_000)),
    ]
  }()

  static let answers: [ClientAnswer] = {
    var entries = ClientEntries()
    entries.entries = [ClientEntry(key: [1], value: []), ClientEntry(key: [2], value: [3, 4])]
    var part = entries
    part.next = [2, 0]
    let reasons: [AbortReason] = [
      .conflict, .deadline, .interrupted, .moving, .expired, .requested, .unreachable("gone"), .clock,
      .failed("disk"), .recorded,
    ]
    return [
      .begun(txn(3)), .values([]), .values([nil, [], [1, 2]]), .entries(ClientEntries()), .entries(entries),
      .entries(part), .noted, .ended(.committed(at: time)), .ended(.unknown(txn(5))),
    ] + reasons.map { .aborted($0) } + reasons.map { .ended(.aborted($0)) }
  }()

  private static let reads = [
    ClientRead(.keys([[1], [2]]), in: "a", at: time), ClientRead(.keys([]), in: "a", at: time),
    ClientRead(.range(from: [], to: nil, limit: 10_000), in: "a", at: time),
    ClientRead(.range(from: [1], to: [2], limit: 1), in: "a", at: time),
  ]

  private static let doubts = [
    ClientDoubt(txn(1), in: "/a", since: time, waitsFor: []),
    ClientDoubt(txn(2), in: "/b", since: time, waitsFor: ["the store 1", "the coordinator 2"]),
  ]

  @Test func `every message comes back as it went`() throws {
    for statement in Self.statements {
      #expect(try ClientStatement(decoding: statement.encoded()) == statement)
    }
    for answer in Self.answers { #expect(try ClientAnswer(decoding: answer.encoded(), of: txn(5)) == answer) }
    for wish in [nil, Self.time] {
      #expect(try ClientMoment(decoding: ClientMoment(wish).encoded()).time == wish)
    }
    #expect(try ClientMoment.answer(ClientMoment.encode(Self.time)) == Self.time)
    for read in Self.reads { #expect(try ClientRead(decoding: read.encoded()) == read) }
    #expect(try ClientOutcome.decode(ClientOutcome.encode(txn(4))) == txn(4))
    for outcome in [KnownOutcome.undecided, .committed(Self.time), .aborted(.recorded), .expired] {
      #expect(try ClientOutcome.answer(ClientOutcome.encode(answer: outcome)) == outcome)
    }
    #expect(try ClientDoubt.decode(ClientDoubt.encode(Self.doubts)) == Self.doubts)
    try ClientDoubt.checkQuestion(ClientDoubt.question)
  }

  @Test func `what is cut off, too long or rubbish throws, and never traps`() throws {
    func refuses(_ bytes: [UInt8], _ decode: ([UInt8]) throws -> Void) {
      for end in bytes.indices {
        #expect(throws: DatabaseError.self, "\(bytes) up to \(end)") { try decode(Array(bytes[..<end])) }
      }
      #expect(throws: DatabaseError.self) { try decode(bytes + [0]) }
      var later = bytes
      later[0] = 2
      #expect(throws: DatabaseError.self) { try decode(later) }
    }
    for statement in Self.statements {
      refuses(statement.encoded()) { _ = try ClientStatement(decoding: $0) }
    }
    for answer in Self.answers {
      refuses(answer.encoded()) { _ = try ClientAnswer(decoding: $0, of: txn(5)) }
    }
    for read in Self.reads { refuses(read.encoded()) { _ = try ClientRead(decoding: $0) } }
    refuses(ClientDoubt.encode(Self.doubts)) { _ = try ClientDoubt.decode($0) }
    refuses(ClientMoment(Self.time).encoded()) { _ = try ClientMoment(decoding: $0) }
    refuses(ClientOutcome.encode(txn(4))) { _ = try ClientOutcome.decode($0) }
    try withSeeds("ClientMessageTests", count: 20) { _, random in
      for statement in Self.statements {
        var bytes = statement.encoded()
        for _ in 0...random.below(3) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
        // What can be read is what is written.
        guard let read = try? ClientStatement(decoding: bytes) else { continue }
        #expect(read.encoded() == bytes)
      }
      let noise = [1] + random.bytes(random.below(200))
      _ = try? ClientAnswer(decoding: noise, of: txn(1))
      _ = try? ClientRead(decoding: noise)
      _ = try? ClientMoment.answer(noise)
      _ = try? ClientOutcome.answer(noise)
      _ = try? ClientDoubt.decode(noise)
    }
  }

  @Test func `a statement that no client can mean is refused`() {
    let named = ClientStatement(
      txn(1), 0, .begin(age: nil, idleMilliseconds: 1, durationMilliseconds: 0))
    #expect(throws: DatabaseError.self) { _ = try ClientStatement(decoding: named.encoded()) }
    let unnamed = ClientStatement(nil, 1, .abort)
    #expect(throws: DatabaseError.self) { _ = try ClientStatement(decoding: unnamed.encoded()) }
    for limit in [0, 10_001] {
      let scan = ClientStatement(txn(1), 1, .scan(from: [], to: nil, limit: limit, keyspace: "a"))
      #expect(throws: DatabaseError.self) { _ = try ClientStatement(decoding: scan.encoded()) }
    }
    #expect(throws: DatabaseError.self) {
      _ = try ClientAnswer(decoding: ClientAnswer.ended(.unknown(txn(1))).encoded(), of: nil)
    }
  }

  @Test func `the document's statement is the one that is sent`() throws {
    let sent = ClientStatement(
      TransactionID(
        start: Timestamp(rawValue: 0x0000_0000_03E8_0001), coordinator: CoordinatorID(rawValue: 5)), 3,
      .put(Array("A".utf8), Array("100".utf8), keyspace: "accounts"))
    let shown = try FormatDocument.example("client-statement")
    #expect(sent.encoded() == shown)
    #expect(try ClientStatement(decoding: shown) == sent)
  }
}

extension ClientMessageTests {
  @Test func `the document's questions of moments and outcomes are those that are sent`() throws {
    let time = Timestamp(rawValue: 0x0000_0000_03E8_0001)
    let moment = try FormatDocument.example("client-moment")
    #expect(ClientMoment(time).encoded() == moment)
    #expect(try ClientMoment(decoding: moment).time == time)
    let id = TransactionID(start: time, coordinator: CoordinatorID(rawValue: 5))
    let question = try FormatDocument.example("client-outcome")
    #expect(ClientOutcome.encode(id) == question)
    #expect(try ClientOutcome.decode(question) == id)
    let answer = try FormatDocument.example("client-outcome-answer")
    let committed = KnownOutcome.committed(Timestamp(rawValue: 0x0000_0000_03E8_0002))
    #expect(ClientOutcome.encode(answer: committed) == answer)
    #expect(try ClientOutcome.answer(answer) == committed)
  }

  @Test func `the document's reads are those that are sent`() throws {
    let time = Timestamp(milliseconds: 1_000, logical: 1)
    let moment = try FormatDocument.example("client-moment-answer")
    #expect(ClientMoment.encode(time) == moment)
    #expect(try ClientMoment.answer(moment) == time)
    let (a, b, c, z) = (Array("A".utf8), Array("B".utf8), Array("C".utf8), Array("Z".utf8))
    for (name, what) in [
      ("client-read", ClientRead.What.keys([a, b])),
      ("client-read-range", .range(from: a, to: z, limit: 1_000)),
    ] {
      let read = ClientRead(what, in: "accounts", at: time)
      let shown = try FormatDocument.example(name)
      #expect(read.encoded() == shown)
      #expect(try ClientRead(decoding: shown) == read)
    }
    var part = ClientEntries()
    part.entries = [ClientEntry(key: a, value: Array("100".utf8))]
    part.next = c
    for (name, answer) in [
      ("client-values", ClientAnswer.values([Array("100".utf8), nil])), ("client-entries", .entries(part)),
    ] {
      let shown = try FormatDocument.example(name)
      #expect(answer.encoded() == shown)
      #expect(try ClientAnswer(decoding: shown, of: nil) == answer)
    }
    #expect(NodeMessageKind.clientRead == 42)
  }

  @Test func `the document's transaction in doubt is the one that is told`() throws {
    #expect(try FormatDocument.example("client-doubts") == ClientDoubt.question)
    let id = TransactionID(
      start: Timestamp(milliseconds: 1_000, logical: 1), coordinator: CoordinatorID(rawValue: 5))
    let doubt = ClientDoubt(
      id, in: "/disk", since: Timestamp(milliseconds: 1_000, logical: 2), waitsFor: ["node 2"])
    let shown = try FormatDocument.example("client-doubts-answer")
    #expect(ClientDoubt.encode([doubt]) == shown)
    #expect(try ClientDoubt.decode(shown) == [doubt])
    #expect(NodeMessageKind.clientDoubts == 44)
  }
}

/// Pages of a range that is spread over partitions, and steps that end at once or later.
// Budget: 1 s
@Suite struct ClientReadTests {
  private static func entries(_ keys: [String], size: Int = 1) -> [ClientEntry] {
    keys.map { ClientEntry(key: Array($0.utf8), value: [UInt8](repeating: 0, count: size)) }
  }

  private static func keys(_ page: ClientEntries) -> [String] {
    page.entries.map { String(decoding: $0.key, as: UTF8.self) }
  }

  @Test func `a page has the least keys of all partitions`() {
    var merge = PageMerge(limit: 3, mostBytes: 1_000)
    #expect(merge.page == ClientEntries())
    merge.add(Self.entries(["b", "e", "g"]), readUpTo: Array("h".utf8))
    merge.add(Self.entries(["a", "f"]), readUpTo: nil)
    #expect(Self.keys(merge.page) == ["a", "b", "e"])
    #expect(merge.page.next == nil, "as many as were asked for")
  }

  @Test func `a page ends before what is not known of any partition`() {
    var merge = PageMerge(limit: 10, mostBytes: 1_000)
    merge.add(Self.entries(["b", "e", "g"]), readUpTo: nil)
    merge.add(Self.entries(["a", "c"]), readUpTo: Array("d".utf8))
    #expect(Self.keys(merge.page) == ["a", "b", "c"])
    #expect(merge.page.next == Array("d".utf8))
    merge.add(Self.entries(["aa", "f"]), readUpTo: nil)
    #expect(Self.keys(merge.page) == ["a", "aa", "b", "c"], "nothing comes behind it any more")
  }

  @Test func `a page ends at so many bytes, and has one entry at least`() {
    var merge = PageMerge(limit: 10, mostBytes: 20)
    merge.add(Self.entries(["b", "d"], size: 100), readUpTo: nil)
    #expect(Self.keys(merge.page) == ["b"])
    #expect(merge.page.next == Array("d".utf8))
    merge.add(Self.entries(["a"], size: 100), readUpTo: nil)
    #expect(Self.keys(merge.page) == ["a"])
    #expect(merge.page.next == Array("b".utf8))
  }

  @Test func `going on from page to page shows each key once`() throws {
    try withSeeds("ClientReadTests", count: 50) { _, random in
      let partitions: [[String]] = (0..<3).map { partition in
        (0..<random.below(20)).map { number in
          let letter = Character(UnicodeScalar(97 + UInt8(random.below(26))))
          return "\(letter)\(partition)\(number)"
        }.sorted()
      }
      var shown: [String] = []
      var start: [UInt8]? = []
      while let from = start {
        var merge = PageMerge(limit: 100, mostBytes: 1 + random.below(40))
        for keys in partitions {
          let rest = keys.filter { !Array($0.utf8).lexicographicallyPrecedes(from) }
          let count = min(rest.count, 1 + random.below(6))
          let next = rest.dropFirst(count).first.map { Array($0.utf8) }
          merge.add(Self.entries(Array(rest.prefix(count))), readUpTo: next)
        }
        shown += Self.keys(merge.page)
        if let next = merge.page.next { try #require(from.lexicographicallyPrecedes(next)) }
        start = merge.page.next
      }
      #expect(shown == partitions.joined().sorted())
    }
  }

  @Test func `steps that end at once need no deep stack, and those that end later go on`() {
    let count = Guarded(0)
    let held = Guarded<(@Sendable () -> Void)?>(nil)
    Steps.run(on: ManualWorkers()) { next in
      let number = count.withLock { count -> Int in
        count += 1
        return count
      }
      if number == 200_000 { return }
      if number % 50_000 == 0 { return held.withLock { $0 = next } }
      next()
    }
    for number in 1...3 {
      #expect(count.withLock { $0 } == number * 50_000)
      held.withLock { next in
        defer { next = nil }
        return next
      }?()
    }
    #expect(count.withLock { $0 } == 200_000)
  }

  @Test func `what follows a step that ended later is a worker's`() {
    let workers = HeldWorkers()
    let count = Guarded(0)
    let held = Guarded<(@Sendable () -> Void)?>(nil)
    Steps.run(on: workers) { next in
      count.withLock { $0 += 1 }
      held.withLock { $0 = next }
    }
    held.withLock { $0 }?()
    #expect(count.withLock { $0 } == 1, "not by whoever brought the answer")
    let jobs = workers.jobs.withLock { $0 }
    #expect(jobs.count == 1)
    for job in jobs { job() }
    #expect(count.withLock { $0 } == 2)
  }
}

/// Runs nothing by itself.
private final class HeldWorkers: Workers, Sendable {
  let jobs = Guarded<[@Sendable () -> Void]>([])

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) { jobs.withLock { $0.append(job) } }

  func runOneHere() -> Bool { false }

  func shutdown() {}
}
