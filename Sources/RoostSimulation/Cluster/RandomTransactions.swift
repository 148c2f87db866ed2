import RoostTransactions

/// Clients that move money between accounts, append to lists, write registers, and read all of it. Used by
/// one thread.
final class RandomTransactions: @unchecked Sendable {
  private static let accounts = (0..<6).map { "account\($0)" }
  private static let opening = 100
  private static let registers = (0..<3).map { "register\($0)" }
  private static let listCount = 3
  /// What some transfers add to, one each, in the eventual keyspace.
  private static let counter = "transfers"
  /// Their numbers follow those of the other clients.
  private static let firstClient = 64

  private unowned let world: SimulatedWorld
  private var isOver = false
  private(set) var openCalls = 0
  /// Of each client whose last transaction met another one: its first try, if the next is another.
  private var ages: [TransactionID?]
  private var lastElement = 0
  private var lastValue = 0

  init(_ world: SimulatedWorld, count: Int) {
    self.world = world
    ages = Array(repeating: nil, count: count)
  }

  /// Opens the accounts.
  ///
  /// - Throws: ``SimulationError``, `DatabaseError`.
  func open() throws {
    try world.transaction(at: world.nodes[0]) { transaction in
      for account in Self.accounts { try transaction.put(account, "\(Self.opening)") }
    }
    world.bank = (Self.accounts, Self.accounts.count * Self.opening)
  }

  func begin() { for client in ages.indices { planCall(of: client) } }

  func end() { isOver = true }

  // MARK: - Clients

  private func planCall(of client: Int) {
    if isOver { return }
    let pause = UInt64(10_000_000 + world.below(150_000_000))
    let label = EventLabel(kind: .step, from: Self.firstClient + client, to: 0)
    world.plan(after: pause, label) { [self] in call(of: client) }
  }

  private func call(of client: Int) {
    if isOver { return }
    let running = world.hosts.filter { $0.process != nil }
    guard !running.isEmpty else { return planCall(of: client) }
    let host = running[world.below(running.count)]
    openCalls += 1
    let choice = world.below(10)
    if choice < 2 {
      let keys = world.below(2) == 0 ? Self.accounts : Self.registers + [list(0)]
      SnapshotRun.begin(
        keys, lists: [list(0)], at: host, client: Self.firstClient + client
      ) { [self] _ in over(client) }
      return
    }
    let run = TransactionRun(world, at: host, client: Self.firstClient + client)
    run.begin(age: ages[client]) { [self] result in
      guard case .success = result else { return failed(client, run, result.map { _ in () }) }
      switch choice {
      case 2..<6: transfer(client, run)
      case 6..<9: append(client, run)
      default: write(client, run)
      }
    }
  }

  private func over(_ client: Int) {
    openCalls -= 1
    planCall(of: client)
  }

  /// Who met another may go on as the one that it was, so that it is the older some time.
  private func failed(_ client: Int, _ run: TransactionRun, _ result: Result<Void, TransactionFailure>) {
    ages[client] = nil
    if case .failure(.aborted(.conflict)) = result, world.below(3) > 0 { ages[client] = run.age }
    over(client)
  }

  /// Reads keys one after the other, and goes on with what they hold.
  private func read(
    _ keys: [String], forUpdate: [Bool], isList: Bool, _ client: Int, _ run: TransactionRun,
    _ found: [String?] = [], _ then: @escaping @Sendable ([String?]) throws -> Void
  ) {
    guard found.count < keys.count else {
      do {
        try then(found)
        run.commit { [self] outcome in
          ages[client] = nil
          if case .committed = outcome { world.faults?.acknowledged(at: run.host.index) }
          if case .aborted = outcome, run.reason == .conflict, world.below(3) > 0 { ages[client] = run.age }
          over(client)
        }
      } catch {
        run.abort()
        failed(client, run, .failure(.lost))
      }
      return
    }
    run.read(keys[found.count], forUpdate: forUpdate[found.count], isList: isList) { [self] result in
      switch result {
      case .success(let value):
        read(keys, forUpdate: forUpdate, isList: isList, client, run, found + [value], then)
      case .failure: failed(client, run, result.map { _ in () })
      }
    }
  }

  // MARK: - What they do

  private func transfer(_ client: Int, _ run: TransactionRun) {
    let from = world.below(Self.accounts.count)
    let to = (from + 1 + world.below(Self.accounts.count - 1)) % Self.accounts.count
    let names = [Self.accounts[from], Self.accounts[to]]
    let amount = 1 + world.below(40)
    let isCounted = world.below(3) == 0
    // Who reads what it then writes without saying so meets others at its commit.
    let forUpdate = [world.below(4) > 0, world.below(4) > 0]
    read(names, forUpdate: forUpdate, isList: false, client, run) { values in
      guard let source = values[0].flatMap({ Int($0) }), let target = values[1].flatMap({ Int($0) }),
        source >= amount
      else { return }
      try run.write(names[0], "\(source - amount)")
      try run.write(names[1], "\(target + amount)")
      if isCounted { try run.increment(Self.counter, by: 1) }
    }
  }

  /// Each minute has lists of its own, so that none grows without end.
  private func list(_ number: Int) -> String { "list\(number).\(world.milliseconds / 60_000)" }

  private func append(_ client: Int, _ run: TransactionRun) {
    let first = world.below(Self.listCount)
    var names = [list(first)]
    // Some read another list before, or append to both.
    if world.below(2) == 0 {
      names.insert(list((first + 1 + world.below(Self.listCount - 1)) % Self.listCount), at: 0)
    }
    let written = names.count == 2 && world.below(2) == 0 ? names : [names.last!]
    lastElement += 1
    let element = "\(lastElement)"
    let chosen = names
    read(
      chosen, forUpdate: chosen.map { written.contains($0) && world.below(4) > 0 }, isList: true, client, run
    ) { values in
      for (name, value) in zip(chosen, values) where written.contains(name) {
        let list = (value.map { [$0] } ?? []) + [element]
        try run.write(name, list.joined(separator: " "), appending: element)
      }
    }
  }

  /// Writes that read nothing: one store alone commits them, where it has both.
  private func write(_ client: Int, _ run: TransactionRun) {
    let first = world.below(Self.registers.count)
    let isOne = world.below(2) == 0
    lastValue += 1
    let value = "v\(lastValue)"
    read([], forUpdate: [], isList: false, client, run) { _ in
      try run.write(Self.registers[first], value)
      if !isOne { try run.write(Self.registers[(first + 1) % Self.registers.count], value) }
    }
  }
}
