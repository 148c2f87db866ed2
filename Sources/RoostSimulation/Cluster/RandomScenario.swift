// The random scenario of `Simulation.random`: clients that write and read, and a course of faults.
//
// What is promised limits what may go wrong. A write is acknowledged with two copies that are synced (of
// three replicas), so the disk of one host may be lost or go back in time, and no other's: the *victim*,
// which is the same one all along. Anything else may befall any host at any time.

/// Drives clients and faults in a world. Used by one thread.
final class RandomScenario: @unchecked Sendable {
  private static let clientCount = 4
  private static let plainKeys = 5
  private static let counterKeys = 2
  private static let setKeys = 2

  private unowned let world: SimulatedWorld
  private let victim: Int
  private var backup: SimulatedDisk?
  private var isOver = false
  private var openCalls = 0
  /// What each client has read last of each key.
  private var contexts: [[String: SimulatedContext]]
  /// Those that may be removed.
  private var elements: [String] = []
  private var minute: UInt64 = 0
  private var nextElement = 0
  private var nextValue = 0

  init(_ world: SimulatedWorld) {
    self.world = world
    victim = world.below(world.hosts.count)
    contexts = Array(repeating: [:], count: Self.clientCount)
  }

  /// Lets things go wrong for so long, and then until all calls have ended.
  ///
  /// - Throws: ``SimulationError`` where no more events may happen.
  func run(for duration: Duration) throws {
    world.weather = .rough
    for client in 0..<Self.clientCount { planCall(of: client) }
    planFault()
    world.run(for: duration)
    isOver = true
    try world.run(untilTrue: { self.openCalls == 0 }, within: .seconds(30))
  }

  // MARK: - Clients

  private func planCall(of client: Int) {
    if isOver { return }
    let pause = UInt64(10_000_000 + world.below(300_000_000))
    world.plan(after: pause, EventLabel(kind: .step, from: client, to: 0)) { [self] in call(of: client) }
  }

  private func call(of client: Int) {
    if isOver { return }
    takeNewKeys()
    let asked = chosenCall(of: client)
    let key = asked.key
    openCalls += 1
    world.begin(asked, at: chosenHost(), isSynced: world.below(4) > 0) { [self] result in
      openCalls -= 1
      switch result {
      case .read(let read): contexts[client][key] = read.context
      // Now and then a client goes on with what it read before, and so makes a sibling.
      case .written(let context): if world.below(4) > 0 { contexts[client][key] = context }
      case .failed: break
      }
      planCall(of: client)
    }
  }

  /// Each minute has keys of its own, so that no record grows without end.
  private func takeNewKeys() {
    let now = world.milliseconds / 60_000
    guard now != minute else { return }
    minute = now
    elements = []
    contexts = contexts.map { _ in [:] }
  }

  /// Most of the time one that runs.
  private func chosenHost() -> SimulatedHost {
    let running = world.hosts.filter { $0.process != nil }
    if running.isEmpty || world.below(20) == 0 { return world.hosts[world.below(world.hosts.count)] }
    return running[world.below(running.count)]
  }

  private func chosenCall(of client: Int) -> AskedCall {
    switch world.below(10) {
    case 0..<6: return chosenPlainCall(of: client)
    case 6, 7:
      let key = "counter\(world.below(Self.counterKeys)).\(minute)"
      if world.below(5) == 0 { return .get(key) }
      let amount = Int64(world.below(9)) - 3
      return .increment(key, amount == 0 ? 10 : amount)
    default:
      let key = "set\(world.below(Self.setKeys)).\(minute)"
      switch world.below(6) {
      case 0: return .get(key)
      case 1 where !elements.isEmpty: return .remove(key, elements[world.below(elements.count)])
      default:
        nextElement += 1
        let element = "e\(nextElement)"
        // Some are never removed.
        if nextElement % 3 == 0 { elements.append(element) }
        return .add(key, element)
      }
    }
  }

  private func chosenPlainCall(of client: Int) -> AskedCall {
    let key = "key\(world.below(Self.plainKeys)).\(minute)"
    let known = contexts[client][key]
    switch world.below(20) {
    case 0..<7: return .get(key)
    case 7, 8:
      if let known { return .delete(key, known) }
      return .get(key)
    case 9..<12: return .put(key, newValue(), nil)
    default: return .put(key, newValue(), known)
    }
  }

  private func newValue() -> String {
    nextValue += 1
    // Some are long, so that tables fill.
    let filling = world.below(8) == 0 ? String(repeating: ".", count: world.below(2_000)) : ""
    return "v\(nextValue)\(filling)"
  }

  // MARK: - Faults

  private func planFault() {
    if isOver { return }
    let pause = UInt64(200_000_000 + world.below(2_000_000_000))
    world.plan(after: pause, EventLabel(kind: .step, from: Self.clientCount, to: 0)) { [self] in
      if isOver { return }
      // A node that cannot bear one (it does not start on a full disk) stays down until all is well.
      try? fault()
      planFault()
    }
  }

  private func fault() throws {
    let nodes = world.nodes
    let node = nodes[world.below(nodes.count)]
    let other = nodes[world.below(nodes.count)]
    switch world.below(28) {
    case 0, 1: if node != other { world.cut(from: node, to: other) }
    case 2, 3:
      let side = nodes.filter { _ in world.below(2) == 0 }
      world.partition(side, from: nodes.filter { !side.contains($0) })
    case 4...6: world.heal()
    case 7, 8: try crashSome(node)
    case 9: try world.crash(node, afterOperations: 1 + world.below(60), losing: policy())
    case 10: if mayFall(node) { try world.kill(node) }
    case 11: if mayFall(node) { try world.close(node) }
    case 12...16: try restartSome()
    case 17: try world.setClock(node, ahead: .milliseconds(Int64(world.below(600)) - 300))
    case 18: try world.setClock(node, ahead: .milliseconds(Int64(world.below(24_000)) - 12_000))
    case 19: try world.setClock(node, ahead: .zero)
    case 20: try world.slow(node, by: 1 + world.below(80))
    case 21: for node in nodes { try world.slow(node, by: 1) }
    case 22: try world.fillDisk(node, leaving: Int64(world.below(200_000)))
    case 23: for node in nodes { try world.mendDisk(node) }
    case 24: try world.failSync(node)
    case 25: world.setDirectory(world.below(2) == 0, of: node)
    default: try goBackInTime()
    }
  }

  private func policy() -> CrashPolicy {
    switch world.below(4) {
    case 0: .dropAll
    case 1: .keepAll
    default: .random
    }
  }

  /// Now and then everything is down; most of the time a majority is up.
  private func mayFall(_ node: SimulatedNode) -> Bool {
    let running = world.runningNodes
    guard running.contains(node) else { return false }
    return running.count - 1 > world.hosts.count / 2 || world.below(10) == 0
  }

  private func crashSome(_ node: SimulatedNode) throws {
    if world.below(25) == 0 {
      for node in world.runningNodes { try world.crash(node, losing: policy()) }
    } else if mayFall(node) {
      try world.crash(node, losing: policy())
    }
  }

  private func restartSome() throws {
    for node in world.nodes where world.hosts[node.index].process == nil && !world.hosts[node.index].isLost {
      // One that does not come back (its disk is full) does not keep the others from it.
      if world.below(3) > 0 { try? world.restart(node) }
    }
  }

  /// Copies the victim's disk, or puts the copy in the disk's place; in the end it may be lost altogether.
  private func goBackInTime() throws {
    let node = world.nodes[victim]
    guard world.databaseOptions.replicas >= 3, !world.hosts[victim].isLost else { return }
    guard let kept = backup else {
      backup = try world.backUp(node)
      return
    }
    if world.below(12) == 0 { return try world.wipe(node) }
    try world.restore(node, from: kept)
    if world.below(2) == 0 { try world.restart(node) }
    if world.below(2) == 0 { backup = nil }
  }
}
