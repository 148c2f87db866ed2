import RoostCausality
import RoostCluster

// How a simulation comes to its end: all is made well, the replicas are given the time to agree, and what
// they hold is compared with what clients were told.

extension SimulatedWorld {
  /// What is let pass first: longer than leases last and clocks were ahead.
  private static let rest = Duration.seconds(40)
  /// How long after all was well nothing may be in doubt any more.
  private static let longestDoubt = Duration.seconds(90)
  /// How long hints may take to be handed over that have to wait for their rate.
  private static let longestHandover = Duration.seconds(240)

  /// Makes all well, starts all nodes again, and lets the world run until the replicas agree: hints are
  /// handed over, a change of the members that is under way is finished, and each node compares what it has
  /// with the others. What became of transactions is asked, and all that they wrote is read.
  ///
  /// Nodes whose disks were wiped stay down; where a change of the members waits for one, others take its
  /// place. Whether the replicas agree in the end, ``replicasAgree`` says.
  ///
  /// - Throws: ``SimulationError`` where no more events may happen, a node does not come back, or a change of
  ///   the members does not end.
  public func settle() throws {
    try makeWell()
    run(for: Self.rest)
    try settleDoubts(within: Self.longestDoubt - Self.rest)
    try settleMembers()
    // Some may be the only copy that is left.
    if isPaced { try run(untilTrue: { !hasHints }, within: Self.longestHandover) }
    for _ in 0..<6 {
      try checkSteps()
      for host in hosts where host.node != nil { try repair(host) }
      run(for: .seconds(3))
      if replicasAgree, !hasHints { break }
    }
    try settleTransactions()
  }

  private func makeWell() throws {
    faults?.end()
    faults = nil
    heal()
    weather = .fair
    transactionFate = nil
    subvert(.none)
    hidesDirectory = []
    for node in nodes {
      let host = hosts[node.index]
      host.time.skewNanoseconds = 0
      host.slowness = 1
      try mendDisk(node)
      // No power is lost any more.
      host.fileSystem.onOperation(nil)
      if host.hasDiskFaults, host.process != nil { try kill(node) }
      host.hasDiskFaults = false
    }
    for node in nodes where !hosts[node.index].isLost {
      do { try restart(node) } catch {
        if hosts[node.index].isLost { continue }
        throw SimulationError("\(node) does not come back: \(error)")
      }
    }
  }

  /// Hints for nodes that are there.
  private var hasHints: Bool {
    let present = hosts.compactMap { $0.node == nil ? nil : $0.member }
    return hosts.contains { host in
      guard let kept = host.node?.hints.statistics.hints else { return false }
      return present.contains { kept[$0] != nil }
    }
  }

  /// Has a node compare what it has with the other replicas. Where a replica is gone for good, its
  /// comparison ends: then reads from those that are left do it, key by key.
  private func repair(_ host: SimulatedHost) throws {
    guard let node = host.node else { return }
    let isDone = Box(false)
    let deadline = host.time.monotonicNanoseconds &+ 120_000_000_000
    node.repair(until: deadline) { _ in isDone.value = true }
    try run(untilTrue: { isDone.value }, within: .seconds(180))
    guard hasLostMembers else { return }
    for key in history.keys + history.effectKeys {
      let holders = holders(of: key)
      guard holders.contains(where: { $0 === host }) else { continue }
      var request = KeyRequest(.get, Array(key.utf8), in: Self.keyspace)
      request.quorum = max(1, holders.count)
      let isRead = Box(false)
      node.perform(request, deadline: node.requestDeadline) { _ in isRead.value = true }
      try run(untilTrue: { isRead.value }, within: .seconds(60))
    }
  }

  /// The hosts that are up and are replicas of a key.
  func holders(of key: String) -> [SimulatedHost] {
    guard let node = hosts.lazy.compactMap(\.node).first(where: { !$0.isDismissed }),
      let partition = try? node.keyspace(Self.keyspace).partition(of: Array(key.utf8))
    else { return [] }
    let members = node.core.ring.replicas(of: partition).prefix(replicaCount)
    return members.compactMap { member in hosts.first { $0.member == member && $0.node != nil } }
  }

  /// The nodes that hold a key, those that are down left out; in the order in which they are preferred.
  public func replicas(of key: String) -> [SimulatedNode] {
    holders(of: key).map { SimulatedNode(index: $0.index) }
  }

  func held(_ key: String, at host: SimulatedHost) -> Result<Record?, any Error> {
    Result { try host.node?.keyspace(Self.keyspace).held(Array(key.utf8)) }
  }

  /// Whether, for every key that a client has written, all its replicas that are up hold the same.
  public var replicasAgree: Bool {
    (history.keys + history.effectKeys).allSatisfy { disagreement(on: $0) == nil }
  }

  func disagreement(on key: String) -> String? {
    let holders = holders(of: key)
    var first: Record??
    for host in holders {
      switch held(key, at: host) {
      case .failure(let error): return "node \(host.index + 1) cannot read it: \(error)"
      case .success(let record):
        // One may have reaped what another has yet to.
        let shown = reaps && record?.isTombstone == true ? nil : record
        if let first, first != shown {
          return "nodes \(holders[0].index + 1) and \(host.index + 1) differ"
        }
        first = .some(shown)
      }
    }
    return nil
  }

  /// What is wrong, each with the key's history: an acknowledged, synced write that is lost and was not
  /// replaced; a value that was deleted and is back; a counter that is out of its bounds; an element that is
  /// lost; a value that nobody wrote, or whose write was refused; replicas that differ. Where quorums of
  /// reads and writes meet, and no store but a replica counts for a write, also a read that was told such a
  /// thing; and what is wrong with transactions: reads that do not return what the last one before them
  /// wrote, acknowledged ones that are not there, effects that were done not at all or twice, and those that
  /// are in doubt for long. A counter that transactions change and others too is not judged. To be asked once
  /// the world has settled.
  public func violations() -> [String] {
    var found: [String] = []
    found += transactionViolations()
    let effects = Set(history.effectKeys)
    for key in history.keys where !effects.contains(key) || !history.hasWrites(of: key) {
      found += history.readViolations(of: key)
      if let difference = disagreement(on: key) {
        found.append(history.explained(key, "replicas differ: \(difference)"))
        continue
      }
      let holders = holders(of: key)
      guard let host = holders.first else {
        found.append("\(key): no replica of it is up")
        continue
      }
      if case .success(let record) = held(key, at: host) {
        found += history.violations(of: key, record)
      }
    }
    return found
  }
}
