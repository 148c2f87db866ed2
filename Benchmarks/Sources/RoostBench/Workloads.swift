// A timed loop for each workload, generic over the engine and specialised for each, and the checks of what
// it read. A check runs after the clock has stopped, and a wrong answer fails the run.

/// Workloads that share a store run one after the other in one child process.
enum Group: String, CaseIterable, Codable, Sendable {
  case fillseq
  case fillrandom
  case fillbatch
  case fillsync
  case read
  case readwhilewriting
  case database

  /// In the order in which they run and are shown.
  var workloads: [String] {
    switch self {
    case .fillseq: ["fillseq", "fillseq+settle"]
    case .fillrandom:
      ["fillrandom", "settle", "fillrandom+settle", "overwrite", "overwrite+settle"]
    case .fillbatch: ["fillbatch", "fillbatch+settle"]
    case .fillsync: ["fillsync-1", "fillsync-8"]
    case .read:
      [
        "readrandom-cold", "readrandom", "readmissing-out", "readmissing-in", "seekrandom",
        "seekrandom-new", "readseq", "readreverse",
      ]
    case .readwhilewriting: ["readwhilewriting"]
    case .database: DatabaseWorkload.allCases.map(\.rawValue)
    }
  }

  /// Whether it runs on a store that was filled at random and settled before.
  var needsStore: Bool { self == .read || self == .readwhilewriting }
}

/// What one workload took, in one child process.
struct Measurement: Codable, Sendable {
  var workload: String
  var ops: UInt64
  var seconds: Double
  var cpuSeconds: Double
  var rssBytes: UInt64
  var bytesWritten: UInt64
  /// Bytes of keys and values put, for write amplification.
  var bytesPut: UInt64 = 0
  /// Bytes in the directory and bytes of live keys and values, where the store has settled.
  var bytesOnDisk: UInt64?
  var bytesLive: UInt64?
  var note: String?

  var microsPerOp: Double { seconds * 1e6 / Double(ops) }

  /// Both together: what the first deferred is paid in the second.
  func followed(by other: Measurement, as name: String) -> Measurement {
    var both = self
    both.workload = name
    both.seconds += other.seconds
    both.cpuSeconds += other.cpuSeconds
    both.rssBytes = max(rssBytes, other.rssBytes)
    both.bytesWritten += other.bytesWritten
    both.bytesOnDisk = other.bytesOnDisk
    both.bytesLive = other.bytesLive
    return both
  }
}

let entryBytes = UInt64(KeyBuffer.count + ValuePool.valueBytes)

/// Times `body`, which returns the number of its operations.
@inline(__always)
func measure(_ workload: String, _ body: () throws -> UInt64) rethrows -> Measurement {
  forgetPeak()
  let before = Usage.now()
  let ops = try body()
  let after = Usage.now()
  return Measurement(
    workload: workload, ops: ops,
    seconds: Double(after.nanoseconds - before.nanoseconds) / 1e9,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    rssBytes: peakResidentBytes(),
    bytesWritten: after.bytesWritten - before.bytesWritten)
}

/// Runs the workloads of one group on one engine.
struct Runner<E: Engine> {
  let settings: Settings
  let directory: String
  let values = ValuePool()
  /// Where each measurement goes as soon as it is there.
  let report: (Measurement) throws -> Void

  private var count: UInt64 { settings.count }

  private func check(_ ok: @autoclosure () -> Bool, _ text: @autoclosure () -> String) throws {
    if E.stores && !ok() { throw BenchmarkError("wrong answer: " + text()) }
  }

  func run(_ group: Group, preparedStore: String?) throws {
    switch group {
    case .fillseq: try fillseq()
    case .fillrandom: try fillrandom()
    case .fillbatch: try fillbatch()
    case .fillsync: try fillsync()
    case .read: try read()
    case .readwhilewriting:
      try copyDirectory(preparedStore ?? directory, to: directory)
      try readwhilewriting()
    case .database: preconditionFailure("the database's workloads have a driver of their own")
    }
  }

  /// Fills a store for the read workloads and leaves it.
  func prepare() throws {
    let engine = try E(directory: directory, settings: settings)
    _ = try fillAtRandom(engine, from: 0, generation: 0)
    try engine.settle()
    try verifyWhole(engine, Model.filledAtRandom(count), after: "fillrandom")
    try engine.close()
  }

  // MARK: Writes

  /// Settles, reports it alone and together with the fill before it, and checks the whole store.
  private func settle(
    _ engine: E, after fill: Measurement, _ model: Model, alone: Bool = false
  ) throws {
    var settled = try measure("settle") {
      try engine.settle()
      return count
    }
    settled.bytesOnDisk = bytesOnDisk(directory)
    settled.bytesLive = model.totals(values).count * entryBytes
    if alone { try report(settled) }
    try report(fill.followed(by: settled, as: fill.workload + "+settle"))
    try verifyWhole(engine, model, after: fill.workload)
  }

  private func fillseq() throws {
    let engine = try E(directory: directory, settings: settings)
    let key = KeyBuffer()
    var fill = try measure("fillseq") {
      for number in 0..<count { try engine.put(key(number), values(number)) }
      return count
    }
    fill.bytesPut = count * entryBytes
    try report(fill)
    var model = Model(count: count)
    for number in 0..<count { model.put(number) }
    try settle(engine, after: fill, model)
    try engine.close()
  }

  @inline(never)
  private func fillAtRandom(_ engine: E, from first: UInt64, generation: UInt64) throws -> UInt64 {
    let key = KeyBuffer()
    for i in first..<(first + count) {
      let number = mix(i) % count
      try engine.put(key(number), values(number, generation: generation))
    }
    return count
  }

  private func fillrandom() throws {
    let engine = try E(directory: directory, settings: settings)
    var fill = try measure("fillrandom") { try fillAtRandom(engine, from: 0, generation: 0) }
    fill.bytesPut = count * entryBytes
    try report(fill)
    var model = Model.filledAtRandom(count)
    try settle(engine, after: fill, model, alone: true)

    var overwrite = try measure("overwrite") { try fillAtRandom(engine, from: count, generation: 1) }
    overwrite.bytesPut = count * entryBytes
    try report(overwrite)
    for i in count..<(2 * count) { model.put(mix(i) % count, generation: 1) }
    try settle(engine, after: overwrite, model)
    try engine.close()
  }

  private func fillbatch() throws {
    let engine = try E(directory: directory, settings: settings)
    let key = KeyBuffer()
    let batches = count / UInt64(settings.batchCount)
    let ops = batches * UInt64(settings.batchCount)
    var fill = try measure("fillbatch") {
      var first: UInt64 = 0
      for _ in 0..<batches {
        try engine.putBatch(
          settings.batchCount,
          { key(mix(first &+ UInt64(truncatingIfNeeded: $0)) % count) },
          { values(mix(first &+ UInt64(truncatingIfNeeded: $0)) % count) })
        first &+= UInt64(settings.batchCount)
      }
      return ops
    }
    fill.bytesPut = ops * entryBytes
    try report(fill)
    var model = Model(count: count)
    for i in 0..<ops { model.put(mix(i) % count) }
    try settle(engine, after: fill, model)
    try engine.close()
  }

  private func fillsync() throws {
    let (settings, count, values) = (settings, count, values)
    let engine = try E(directory: directory, settings: settings)
    var model = Model(count: count)
    for i in 0..<settings.syncedPuts { model.put(mix(i) % count) }

    let key = KeyBuffer()
    var alone = try measure("fillsync-1") {
      for i in 0..<settings.syncedPuts {
        let number = mix(i) % count
        try engine.putSynced(key(number), values(number))
      }
      return settings.syncedPuts
    }
    alone.bytesPut = settings.syncedPuts * entryBytes
    try report(alone)

    let threads: UInt64 = 8
    let share = settings.syncedPuts / threads
    var nanoseconds: UInt64 = 0
    var together = try measure("fillsync-8") {
      nanoseconds = try onThreads(Int(threads)) { thread in
        let key = KeyBuffer()
        let first = settings.syncedPuts + UInt64(thread) * share
        for i in first..<(first + share) {
          let number = mix(i) % count
          try engine.putSynced(key(number), values(number))
        }
      }
      return threads * share
    }
    together.seconds = Double(nanoseconds) / 1e9
    together.bytesPut = threads * share * entryBytes
    try report(together)
    for i in settings.syncedPuts..<(settings.syncedPuts + threads * share) { model.put(mix(i) % count) }
    try verifyWhole(engine, model, after: "fillsync")
    try engine.close()
  }

  // MARK: Reads

  /// The keys that were put, where `key` stands for the i-th of a read workload.
  private func readKey(_ i: UInt64) -> UInt64 { mix(mix(i)) % count }

  @inline(never)
  private func readAtRandom(
    _ engine: E, from first: UInt64, _ reads: UInt64
  ) throws -> (found: UInt64, sum: UInt64) {
    let key = KeyBuffer()
    var (found, sum) = (UInt64(0), UInt64(0))
    for i in first..<(first + reads) {
      if let value = try engine.get(key(mix(mix(i)) % count)) {
        found &+= 1
        sum &+= value
      }
    }
    return (found, sum)
  }

  private func expectedReads(
    _ model: Model, from first: UInt64, _ reads: UInt64
  ) -> (found: UInt64, sum: UInt64) {
    var (found, sum) = (UInt64(0), UInt64(0))
    for i in first..<(first + reads) {
      let number = readKey(i)
      if model.contains(number) {
        found += 1
        sum &+= values.sum(number)
      }
    }
    return (found, sum)
  }

  private func read() throws {
    let model = Model.filledAtRandom(count)
    let totals = model.totals(values)
    let reads = settings.reads

    let stayed = E.stores ? dropPageCache(directory) : 0
    let engine = try E(directory: directory, settings: settings)
    var cold = (found: UInt64(0), sum: UInt64(0))
    var coldRead = try measure("readrandom-cold") {
      cold = try readAtRandom(engine, from: reads, settings.coldReads)
      return settings.coldReads
    }
    if stayed > 0.01 { coldRead.note = "\(Int(stayed * 100))% of the pages stayed cached" }
    try report(coldRead)
    try check(
      cold == expectedReads(model, from: reads, settings.coldReads), "readrandom-cold read \(cold)")

    // Warm: other random reads first, as many as are timed.
    _ = try readAtRandom(engine, from: 2 * reads, reads)
    var warm = (found: UInt64(0), sum: UInt64(0))
    try report(
      measure("readrandom") {
        warm = try readAtRandom(engine, from: 0, reads)
        return reads
      })
    let expected = expectedReads(model, from: 0, reads)
    try check(warm == expected, "readrandom read \(warm), not \(expected)")

    try readMissing(engine, "readmissing-out", KeyBuffer(), offset: count)
    try readMissing(engine, "readmissing-in", KeyBuffer(absent: true), offset: 0)
    try seekAtRandom(engine, model)
    try readWhole(engine, totals)
    try engine.close()
  }

  @inline(never)
  private func readMissing(
    _ engine: E, _ name: String, _ key: consuming KeyBuffer, offset: UInt64
  ) throws {
    var found: UInt64 = 0
    try report(
      measure(name) {
        for i in 0..<settings.reads where try engine.get(key(offset &+ mix(mix(i)) % count)) != nil {
          found &+= 1
        }
        return settings.reads
      })
    try check(found == 0, "\(name) found \(found) keys that were never put")
  }

  private static var following: Int { 10 }

  @inline(never)
  private func seekAtRandom(_ engine: E, _ model: Model) throws {
    let key = KeyBuffer()
    var (entries, sum) = (UInt64(0), UInt64(0))
    try report(
      measure("seekrandom") {
        var cursor = try engine.cursor()
        for i in 0..<settings.reads {
          var valid = try cursor.seek(key(mix(mix(i)) % count))
          var left = Self.following
          while valid {
            entries &+= 1
            sum &+= cursor.valueSum
            if left == 0 { break }
            left &-= 1
            valid = try cursor.next()
          }
        }
        return settings.reads
      })
    let expected = expectedSeeks(model, settings.reads)
    try check(
      (entries, sum) == expected, "seekrandom read \((entries, sum)), not \(expected)")

    // The same with a cursor of its own for each seek.
    let seeks = max(1, settings.reads / 10)
    (entries, sum) = (0, 0)
    try report(
      measure("seekrandom-new") {
        for i in 0..<seeks {
          var cursor = try engine.cursor()
          var valid = try cursor.seek(key(mix(mix(i)) % count))
          var left = Self.following
          while valid {
            entries &+= 1
            sum &+= cursor.valueSum
            if left == 0 { break }
            left &-= 1
            valid = try cursor.next()
          }
        }
        return seeks
      })
    let expectedNew = expectedSeeks(model, seeks)
    try check(
      (entries, sum) == expectedNew, "seekrandom-new read \((entries, sum)), not \(expectedNew)")
  }

  private func expectedSeeks(_ model: Model, _ seeks: UInt64) -> (UInt64, UInt64) {
    var (entries, sum) = (UInt64(0), UInt64(0))
    for i in 0..<seeks {
      var number = readKey(i)
      var left = Self.following + 1
      while number < count && left > 0 {
        if model.contains(number) {
          entries += 1
          sum &+= values.sum(number)
          left -= 1
        }
        number += 1
      }
    }
    return (entries, sum)
  }

  @inline(never)
  private func readWhole(_ engine: E, _ expected: Model.Totals) throws {
    var seen = Model.Totals()
    try report(measure("readseq") { try scan(engine, &seen) })
    try check(seen == expected, "readseq read \(seen), not \(expected)")

    seen = Model.Totals()
    try report(
      measure("readreverse") {
        var cursor = try engine.cursor()
        var valid = try cursor.last()
        while valid {
          seen.count &+= 1
          seen.keys &+= cursor.keyNumber
          seen.values &+= cursor.valueSum
          valid = try cursor.previous()
        }
        return seen.count
      })
    try check(seen == expected, "readreverse read \(seen), not \(expected)")
  }

  @inline(__always)
  private func scan(_ engine: E, _ seen: inout Model.Totals) throws -> UInt64 {
    var cursor = try engine.cursor()
    var valid = try cursor.first()
    while valid {
      seen.count &+= 1
      seen.keys &+= cursor.keyNumber
      seen.values &+= cursor.valueSum
      valid = try cursor.next()
    }
    return seen.count
  }

  private func verifyWhole(_ engine: E, _ model: Model, after workload: String) throws {
    guard E.stores else { return }
    var seen = Model.Totals()
    _ = try scan(engine, &seen)
    let expected = model.totals(values)
    try check(seen == expected, "after \(workload) the store holds \(seen), not \(expected)")
  }

  /// Reads on this thread while another overwrites keys that are there, at a steady rate.
  private func readwhilewriting() throws {
    let model = Model.filledAtRandom(count)
    let engine = try E(directory: directory, settings: settings)
    _ = try readAtRandom(engine, from: 2 * settings.reads, settings.reads)

    let writer = PacedWriter()
    let (settings, values, count) = (settings, values, count)
    var reading = (found: UInt64(0), sum: UInt64(0))
    var result = try measure("readwhilewriting") {
      try writer.run(
        perMillisecond: settings.writerRate / 1000,
        put: { key, i in
          let number = mix(i % count) % count
          try engine.put(key(number), values(number, generation: 1))
        },
        beside: { reading = try readAtRandom(engine, from: 0, settings.reads) })
      return settings.reads
    }
    result.seconds = Double(writer.nanoseconds) / 1e9
    let rate = Double(writer.puts) / result.seconds
    result.bytesPut = writer.puts * entryBytes
    if E.stores && rate < 0.95 * Double(settings.writerRate) {
      result.note = "the writer reached \(Int(rate)) puts a second"
    }
    try report(result)
    let expected = expectedReads(model, from: 0, settings.reads)
    try check(
      reading.found == expected.found,
      "readwhilewriting found \(reading.found) keys, not \(expected.found)")
    try engine.close()
  }
}
