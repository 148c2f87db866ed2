import Glibc
import Latency
import Roost
import Synchronization

/// How often each key was put, by its number: 0 is never. What was acknowledged is noted before the next
/// put of the key begins, so a get must show what was noted before it or something later.
///
/// Thread-safe; a key has one writer.
final class Acknowledged: @unchecked Sendable {
  let count: UInt64
  private let generations: UnsafeMutablePointer<Atomic<UInt32>>

  init(count: UInt64) {
    self.count = count
    generations = .allocate(capacity: Int(count))
    for index in 0..<Int(count) { (generations + index).initialize(to: Atomic(0)) }
  }

  deinit {
    generations.deinitialize(count: Int(count))
    generations.deallocate()
  }

  subscript(number: UInt64) -> UInt64 {
    get { UInt64(generations[Int(number)].load(ordering: .acquiring)) }
    set { generations[Int(number)].store(UInt32(newValue), ordering: .releasing) }
  }

  /// How many keys were put at all.
  var keys: UInt64 { (0..<count).reduce(0) { $0 + (self[$1] > 0 ? 1 : 0) } }
}

/// When the phases begin, in the monotonic clock's nanoseconds.
final class Phases: Sendable {
  enum Phase: Int, CaseIterable { case warmUp, before, during, after }

  private let beforeAt = Atomic<UInt64>(.max)
  private let duringAt = Atomic<UInt64>(.max)
  private let afterAt = Atomic<UInt64>(.max)
  private let endAt = Atomic<UInt64>(.max)

  var isEnded: Bool { endAt.load(ordering: .acquiring) != .max }

  @discardableResult
  func begin(_ phase: Phase) -> UInt64 {
    let now = monotonicNanoseconds()
    switch phase {
    case .warmUp: break
    case .before: beforeAt.store(now, ordering: .releasing)
    case .during: duringAt.store(now, ordering: .releasing)
    case .after: afterAt.store(now, ordering: .releasing)
    }
    return now
  }

  func end() { endAt.store(monotonicNanoseconds(), ordering: .releasing) }

  /// The phase that a moment is in. Asked once what began then has ended.
  func phase(at moment: UInt64) -> Phase {
    if moment >= afterAt.load(ordering: .acquiring) { return .after }
    if moment >= duringAt.load(ordering: .acquiring) { return .during }
    return moment >= beforeAt.load(ordering: .acquiring) ? .before : .warmUp
  }
}

/// One thread's steady load of puts or gets: each operation is due at a fixed time, whether or not those
/// before it have ended, and its latency counts from then. So a stall shows in all operations that it
/// holds up, not in one.
struct SteadyLoad: Sendable {
  let keyspace: Keyspace
  let acknowledged: Acknowledged
  let values: ValuePool
  let phases: Phases
  /// The keys that were there at the beginning.
  let filled: UInt64
  /// Between two operations of this thread.
  let interval: UInt64
  /// Which of how many of its kind it is.
  let index: UInt64
  let of: UInt64

  typealias Latencies = [LatencyHistogram]

  /// Puts keys that no other thread puts: three overwrites, then a new key, as long as there is room.
  func write() async throws -> Latencies {
    let key = KeyBuffer()
    var fresh = filled + index
    return try await pace { i in
      var number = filled
      if i % 4 == 3, fresh < acknowledged.count {
        number = fresh
        fresh += of
      } else {
        number = mix(i &* of &+ index) % (filled / of) * of + index
      }
      let generation = acknowledged[number] + 1
      try await keyspace.put(key(number), values(number, generation: generation), .applied)
      acknowledged[number] = generation
    }
  }

  /// Gets keys that were filled, and checks that what comes is not older than what was acknowledged.
  func read() async throws -> Latencies {
    let key = KeyBuffer()
    return try await pace { i in
      let number = mix(mix(i &* of &+ index)) % filled
      let oldest = acknowledged[number]
      let value = try await keyspace.get(key(number)).value
      let newest = acknowledged[number] + 1
      guard let value, (oldest...newest).contains(where: { values.matches(value, number, $0) }) else {
        throw BenchmarkError("wrong answer: key \(number) without a value of put \(oldest) to \(newest)")
      }
    }
  }

  private func pace(_ operation: (UInt64) async throws -> Void) async throws -> Latencies {
    var latencies = Phases.Phase.allCases.map { _ in LatencyHistogram() }
    // Threads take turns within an interval.
    let began = monotonicNanoseconds() + interval * index / of
    var i: UInt64 = 0
    while !phases.isEnded {
      let due = began + i * interval
      if due > monotonicNanoseconds() {
        var time = timespec(tv_sec: Int(due / 1_000_000_000), tv_nsec: Int(due % 1_000_000_000))
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil)
      }
      do { try await operation(i) } catch {
        phases.end()
        throw error
      }
      latencies[phases.phase(at: due).rawValue].record(monotonicNanoseconds() - due)
      i += 1
    }
    return latencies
  }
}

extension ValuePool {
  /// Whether these are the bytes of a key's so many-th put.
  func matches(_ value: [UInt8], _ number: UInt64, _ generation: UInt64) -> Bool {
    let expected = self(number, generation: generation)
    return value.count == expected.count
      && value.withUnsafeBytes { memcmp($0.baseAddress!, expected.start, expected.count) == 0 }
  }
}
