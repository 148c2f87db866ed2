/// What a random simulation came to.
public struct SimulationReport: Sendable {
  public var seed: UInt64
  public var minutes: Double
  public var nodes: Int
  /// How many events happened.
  public var events = 0
  /// A checksum over all of them: the same for the same seed and options.
  public var traceHash: UInt64 = 0
  /// Writes that were acknowledged, were refused, and may or may not have happened.
  public var acknowledged = 0
  public var refused = 0
  public var inDoubt = 0
  /// Transactions that committed, were aborted, and of which the client was told neither.
  public var committed = 0
  public var aborted = 0
  public var unknown = 0
  /// Nodes that joined, and those that are gone for good: that have left, most of them. None that failed
  /// before it served.
  package var joined = 0
  package var gone = 0
  /// How often a partition's transactional keys were seen to have come to another owner while clients still
  /// acted.
  package var flips = 0
  /// What a client would have cause to complain about, each with the history of its key.
  public var violations: [String] = []

  /// What all calls asked and were told, one JSON object a line: see `docs/simulation.md`. Empty unless asked
  /// for.
  public var history = ""

  public var ok: Bool { violations.isEmpty }
}

/// A cluster in which all that happens follows from one number: messages are late, lost and doubled, disks
/// lose what was not synced, clocks jump, and the same seed does the same each time.
///
/// ```swift
/// try Simulation(seed: 7).run { world in
///   let nodes = try world.cluster(of: 3)
///   world.partition([nodes[0]], from: [nodes[1], nodes[2]])
///   try world.put("bio", "hello", at: nodes[1])
///   world.heal()
///   try world.settle()
///   precondition(world.replicasAgree && world.violations().isEmpty)
/// }
/// ```
///
/// A simulation runs on the thread that calls it. Different ones may run at once.
public struct Simulation: Sendable {
  public let seed: UInt64

  public init(seed: UInt64) { self.seed = seed }

  /// Runs `body` in a new world.
  ///
  /// - Parameter body: must not keep the world.
  /// - Returns: what it returns.
  /// - Throws: what it throws.
  public func run<Result>(_ body: (SimulatedWorld) throws -> Result) rethrows -> Result {
    let world = SimulatedWorld(seed: seed)
    defer { world.end() }
    return try body(world)
  }

  /// Runs clients against a cluster where all goes wrong: cuts of any shape, messages that are lost, late
  /// and doubled, kills, losses of power in the middle of a write and right after it, full and failing disks,
  /// disks that go back to old backups or are lost, clocks that are off and jump, slow nodes, while nodes
  /// come and go. Then all is made well, and what the cluster holds, and what reads returned, is compared
  /// with what was acknowledged. With ``SimulationOptions/transactions`` transactions between the nodes are
  /// part of it.
  ///
  /// - Parameters:
  ///   - seed: with the options decides everything.
  ///   - minutes: of simulated time in which things go wrong: above 0, up to 1,000.
  ///   - nodes: 1 to 64.
  /// - Returns: also where the simulation could not be run to its end: that is a violation.
  public static func random(seed: UInt64, minutes: Double = 1, nodes: Int = 3) -> SimulationReport {
    var options = SimulationOptions()
    options.minutes = minutes
    options.nodes = nodes
    return random(seed: seed, options)
  }

  /// The same, with all that can be chosen.
  public static func random(seed: UInt64, _ options: SimulationOptions) -> SimulationReport {
    random(seed: seed, options, subversion: .none)
  }

  /// The same with a rule broken on purpose.
  package static func random(
    seed: UInt64, _ options: SimulationOptions, subversion: Subversion
  ) -> SimulationReport {
    var report = SimulationReport(seed: seed, minutes: options.minutes, nodes: options.nodes)
    Simulation(seed: seed).run { world in
      do {
        try options.validate()
        // A read that is judged while members change may miss what a hint has that waits.
        if !options.checksMovedReads { world.choosePaces(minutes: options.minutes) }
        try world.cluster(
          of: options.nodes, replicas: options.replicas, readQuorum: options.readQuorum,
          writeQuorum: options.writeQuorum, keyspaceReplicas: options.keyspaceReplicas,
          reaping: world.chosenReaping(options.reaping))
        world.subvert(subversion)
        world.weather = options.weather
        world.history.checksMovedReads = options.checksMovedReads
        // Some ten times what is needed.
        let minutes = Int(options.minutes.rounded(.up))
        let each = options.transactions ? 600_000 : 200_000
        world.eventLimit = 2_000_000 + minutes * options.nodes * each
        try world.runRandomly(options)
        try world.settle()
        // With all well what was deleted last is reaped too.
        if world.reaps { world.run(for: SimulatedWorld.tombstoneHorizon + .seconds(10)) }
        report.violations = world.violations()
      } catch {
        report.violations = ["the simulation ended early: \(error)"]
      }
      report.events = world.events
      report.traceHash = world.traceHash
      if options.keepsHistory { report.history = world.jsonHistory }
      let counts = world.history.writeCounts
      report.acknowledged = counts.acknowledged
      report.refused = counts.refused
      report.inDoubt = counts.inDoubt
      let transactions = world.history.transactionCounts
      report.committed = transactions.committed
      report.aborted = transactions.aborted
      report.unknown = transactions.unknown
      report.joined = world.hosts.dropFirst(max(0, options.nodes)).count { $0.hasServed }
      report.gone = world.hosts.count { $0.isLost && $0.hasServed }
      report.flips = world.flips
    }
    return report
  }
}

extension SimulatedWorld {
  fileprivate func chosenReaping(_ reaping: SimulationReaping) -> Bool {
    switch reaping {
    case .sometimes: below(3) == 0
    case .always: true
    case .never: false
    }
  }

  /// Lets clients act and things go wrong for so long, and then until all calls have ended.
  ///
  /// - Throws: ``SimulationError`` where no more events may happen.
  func runRandomly(_ options: SimulationOptions) throws {
    let bankers = options.transactions ? RandomTransactions(self, count: options.clients) : nil
    // While nothing goes wrong yet.
    try bankers?.open()
    try beginFaults(options.faults)
    guard let faults else { return }
    noteOwners()
    let clients = RandomClients(self, count: options.clients, faults)
    clients.begin()
    bankers?.begin()
    run(for: .milliseconds(Int64(options.minutes * 60_000)))
    noteOwners()
    clients.end()
    bankers?.end()
    faults.end()
    try run(
      untilTrue: { clients.openCalls == 0 && (bankers?.openCalls ?? 0) == 0 }, within: .seconds(30))
  }
}
