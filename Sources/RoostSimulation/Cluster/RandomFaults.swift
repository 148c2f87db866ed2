// A course of faults, one after the other, at random.
//
// What is promised limits what may go wrong. A write is acknowledged with as many copies that are synced as
// its quorum says, so the disks of one host fewer may be lost or go back in time, and no others: the
// *victims*, which are the same ones all along. Anything else may befall any host at any time.
//
// Faults that come at any moment seldom hit the moment that matters. So some wait for it: right after a write
// was acknowledged, all that is allowed to forget it does (a *storm*), most of all where the node that took
// it was cut off from most others, and a hint may be the only copy left.
//
// Nodes that come later are no victims. Where tombstones are reaped hints live for some seconds only, and one
// that has become too old is a copy less: then disks are lost only where no hint counts for a write.

/// Lets things go wrong in a world, by events. Used by one thread.
final class RandomFaults: @unchecked Sendable {
  private unowned let world: SimulatedWorld
  private let kinds: SimulationFaults
  /// Hosts whose disks may be lost.
  let victims: [Int]
  private var backups: [Int: SimulatedDisk] = [:]
  private var isOver = false
  private var members: RandomMembers?
  /// A key that many clients write: some cuts leave nodes alone with stores that do not hold it.
  var hotKey: String?

  init(_ world: SimulatedWorld, _ kinds: SimulationFaults) {
    self.world = world
    var kinds = kinds
    // What transactions write is on one disk.
    if world.hasTransactions { kinds.remove(.lostDisks) }
    self.kinds = kinds
    var hosts = Array(world.hosts.indices)
    var victims: [Int] = []
    let hintsCount = world.hosts.count > world.replicaCount || kinds.contains(.members)
    if kinds.contains(.lostDisks), world.replicaCount >= 3, !(world.reaps && hintsCount) {
      for _ in 1..<max(1, world.writeQuorumCount) {
        victims.append(hosts.remove(at: world.below(hosts.count)))
      }
    }
    self.victims = victims
  }

  func begin() {
    if kinds.contains(.network) { world.weather = .rough }
    for victim in victims { backUp(victim) }
    planFault()
    guard kinds.contains(.members) else { return }
    members = RandomMembers(world) { [unowned self] node in try strike(node) }
    // At first all reads of eventual keys are judged.
    later(world.below(10_000_000_000)) { [self] in lookAtMembers() }
  }

  func end() { isOver = true }

  /// Does something later. What a node cannot bear (it does not start on a full disk) keeps it down until all
  /// is well.
  private func later(_ nanoseconds: Int, _ action: @escaping @Sendable () throws -> Void) {
    world.plan(after: UInt64(nanoseconds), EventLabel(kind: .step, from: world.hosts.count, to: 0)) {
      [self] in
      if isOver { return }
      try? action()
    }
  }

  private func planFault() {
    later(200_000_000 + world.below(1_500_000_000)) { [self] in
      try? fault()
      planFault()
    }
  }

  private func lookAtMembers() {
    try? members?.step()
    later(300_000_000 + world.below(2_500_000_000)) { [self] in lookAtMembers() }
  }

  private func fault() throws {
    let nodes = world.presentNodes
    guard !nodes.isEmpty else { return }
    let node = nodes[world.below(nodes.count)]
    let other = nodes[world.below(nodes.count)]
    let choice = world.below(32)
    guard let kind = Self.kind(choice) else { return try restartSome() }
    guard kinds.contains(kind) else { return }
    switch choice {
    case 0, 1: if node != other { world.cut(from: node, to: other) }
    case 2...5: partition()
    case 6...8: world.heal()
    case 9, 10: try crashSome(node)
    case 11, 12: try world.crash(node, afterOperations: 1 + world.below(60), losing: policy())
    case 13: if mayFall(node) { try world.kill(node) }
    case 14: if mayFall(node) { try world.close(node) }
    case 15: try world.setClock(node, ahead: jump(300))
    case 16 where world.reaps: break  // It relies on clocks that differ by no more than they may.
    case 16: try world.setClock(node, ahead: jump(12_000))
    case 17: try world.setClock(node, ahead: .zero)
    case 18: try world.slow(node, by: 1 + world.below(80))
    case 19: for node in nodes { try world.slow(node, by: 1) }
    case 20: try world.fillDisk(node, leaving: Int64(world.below(200_000)))
    case 21: for node in nodes { try world.mendDisk(node) }
    case 22: try world.failSync(node)
    case 23: world.setDirectory(world.below(2) == 0, of: node)
    default: try goBackInTime()
    }
  }

  /// - Returns: `nil` where nodes that are down are started again.
  private static func kind(_ choice: Int) -> SimulationFaults? {
    switch choice {
    case 0...8: .network
    case 9...12: .power
    case 13, 14: .processes
    case 15...17: .clocks
    case 18, 19: .slowness
    case 20...22: .disks
    case 23: .directory
    case 24, 25: .lostDisks
    default: nil
    }
  }

  /// A clock is off by so much at most; where transactions run, so that no two are apart by their bound.
  private func jump(_ mostMilliseconds: Int) -> Duration {
    let most = world.hasTransactions ? Int(SimulatedWorld.clockBoundMilliseconds) * 9 / 20 : mostMilliseconds
    return .milliseconds(Int64(world.below(2 * most)) - Int64(most))
  }

  // MARK: - The network

  private func partition() {
    // Else the cuts add up.
    if world.below(2) == 0 { world.heal() }
    let nodes = world.presentNodes
    var side = nodes.filter { _ in world.below(2) == 0 }
    if let hotKey, !victims.isEmpty, nodes.count > world.replicaCount, world.below(2) == 0 {
      let holders = world.replicas(of: hotKey)
      side = nodes.filter { victims.contains($0.index) || !holders.contains($0) }
    }
    world.partition(side, from: nodes.filter { !side.contains($0) })
  }

  /// Whether a host is cut off from half of the others or more.
  private func isLonely(_ host: Int) -> Bool {
    let others = world.presentNodes.map(\.index).filter { $0 != host }
    let cut = others.filter { world.network.isCut(from: host, to: $0) }
    return !others.isEmpty && 2 * cut.count >= others.count
  }

  // MARK: - Machines

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
    return running.count - 1 > world.presentNodes.count / 2 || world.below(10) == 0
  }

  /// One that a partition moves from or to goes down in the middle of that.
  private func strike(_ node: SimulatedNode) throws {
    guard mayFall(node) else { return }
    if kinds.contains(.power), world.below(2) == 0 {
      try world.crash(node, afterOperations: 1 + world.below(20), losing: policy())
    } else if kinds.contains(.processes) {
      try world.kill(node)
    }
    later(500_000_000 + world.below(2_000_000_000)) { [self] in
      if isDown(node) { try world.restart(node) }
    }
  }

  private func crashSome(_ node: SimulatedNode) throws {
    if world.below(25) == 0 {
      for node in world.runningNodes { try world.crash(node, losing: policy()) }
    } else if mayFall(node) {
      try world.crash(node, losing: policy())
    }
  }

  private func restartSome() throws {
    for node in world.nodes where isDown(node) {
      // One that does not come back (its disk is full) does not keep the others from it.
      if world.below(3) > 0 { try? world.restart(node) }
    }
  }

  private func isDown(_ node: SimulatedNode) -> Bool {
    let host = world.hosts[node.index]
    return host.process == nil && !host.isLost
  }

  /// Starts what is down again, each within a second.
  private func restartSoon() {
    for node in world.nodes where isDown(node) {
      later(world.below(1_000_000_000)) { [self] in if isDown(node) { try world.restart(node) } }
    }
  }

  // MARK: - Lost disks

  private func backUp(_ victim: Int) {
    if !world.hosts[victim].isLost { backups[victim] = try? world.backUp(world.nodes[victim]) }
  }

  /// Copies a victim's disk, or puts the copy in the disk's place; in the end it may be lost altogether.
  private func goBackInTime() throws {
    guard !victims.isEmpty else { return }
    let victim = victims[world.below(victims.count)]
    let node = world.nodes[victim]
    guard !world.hosts[victim].isLost else { return }
    guard let kept = backups[victim], world.below(3) > 0 else { return backUp(victim) }
    if world.below(20) == 0 { return try world.wipe(node) }
    try world.restore(node, from: kept)
    restartSoon()
  }

  // MARK: - Storms

  /// A client was just told that its write is done.
  func acknowledged(at host: Int) {
    if isOver { return }
    if victims.contains(host) {
      // By an event of its own: the node is in the middle of this one.
      if world.below(isLonely(host) ? 6 : 30) == 0 { later(1_000) { [self] in try storm() } }
    } else if kinds.contains(.power), world.below(60) == 0 {
      later(1_000) { [self] in
        let node = world.nodes[host]
        guard mayFall(node) else { return }
        try world.crash(node, losing: .dropAll)
        restartSoon()
      }
    }
  }

  /// All that may forget does, at one moment.
  private func storm() throws {
    for victim in victims where !world.hosts[victim].isLost {
      if let kept = backups[victim] { try world.restore(world.nodes[victim], from: kept) }
    }
    if kinds.contains(.power), world.below(2) == 0 {
      for node in world.runningNodes { try world.crash(node, losing: .dropAll) }
    }
    restartSoon()
    guard world.below(2) == 0 else { return }
    later(1_500_000_000 + world.below(4_000_000_000)) { [self] in for victim in victims { backUp(victim) } }
  }
}
