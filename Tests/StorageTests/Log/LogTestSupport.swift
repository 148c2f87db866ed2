import RoostEnvironment
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Random numbers from a seed: `ROOST_SEED`, or always the same. Failures print it.
struct LogRandom: RandomNumberGenerator {
  let seed: UInt64
  private var state: UInt64

  init() {
    seed = Seeds.of("log", count: 1)[0]
    state = seed
  }

  /// splitmix64.
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
  }
  mutating func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }

  var comment: Comment { "replay with ROOST_SEED=\(seed)" }
}

/// A store's logs in memory: makes segments as the store does, and replays them.
final class LogFixture {
  static let identity: UInt128 = 0x0F0E_0D0C_0B0A_0908_0706_0504_0302_0100

  let files: MemoryFiles
  let directory = FilePath("/store")
  let access: StoreOptions.LogAccess
  var capacity: Int
  var logs: [LogReplay.Log] = []
  /// Segments by number, to recycle.
  var segments: [LogSegment] = []
  var recycling: [LogSegment] = []
  var nextNumber: UInt64 = 7
  var nextSegmentError: StoreError?

  init(_ access: StoreOptions.LogAccess, capacity: Int = 4096, files: MemoryFiles = MemoryFiles()) {
    self.access = access
    self.capacity = capacity
    self.files = files
  }

  func segment(capacity: Int? = nil, salt: UInt64? = nil) throws(StoreError) -> LogSegment {
    let number = nextNumber
    nextNumber += 1
    let segment = try LogSegment.create(
      files, directory, number: number,
      salt: salt ?? (0x5A17 &* (number &+ 1) &* 0x9E37_79B9_7F4A_7C15),
      identity: Self.identity, capacity: capacity ?? self.capacity, access: access,
      recycling: recycling.popLast())
    segments.append(segment)
    logs.append(.init(number: number, salt: segment.salt, byteCount: segment.capacity))
    return segment
  }

  func writer() throws(StoreError) -> LogWriter {
    let first = try segment()
    return LogWriter(first) { [unowned self] (minimum) throws(StoreError) in
      if let error = nextSegmentError { throw error }
      return try segment(capacity: max(capacity, minimum))
    }
  }

  /// What a replay gives: records, and how it ended.
  struct Outcome {
    var records: [[UInt8]] = []
    var places: [LogPosition] = []
    var report: LogReplay.Report?
    var error: StoreError?
  }

  func replay(_ files: MemoryFiles? = nil) -> Outcome {
    Self.replay(logs, files ?? self.files)
  }

  static func replay(_ logs: [LogReplay.Log], _ files: MemoryFiles) -> Outcome {
    var outcome = Outcome()
    do {
      outcome.report = try LogReplay.replay(logs, files, "/store", identity: identity) {
        (payload, place) throws(StoreError) in
        outcome.records.append(payload.array)
        outcome.places.append(place)
      }
    } catch { outcome.error = error }
    return outcome
  }

  func name(_ index: Int) -> String { FileNames.log(logs[index].number) }
}

extension LogWriter {
  @discardableResult
  func append(_ bytes: [UInt8]) throws(StoreError) -> LogPosition {
    try bytes.withByteView { (view) throws(StoreError) in try append(view) }
  }
}

func numbered(_ i: Int, _ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: i &* 31 &+ $0) }
}
