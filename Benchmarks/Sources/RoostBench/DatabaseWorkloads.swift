import RoostStorage

/// Work that is done through the partitioned database and through the engine alone, to see what the
/// database costs.
enum DatabaseWorkload: String, CaseIterable {
  /// Put key mix(i) mod N for i from 0 up to N, unsynced.
  case put = "database-put"
  /// Put key mix(i + N) mod N on that.
  case overwrite = "database-overwrite"
  /// Synced puts, from one task and from eight together (of the engine: threads).
  case synced = "database-putsync-1"
  case syncedTogether = "database-putsync-8"
  /// Add 1 to the counter mix(i) mod N; with the engine alone a get and a put of eight bytes.
  case increment = "database-increment"
  /// Get key mix(mix(i)) mod N, on a store that was filled and settled, after as many other reads.
  case get = "database-get"
  /// The whole store in key order.
  case scan = "database-scan"

  /// How many times the engine's time the database may take.
  var limit: Double? {
    switch self {
    case .put: 2.5
    case .get: 1.5
    case .scan: 3
    case .overwrite, .synced, .syncedTogether, .increment: nil
    }
  }
}

/// Times `body`, which returns the number of its operations.
@inline(__always)
private func measure(
  _ workload: DatabaseWorkload, bytesPut: UInt64 = 0, _ body: () async throws -> UInt64
) async rethrows -> Measurement {
  forgetPeak()
  let before = Usage.now()
  let ops = try await body()
  let after = Usage.now()
  var measurement = Measurement(
    workload: workload.rawValue, ops: ops,
    seconds: Double(after.nanoseconds - before.nanoseconds) / 1e9,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    rssBytes: peakResidentBytes(),
    bytesWritten: after.bytesWritten - before.bytesWritten)
  measurement.bytesPut = bytesPut
  return measurement
}

/// Runs the database's workloads on one of the two.
struct DatabaseRunner<Subject: DatabaseWorkloadSubject>: Sendable {
  let settings: Settings
  let directory: String
  /// Those to run: what a later one needs of an earlier one is done all the same.
  let workloads: [String]
  let report: @Sendable (Measurement) throws -> Void
  private let values = ValuePool()

  init(
    settings: Settings, directory: String, workloads: [String],
    report: @escaping @Sendable (Measurement) throws -> Void
  ) {
    self.settings = settings
    self.directory = directory
    self.workloads = workloads
    self.report = report
  }

  private var count: UInt64 { settings.count }

  private func runs(_ workload: DatabaseWorkload) -> Bool { workloads.contains(workload.rawValue) }

  private func check(_ ok: Bool, _ text: @autoclosure () -> String) throws {
    if !ok { throw BenchmarkError("wrong answer: " + text()) }
  }

  func run() async throws {
    var subject = try await Subject(directory: directory, settings: settings)
    var model = Model.filledAtRandom(count)
    try report(
      await measure(.put, bytesPut: count * entryBytes) {
        try await fill(subject, from: 0, generation: 0)
        return count
      })
    if runs(.overwrite) {
      try report(
        await measure(.overwrite, bytesPut: count * entryBytes) {
          try await fill(subject, from: count, generation: 1)
          return count
        })
      for i in count..<(2 * count) { model.put(mix(i) % count, generation: 1) }
    }
    if runs(.synced) { try await synced(subject, tasks: 1, .synced, &model) }
    if runs(.syncedTogether) { try await synced(subject, tasks: 8, .syncedTogether, &model) }
    if runs(.increment) {
      try report(
        await measure(.increment) {
          try await increment(subject)
          return count
        })
    }
    if runs(.get) || runs(.scan) {
      try await subject.close()
      try Subject.settle(directory)
      subject = try await Subject(directory: directory, settings: settings)
    }
    if runs(.get) { try await get(subject, model) }
    if runs(.scan) { try await scan(subject, model) }
    try await subject.close()
  }

  @inline(never)
  private func fill(_ subject: Subject, from first: UInt64, generation: UInt64) async throws {
    let key = KeyBuffer()
    for i in first..<(first + count) {
      let number = mix(i) % count
      try await subject.put(key(number), values(number, generation: generation), .applied)
    }
  }

  private func synced(
    _ subject: Subject, tasks: UInt64, _ workload: DatabaseWorkload, _ model: inout Model
  ) async throws {
    let share = settings.syncedPuts / tasks
    let (count, values) = (count, values)
    try report(
      await measure(workload, bytesPut: share * tasks * entryBytes) {
        try await subject.putSynced(tasks: Int(tasks), share: share) { i, key in
          let number = mix(i) % count
          return (key(number), values(number))
        }
        return share * tasks
      })
    for i in 0..<(share * tasks) { model.put(mix(i) % count) }
  }

  @inline(never)
  private func increment(_ subject: Subject) async throws {
    let key = KeyBuffer()
    for i in 0..<count { try await subject.increment(key(mix(i) % count)) }
  }

  @inline(never)
  private func read(_ subject: Subject, from first: UInt64) async throws -> (UInt64, UInt64) {
    let key = KeyBuffer()
    var (found, sum) = (UInt64(0), UInt64(0))
    for i in first..<(first + settings.reads) {
      if let value = try await subject.get(key(mix(mix(i)) % count)) {
        found &+= 1
        sum &+= value.withUnsafeBytes { consume($0.baseAddress!, $0.count) }
      }
    }
    return (found, sum)
  }

  private func get(_ subject: Subject, _ model: Model) async throws {
    _ = try await read(subject, from: settings.reads)
    var seen = (UInt64(0), UInt64(0))
    try report(
      await measure(.get) {
        seen = try await read(subject, from: 0)
        return settings.reads
      })
    var expected = (UInt64(0), UInt64(0))
    for i in 0..<settings.reads {
      let number = mix(mix(i)) % count
      guard model.contains(number) else { continue }
      expected.0 += 1
      expected.1 &+= values.sum(number, generation: model.generation(number))
    }
    try check(seen == expected, "database-get read \(seen), not \(expected)")
  }

  private func scan(_ subject: Subject, _ model: Model) async throws {
    // Once before, as for gets: then what is read comes from the block cache on both sides.
    _ = try await scanWhole(subject)
    var seen = Model.Totals()
    try report(
      await measure(.scan) {
        seen = try await scanWhole(subject)
        return seen.count
      })
    let expected = model.totals(values)
    try check(seen == expected, "database-scan read \(seen), not \(expected)")
  }

  @inline(never)
  private func scanWhole(_ subject: Subject) async throws -> Model.Totals {
    var seen = Model.Totals()
    var last: UInt64?
    var scan = try await subject.scan()
    while let entry = try await scan.next() {
      if let last, last >= entry.key { throw BenchmarkError("wrong answer: keys out of order") }
      last = entry.key
      seen.count &+= 1
      seen.keys &+= entry.key
      seen.values &+= entry.value
    }
    return seen
  }
}
