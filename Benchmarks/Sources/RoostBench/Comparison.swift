import Glibc

/// The whole comparison: for each group of workloads, rounds in which every engine has its turn in a fresh
/// child process, forwards and backwards in alternation (ABBA), so that a drift of the machine meets all
/// alike.
struct Comparison {
  /// An engine's place in a round. The same engine may have two: the second shows what chance alone makes.
  struct Contender: Hashable {
    var engine: EngineName
    var again = false

    var label: String { engine.rawValue + (again ? " again" : "") }
  }

  let engines: [EngineName]
  let workloads: [String]
  let settings: Settings
  let rounds: Int
  let withAgain: Bool
  let scratch: String
  let progress: (String) -> Void

  /// Rounds with more stolen time than this are repeated.
  static let stolenLimit = 0.01
  static let repeatsAtMost = 2

  var contenders: [Contender] {
    var list = engines.map { Contender(engine: $0) }
    if withAgain, let first = list.first { list.insert(Contender(engine: first.engine, again: true), at: 1) }
    return list
  }

  func run() throws -> Results {
    var results = Results(settings: settings, rounds: rounds)
    results.probes.append(try syncProbe(scratch))
    let groups = Group.allCases.filter { group in group.workloads.contains(where: workloads.contains) }

    if groups.contains(where: \.needsStore) {
      for engine in engines where engine != .null && engine != .database {
        progress("\(engine.rawValue): filling the store to read from")
        try makeDirectory(preparedStore(engine))
        let task = ChildTask(
          engine: engine, group: nil, workloads: [], directory: preparedStore(engine), settings: settings)
        _ = try runChild(task, scratch: scratch)
      }
    }
    for group in groups {
      for round in 0..<rounds {
        let turns = contenders.filter { $0.engine.runs(group) }
        for contender in round % 2 == 0 ? turns : turns.reversed() {
          progress("round \(round + 1) of \(rounds): \(group.rawValue) on \(contender.label)")
          let result = try run(group, contender)
          results.othersShares.append(result.othersShare)
          results.add(result.measurements, contender: contender, round: round)
        }
      }
    }
    results.probes.append(try syncProbe(scratch))
    return results
  }

  private func preparedStore(_ engine: EngineName) -> String { "\(scratch)/store-\(engine.rawValue)" }

  /// One turn, again where too much time was stolen from it.
  private func run(_ group: Group, _ contender: Contender) throws -> ChildResult {
    var repeats = 0
    while true {
      let reading = group == .read && contender.engine != .null
      let directory = reading ? preparedStore(contender.engine) : "\(scratch)/run"
      if !reading && group != .readwhilewriting { try makeDirectory(directory) }
      let task = ChildTask(
        engine: contender.engine, group: group,
        workloads: group.workloads.filter(workloads.contains),
        directory: directory,
        preparedStore: contender.engine == .null ? nil : preparedStore(contender.engine),
        settings: settings)
      if group == .readwhilewriting && contender.engine == .null { try makeDirectory(directory) }
      var result = try runChild(task, scratch: scratch)
      if !reading { removeDirectory(directory) }
      if result.stolenShare <= Self.stolenLimit { return result }
      if repeats == Self.repeatsAtMost {
        for i in result.measurements.indices {
          let stolen = "\(Int((result.stolenShare * 100).rounded()))% of the time was stolen"
          result.measurements[i].note = [result.measurements[i].note, stolen].compactMap(\.self)
            .joined(separator: "; ")
        }
        return result
      }
      repeats += 1
    }
  }
}

/// What all rounds measured, and what follows from it.
struct Results {
  let settings: Settings
  let rounds: Int
  /// Microseconds of a bare fdatasync, before and after the runs.
  var probes: [(append: Double, overwrite: Double)] = []
  /// Of each turn: the share of the machine's time that other processes took.
  var othersShares: [Double] = []
  private var table: [Comparison.Contender: [String: [Int: Measurement]]] = [:]

  init(settings: Settings, rounds: Int) {
    self.settings = settings
    self.rounds = rounds
  }

  mutating func add(_ measurements: [Measurement], contender: Comparison.Contender, round: Int) {
    for measurement in measurements {
      table[contender, default: [:]][measurement.workload, default: [:]][round] = measurement
    }
  }

  func measurements(_ contender: Comparison.Contender, _ workload: String) -> [Measurement] {
    (table[contender]?[workload] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
  }

  /// The median of one figure over the rounds.
  func median(
    _ contender: Comparison.Contender, _ workload: String, _ figure: (Measurement) -> Double?
  ) -> Double? {
    Self.median(measurements(contender, workload).compactMap(figure))
  }

  static func median(_ figures: [Double]) -> Double? {
    guard !figures.isEmpty else { return nil }
    let sorted = figures.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// A ratio of times: the median of the ratios within each round, and their range.
  struct Ratio {
    var median: Double
    var low: Double
    var high: Double
  }

  /// Time of `other` over time of `one`, round by round.
  func ratio(
    of other: Comparison.Contender, to one: Comparison.Contender, _ workload: String
  ) -> Ratio? {
    let (others, ones) = (table[other]?[workload] ?? [:], table[one]?[workload] ?? [:])
    let ratios = ones.compactMap { round, measurement in
      others[round].map { $0.microsPerOp / measurement.microsPerOp }
    }
    guard let median = Self.median(ratios), let low = ratios.min(), let high = ratios.max() else {
      return nil
    }
    return Ratio(median: median, low: low, high: high)
  }

  /// How many times the engine's own time the database takes.
  func databaseRatio(_ workload: String) -> Ratio? {
    ratio(
      of: Comparison.Contender(engine: .database), to: Comparison.Contender(engine: .roost), workload)
  }

  /// The peer that Roost must be compared with: the one with the smallest ratio.
  func bestPeer(_ workload: String, among engines: [EngineName]) -> (peer: EngineName, ratio: Ratio)? {
    let roost = Comparison.Contender(engine: .roost)
    return engines.filter(\.isPeer)
      .compactMap { peer in
        ratio(of: Comparison.Contender(engine: peer), to: roost, workload).map { (peer, $0) }
      }
      .min { $0.1.median < $1.1.median }
      .map { (peer: $0.0, ratio: $0.1) }
  }
}
