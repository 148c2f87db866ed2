import Latency
import Roost
import RoostStorage

/// What the rebalance's benchmark does.
struct RebalanceSettings: Codable, Sendable {
  var keys: UInt64 = 1_000_000
  var from = 4
  var to = 5
  var partitions = 256
  /// Bytes a second that moving may take; `nil` for no limit.
  var rate: Int?
  var writers = 2
  var readers = 2
  /// Of all threads together.
  var putsPerSecond = 2_000
  var getsPerSecond = 8_000
  /// How long the load is measured before and after.
  var seconds = 10
}

/// What came of it. Microseconds from the moment that an operation was due.
struct RebalanceResult: Codable, Sendable {
  struct Latency: Codable, Sendable {
    var phase: String
    var operation: String
    var count: UInt64
    var p50: Double
    var p99: Double
    var p999: Double
    var max: Double
  }
  struct Share: Codable, Sendable {
    var store: Int
    var keys: UInt64
    var share: Double
  }
  var settings: RebalanceSettings
  var partitionsMoved = 0
  var keysMoved: UInt64 = 0
  var bytesMoved: UInt64 = 0
  /// From the call that adds the stores to the last drop.
  var seconds = 0.0
  var latencies: [Latency] = []
  var shares: [Share] = []
  /// Keys that were found as they must be, by a scan and by gets; anything else fails the run.
  var keysChecked: UInt64 = 0
  var putsAcknowledged: UInt64 = 0
}

/// A database that takes a steady load while stores are added to it, and afterwards is asked for all
/// that it ever acknowledged.
struct RebalanceBenchmark {
  let settings: RebalanceSettings
  let scratch: String
  let progress: @Sendable (String) -> Void
  private let values = ValuePool()
  private let phases = Phases()
  private let acknowledged: Acknowledged

  init(
    settings: RebalanceSettings, scratch: String, progress: @escaping @Sendable (String) -> Void
  ) {
    self.settings = settings
    self.scratch = scratch
    self.progress = progress
    // Room for as many new keys as there were.
    acknowledged = Acknowledged(count: 2 * settings.keys)
  }

  private func directories(_ count: Int) -> [String] { (1...count).map { "\(scratch)/store\($0)" } }

  private func open(_ count: Int) async throws -> (Database, Keyspace) {
    var options = DatabaseOptions()
    options.partitionCount = settings.partitions
    options.transferBytesPerSecond = settings.rate
    let database = try await Database.open(at: directories(count), options)
    return (database, try await database.keyspace("entries", .eventual(.lastWriterWins)))
  }

  func run() async throws -> RebalanceResult {
    var result = RebalanceResult(settings: settings)
    try await fill()
    var (database, keyspace) = try await open(settings.from)
    try await measure(database, keyspace, &result)
    progress("checking")
    try await check(keyspace, &result)
    try await database.close()
    // Once more, of what a process finds that opens it anew.
    (database, keyspace) = try await open(settings.to)
    try await check(keyspace, &result)
    try await database.close()
    try countShares(&result)
    return result
  }

  // MARK: - Fill

  /// Puts every key once, and settles the stores: the load begins on tables, not on what the filling
  /// left behind.
  private func fill() async throws {
    progress("filling")
    let (database, keyspace) = try await open(settings.from)
    let key = KeyBuffer()
    for i in 0..<settings.keys {
      let number = i &* 2_654_435_761 % settings.keys
      // A permutation where the count has no factor in common with the prime; else some come twice.
      acknowledged[number] += 1
      try await keyspace.put(
        key(number), values(number, generation: acknowledged[number]), .applied)
    }
    for number in 0..<settings.keys where acknowledged[number] == 0 {
      acknowledged[number] = 1
      try await keyspace.put(key(number), values(number, generation: 1), .applied)
    }
    try await database.close()
    for directory in directories(settings.from) {
      let store = try Store.open(at: directory)
      try store.flush()
      try store.compact()
      try store.close()
    }
  }

  // MARK: - Measure

  private func load(
    _ keyspace: Keyspace, _ index: Int, of count: Int, perSecond: Int
  ) -> SteadyLoad {
    SteadyLoad(
      keyspace: keyspace, acknowledged: acknowledged, values: values, phases: phases,
      filled: settings.keys, interval: 1_000_000_000 * UInt64(count) / UInt64(perSecond),
      index: UInt64(index), of: UInt64(count))
  }

  private func measure(
    _ database: Database, _ keyspace: Keyspace, _ result: inout RebalanceResult
  ) async throws {
    var running: [(operation: String, load: ThreadExecutor.Running<SteadyLoad.Latencies>)] = []
    for index in 0..<settings.writers {
      let load = load(keyspace, index, of: settings.writers, perSecond: settings.putsPerSecond)
      running.append(("put", try ThreadExecutor.start { try await load.write() }))
    }
    for index in 0..<settings.readers {
      let load = load(keyspace, index, of: settings.readers, perSecond: settings.getsPerSecond)
      running.append(("get", try ThreadExecutor.start { try await load.read() }))
    }
    var failure: (any Error)?
    do { try await rebalance(database, &result) } catch { failure = error }
    phases.end()
    var sums: [String: SteadyLoad.Latencies] = [:]
    for (operation, load) in running {
      do {
        let latencies = try await load.result()
        let sum = sums[operation] ?? latencies.map { _ in LatencyHistogram() }
        sums[operation] = zip(sum, latencies).map { one, other in
          var both = one
          both.add(other)
          return both
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    for operation in ["put", "get"] {
      for phase in [Phases.Phase.before, .during, .after] {
        guard let histogram = sums[operation]?[phase.rawValue] else { continue }
        result.latencies.append(Self.latency(histogram, operation, phase))
      }
    }
  }

  private func rebalance(_ database: Database, _ result: inout RebalanceResult) async throws {
    progress("load alone, before")
    try await wait(seconds: 3)
    phases.begin(.before)
    try await wait(seconds: settings.seconds)
    progress("moving")
    let began = phases.begin(.during)
    var moves = 0
    for directory in directories(settings.to).dropFirst(settings.from) {
      try await database.addStore(at: directory)
      moves = database.rebalance.movesDone + database.rebalance.movesLeft
    }
    try await database.waitUntilBalanced(timeout: .seconds(3600))
    let ended = phases.begin(.after)
    let rebalance = database.rebalance
    result.partitionsMoved = moves
    result.keysMoved = rebalance.keysMoved
    result.bytesMoved = rebalance.bytesMoved
    result.seconds = Double(ended - began) / 1e9
    progress("load alone, after")
    try await wait(seconds: settings.seconds)
  }

  /// Waits, unless the load has failed.
  private func wait(seconds: Int) async throws {
    for _ in 0..<(10 * seconds) {
      if phases.isEnded { return }
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  private static func latency(
    _ histogram: LatencyHistogram, _ operation: String, _ phase: Phases.Phase
  ) -> RebalanceResult.Latency {
    func micros(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e3 }
    return RebalanceResult.Latency(
      phase: "\(phase)", operation: operation, count: histogram.count,
      p50: micros(histogram.quantile(0.5)), p99: micros(histogram.quantile(0.99)),
      p999: micros(histogram.quantile(0.999)), max: micros(histogram.maximum))
  }

  // MARK: - Check

  /// Every key that was acknowledged is there, once, with the value of its last put, and no other key.
  private func check(_ keyspace: Keyspace, _ result: inout RebalanceResult) async throws {
    var found: UInt64 = 0
    var last: UInt64?
    for try await entry in keyspace.scan() {
      let number = entry.keyBytes.unsafeLoadUnaligned(as: UInt64.self).bigEndian
      if let last, last >= number { throw BenchmarkError("wrong answer: \(number) after \(last)") }
      last = number
      try checkValue(entry.value, number)
      found += 1
    }
    let expected = acknowledged.keys
    guard found == expected else {
      throw BenchmarkError("wrong answer: a scan finds \(found) keys of \(expected)")
    }
    let key = KeyBuffer()
    for number in 0..<acknowledged.count where acknowledged[number] > 0 {
      try checkValue(try await keyspace.get(key(number)).value, number)
    }
    result.keysChecked = expected
    result.putsAcknowledged = (0..<acknowledged.count).reduce(0) { $0 + acknowledged[$1] }
  }

  private func checkValue(_ value: [UInt8]?, _ number: UInt64) throws {
    guard number < acknowledged.count, acknowledged[number] > 0 else {
      throw BenchmarkError("wrong answer: key \(number) was never put")
    }
    guard let value, values.matches(value, number, acknowledged[number]) else {
      throw BenchmarkError("wrong answer: key \(number) without the value of its last put")
    }
  }

  /// What each store holds, read past the database: a key that two of them held would be one too many.
  private func countShares(_ result: inout RebalanceResult) throws {
    var counts: [UInt64] = []
    for directory in directories(settings.to) {
      let store = try Store.open(at: directory)
      var count: UInt64 = 0
      if let tree = store.existingTree("keyspace/entries") {
        var cursor = try tree.cursor()
        while try cursor.next() { count += 1 }
      }
      try store.close()
      counts.append(count)
    }
    let sum = counts.reduce(0, +)
    guard sum == acknowledged.keys else {
      throw BenchmarkError("wrong answer: the stores hold \(sum) keys, not \(acknowledged.keys)")
    }
    result.shares = counts.enumerated().map { index, count in
      RebalanceResult.Share(store: index + 1, keys: count, share: Double(count) / Double(sum))
    }
  }
}
