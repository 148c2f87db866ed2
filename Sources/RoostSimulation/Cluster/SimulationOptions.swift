/// What may go wrong in a simulation.
public struct SimulationFaults: OptionSet, Hashable, Sendable {
  public let rawValue: Int

  public init(rawValue: Int) { self.rawValue = rawValue }

  /// Messages are lost, late and doubled; ways are cut, some in one direction only.
  public static let network = SimulationFaults(rawValue: 1)
  /// Machines lose their power, also in the middle of a write and right after they have acknowledged one.
  public static let power = SimulationFaults(rawValue: 2)
  /// Processes are killed and closed.
  public static let processes = SimulationFaults(rawValue: 4)
  /// Clocks are off, and jump.
  public static let clocks = SimulationFaults(rawValue: 8)
  /// Nodes take longer for everything.
  public static let slowness = SimulationFaults(rawValue: 16)
  /// Disks are full, and fail to sync.
  public static let disks = SimulationFaults(rawValue: 32)
  /// Disks are lost, and go back to old backups: of one node fewer than must acknowledge a write, always the
  /// same ones, and only where a key has three replicas or more.
  public static let lostDisks = SimulationFaults(rawValue: 64)
  /// Nodes cannot reach the cluster's directory.
  public static let directory = SimulationFaults(rawValue: 128)
  /// Nodes join, leave, are weighed anew and replaced, one change at a time; changes are cancelled. Among
  /// processes and power, who gives or gets a partition goes down in the middle. There are no fewer nodes
  /// than replicas, and no more than two beside those at the beginning. Among transactions nobody is
  /// replaced: the cluster refuses that for a dead member, which alone has keys of theirs.
  public static let members = SimulationFaults(rawValue: 256)

  public static let all = SimulationFaults(rawValue: 511)

  /// Each, with what it is called at the prompt.
  public static let named: [(name: String, faults: SimulationFaults)] = [
    ("network", .network), ("power", .power), ("processes", .processes), ("clocks", .clocks),
    ("slowness", .slowness), ("disks", .disks), ("lost-disks", .lostDisks), ("directory", .directory),
    ("members", .members),
  ]
}

/// Whether a random simulation reaps tombstones.
public enum SimulationReaping: String, Sendable, CaseIterable {
  /// By the seed: one of three does.
  case sometimes
  case always
  case never
}

/// What a random simulation is like. The same options and seed do the same each time.
public struct SimulationOptions: Sendable {
  /// Of simulated time in which things go wrong: above 0, up to 1,000.
  public var minutes = 1.0
  /// Nodes of the cluster: 1 to 64.
  public var nodes = 3
  /// N: how many of them hold each key, up to 16; three, or all where they are fewer, for `nil`.
  public var replicas: Int?
  /// R: how many replicas a read asks; a majority for `nil`.
  public var readQuorum: Int?
  /// W: how many stores acknowledge a write before the client is told; a majority for `nil`.
  public var writeQuorum: Int?
  /// How many nodes hold each key where the keyspace has a number of its own, up to N; N of them for `nil`.
  public var keyspaceReplicas: Int?
  /// Clients that act at a time: 1 to 64.
  public var clients = 4
  public var faults = SimulationFaults.all
  /// Whether tombstones are reaped, after 32 s. Clients then delete much and go on to other keys; hints live
  /// for four seconds, clocks do not jump far, and disks are lost only where no hint counts for a write.
  public var reaping = SimulationReaping.sometimes
  /// Whether as many clients run transactions besides: they move money between accounts, append to lists and
  /// read all of it. What transactions write is on one disk, so none is lost then and no member is replaced,
  /// whatever ``faults`` says, and clocks stay within the bound that transactions need. Members join, leave
  /// and are weighed all the same.
  public var transactions = false
  /// Whether the report has the history of all calls, which takes some hundred bytes a call.
  public var keepsHistory = false
  /// How the network treats messages, where that is not among what goes wrong.
  package var weather = NetworkWeather.fair
  /// Whether reads are judged also once members change: where nothing else goes wrong.
  package var checksMovedReads = false

  public init() {}

  /// - Throws: ``SimulationError`` naming the first that is out of its limits, but for those of the cluster.
  func validate() throws {
    guard minutes > 0, minutes <= 1_000 else {
      throw SimulationError("\(minutes) minutes: above 0, up to 1,000")
    }
    guard (1...64).contains(clients) else { throw SimulationError("\(clients) clients: 1 to 64") }
  }
}
