import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Many transactions over three nodes, whose messages are lost, doubled and overtaken, and which are killed
/// and started again: what was told is strictly serialisable, and in the end nothing is in doubt.
// Budget: 20 s
@Suite struct RemoteRandomTests {
  @Test func `registers over three nodes are strictly serialisable`() throws {
    try withSeeds("RemoteRandomTests", count: TestSize.of(quick: 3, full: 40)) { seed, random in
      let run = try RegisterRun(seed)
      for _ in 0..<TestSize.of(quick: 700, full: 2_000) { try run.act(&random) }
      try run.finish(&random)
      let anomalies = RegisterChecker.check(run.history)
      try #require(anomalies.isEmpty, "seed \(seed): \(anomalies)\n\(run.history.jsonLines)")
      // Or the test shows nothing.
      #expect(run.committed > 8 && run.world.wire.met > 50, "\(run.committed) committed")
    }
  }

  /// Money is moved between accounts of three nodes; whoever looks, at any node, finds all of it.
  @Test func `a bank over three nodes keeps its money`() throws {
    try withSeeds("RemoteBankTests", count: TestSize.of(quick: 2, full: 20)) { seed, random in
      let world = try RemoteWorld(seed: seed)
      let names = try (0..<3).flatMap { try world.names(2, at: $0) }
      let bank = BankChecker(total: 600, accountCount: names.count)
      try world.write(Dictionary(uniqueKeysWithValues: names.map { ($0, "100") }), at: 0)
      world.wire.disturb(lost: 6, doubled: 6, held: 18, seed: seed)
      for round in 0..<TestSize.of(quick: 25, full: 150) {
        if round % 8 == 7 {
          let index = random.below(3)
          world.kill(index, losing: random.below(2) == 0 ? .random : nil, seed: random.next())
          try world.restart(index)
        }
        let transfers = try (0..<2).map { _ in
          let (from, to) = random.two(below: names.count)
          return try MoneyTransfer(world, names[from], names[to], 1 + random.below(40), at: random.below(3))
        }
        try world.settle { transfers.allSatisfy(\.isOver) }
        let index = random.below(3)
        // A node that was started again refuses what is older, and its clock is ahead: the audit moves.
        if let fault = bank.fault(try world.values(names, at: index)) {
          Issue.record("seed \(seed), round \(round): \(fault)")
        }
      }
    }
  }
}

/// Clients that read and write registers, each one transaction after the other. Used by one thread.
private final class RegisterRun: @unchecked Sendable {
  let world: RemoteWorld
  private(set) var history = History()
  private(set) var committed = 0
  private let names: [String]
  private var clients: [Client] = []
  private var lastProcess = 0
  private var lastValue = 0
  private var unknown: [TransactionID] = []

  /// A transaction that is under way.
  private final class Client: @unchecked Sendable {
    let process: Int
    let host: Int
    let id: TransactionID
    /// `nil` once its process was killed: what waits there would keep it, and so itself.
    var transaction: TransactionCore?
    var operations: [HistoryOperation]
    var isOver = false

    init(_ process: Int, _ host: Int, _ transaction: TransactionCore, _ operations: [HistoryOperation]) {
      self.process = process
      self.host = host
      id = transaction.id
      self.transaction = transaction
      self.operations = operations
    }
  }

  init(_ seed: UInt64) throws {
    world = try RemoteWorld(seed: seed)
    let world = world
    names = try (0..<3).flatMap { try world.names(2, at: $0) }
    world.wire.disturb(lost: 5, doubled: 5, held: 50, seed: seed ^ 0x5EED)
  }

  func act(_ random: inout SplitMix64) throws {
    clients.removeAll { $0.isOver }
    switch random.below(100) {
    case ..<12 where clients.count < 5 && !world.running.isEmpty:
      try begin(at: world.running[random.below(world.running.count)], &random)
    case 12 where world.running.count > 1:
      let index = world.running[random.below(world.running.count)]
      world.kill(index, losing: random.below(2) == 0 ? .random : nil, seed: random.next())
      for client in clients where client.host == index {
        end(client, .info)
        client.transaction = nil
      }
    case 13..<17:
      if let index = (0..<3).first(where: { !world.running.contains($0) }) { try world.restart(index) }
    default: world.step(random.below(64))
    }
  }

  /// All nodes are there again, and nothing is lost any more.
  func finish(_ random: inout SplitMix64) throws {
    world.wire.fate = { _ in .arrives }
    for index in 0..<3 where !world.running.contains(index) { try world.restart(index) }
    try world.settle { clients.allSatisfy(\.isOver) && !world.isInDoubt }
    // Longer than anything of before may be taken.
    world.pass(seconds: 30)
    for id in unknown {
      let answers = try (0..<3).map { try world.outcome(of: id, at: $0) }
      try #require(Set(answers.map { "\($0)" }).count == 1, "\(id): \(answers)")
      try #require(answers[0] != .undecided, "\(id) is not decided")
    }
    // Who reads in the end sees it all.
    lastProcess += 1
    let process = lastProcess
    let values = try world.values(names, at: random.below(3))
    note(process, "last", .invoke, names.map { .read($0, nil) })
    note(process, "last", .ok, zip(names, values).map { .read($0, $1.flatMap { Int($0) }) })
  }

  private func note(
    _ process: Int, _ id: String, _ kind: HistoryEvent.Kind, _ operations: [HistoryOperation],
    commit: UInt64? = nil
  ) {
    history.append(
      HistoryEvent(
        kind: kind, process: process, transaction: id, operations: operations,
        time: world.time.monotonicNanoseconds, commit: commit))
  }

  private func begin(at host: Int, _ random: inout SplitMix64) throws {
    let (first, second) = random.two(below: names.count)
    let keys = [names[first], names[second]]
    lastValue += 1
    lastProcess += 1
    let value = lastValue
    // One of three reads only, and one writes but one of its keys.
    let written = Array(keys.prefix(random.below(3)))
    guard let transaction = try? TransactionCore(try world.manager(host)) else { return }
    let client = Client(
      lastProcess, host, transaction,
      keys.map { .read($0, nil) } + written.map { .write($0, value) })
    clients.append(client)
    note(client.process, "\(transaction.id)", .invoke, client.operations)
    read(client, keys, 0, written, value)
  }

  private func read(_ client: Client, _ keys: [String], _ next: Int, _ written: [String], _ value: Int) {
    guard let transaction = client.transaction else { return }
    do {
      guard next < keys.count else { return try commit(client, transaction, written, value) }
      let name = keys[next]
      try world.read(name, in: transaction, forUpdate: written.contains(name)) { [self] result in
        switch result {
        case .success(let text):
          client.operations[next] = .read(name, text.flatMap { Int($0) })
          read(client, keys, next + 1, written, value)
        case .failure: end(client, .fail)
        }
      }
    } catch {
      transaction.abort()
      end(client, .fail)
    }
  }

  private func commit(
    _ client: Client, _ transaction: TransactionCore, _ written: [String], _ value: Int
  ) throws {
    for name in written { try transaction.write(world.reference(name), Array("\(value)".utf8)) }
    try transaction.commit(isSynced: true) { [self] outcome in
      switch outcome {
      case .committed(let time): end(client, .ok, commit: time.rawValue)
      case .aborted: end(client, .fail)
      case .unknown: end(client, .info)
      }
    }
  }

  private func end(_ client: Client, _ kind: HistoryEvent.Kind, commit: UInt64? = nil) {
    // A process that was killed tells nobody any more.
    if client.isOver { return }
    client.isOver = true
    if kind == .ok { committed += 1 }
    if kind == .info { unknown.append(client.id) }
    note(client.process, "\(client.id)", kind, client.operations, commit: commit)
  }
}
