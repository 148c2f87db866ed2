import Latency
import Synchronization

/// What a store must hold: how often each key was put, as far as that is known.
struct ClusterModel: Sendable {
  /// Of a key of which a put failed: it may have come or not.
  static let unknown = UInt64.max

  private(set) var generations: [UInt64]
  let values = ValuePool()

  init(keys: UInt64) { generations = Array(repeating: 0, count: Int(keys)) }

  var count: UInt64 { UInt64(generations.count) }

  mutating func adopt(_ acknowledged: [UInt64: UInt64]) {
    for (number, generation) in acknowledged { generations[Int(number)] = generation }
  }

  /// - Throws: where the value is not the last that was acknowledged.
  func check(_ number: UInt64, _ value: [UInt8]?, _ engine: ClusterEngine) throws {
    let generation = generations[Int(number)]
    if generation == Self.unknown { return }
    guard let value else { throw WrongAnswer(engine, "lacks the key \(number)") }
    let sum = value.withUnsafeBytes { $0.baseAddress.map { consume($0, value.count) } ?? 0 }
    guard value.count == ValuePool.valueBytes, sum == values.sum(number, generation: generation) else {
      throw WrongAnswer(engine, "has another value under the key \(number)")
    }
  }

  /// The value of a key's so many-th put.
  static func value(_ values: ValuePool, _ number: UInt64, _ generation: UInt64) -> [UInt8] {
    let bytes = values(number, generation: generation)
    return [UInt8](UnsafeRawBufferPointer(start: bytes.start, count: bytes.count))
  }
}

/// What fails a run: it is no speed.
struct WrongAnswer: Error, CustomStringConvertible {
  let description: String

  init(_ engine: ClusterEngine, _ text: String) { description = "wrong answer: \(engine.rawValue) \(text)" }
}

/// What the clients of one cell have done.
struct ClusterTally: Sendable {
  var operations: UInt64 = 0
  var failed: UInt64 = 0
  /// Why the first of them did.
  var failure: String?
  var latencies = LatencyHistogram()
  /// The last put of each key that was put: its generation, or unknown.
  var acknowledged: [UInt64: UInt64] = [:]

  mutating func add(_ other: ClusterTally) {
    operations += other.operations
    failed += other.failed
    failure = failure ?? other.failure
    latencies.add(other.latencies)
    acknowledged.merge(other.acknowledged) { $1 }
  }
}

/// One client's puts or gets, one after the other, until the time is over.
struct ClusterLoad: Sendable {
  enum Work: Sendable {
    case puts(WriteDurability)
    case gets
  }

  let engine: ClusterEngine
  let work: Work
  let model: ClusterModel
  let clients: Int
  let seed: UInt64
  /// Nanoseconds; what ends in it is not counted.
  let warmUp: UInt64
  let duration: UInt64
  /// Ends it before that.
  var isOver: @Sendable () -> Bool = { false }

  /// So many failures in a row end a client: the servers are gone.
  private static let mostFailures = 20

  /// Each client puts keys of its own, drawn at random, so that it is known which value is the last; gets are
  /// of all keys.
  func run(_ client: any ReplicatedClient, index: Int) async throws -> ClusterTally {
    var (tally, numbers) = (ClusterTally(), Numbers(seed: seed &+ UInt64(index) << 32))
    let own = model.count / UInt64(clients)
    let begin = monotonicNanoseconds() &+ warmUp
    var failures = 0
    while true {
      let draw = numbers.next()
      let began = monotonicNanoseconds()
      if began >= begin &+ duration || isOver() { return tally }
      var number = draw % model.count
      if case .puts = work { number = draw % own * UInt64(clients) + UInt64(index) }
      let key = accountKey(Int(number))
      do {
        switch work {
        case .puts(let durability):
          let last = tally.acknowledged[number] ?? model.generations[Int(number)]
          // After a failure the next put is told from the one before by a jump.
          let generation = last == ClusterModel.unknown ? draw % 1_000_000 + 1_000_000 : last + 1
          tally.acknowledged[number] = ClusterModel.unknown
          try await client.put(key, ClusterModel.value(model.values, number, generation), durability)
          tally.acknowledged[number] = generation
        case .gets: try model.check(number, try await client.get(key), engine)
        }
        failures = 0
        guard began >= begin else { continue }
        tally.operations += 1
        tally.latencies.record(monotonicNanoseconds() &- began)
      } catch let error as WrongAnswer {
        throw error
      } catch {
        tally.failed += 1
        tally.failure = tally.failure ?? "\(error)"
        failures += 1
        if failures >= Self.mostFailures {
          throw BenchmarkError("\(engine.rawValue): \(failures) calls in a row failed, at last: \(error)")
        }
      }
    }
  }
}

/// Runs `body` for each client at the same time, on threads of their own where clients block, and waits for
/// all; then closes them.
///
/// - Throws: the first failure.
func withClients<Result: Sendable>(
  _ clients: [any ReplicatedClient], blocks: Bool,
  _ body: @escaping @Sendable (any ReplicatedClient, Int) async throws -> Result
) async throws -> [Result] {
  var results: [Swift.Result<Result, any Error>] = []
  if blocks {
    var running: [ThreadExecutor.Running<Result>] = []
    do {
      for (index, client) in clients.enumerated() {
        running.append(try ThreadExecutor.start { try await body(client, index) })
      }
    } catch { results.append(.failure(error)) }
    for task in running {
      do { results.append(.success(try await task.result())) } catch { results.append(.failure(error)) }
    }
  } else {
    let tasks = clients.enumerated().map { index, client in Task { try await body(client, index) } }
    for task in tasks { results.append(await task.result) }
  }
  for client in clients { await client.close() }
  return try results.map { try $0.get() }
}

/// Puts the numbers of a range, each once, from many tasks, and says how far it is.
///
/// - Parameters:
///   - tasks: of each client: a client that blocks takes one.
///   - attempts: how often a put that fails is made.
func putAll(
  _ numbers: Range<UInt64>, to clients: [any ReplicatedClient], blocks: Bool, tasks: Int, attempts: Int = 5,
  value: @escaping @Sendable (UInt64) -> [UInt8], progress: @escaping @Sendable (UInt64) -> Void = { _ in }
) async throws {
  let next = Counter(numbers.lowerBound)
  let one: @Sendable (any ReplicatedClient) async throws -> Void = { client in
    while true {
      let number = next.take()
      guard number < numbers.upperBound else { return }
      if number % 10_000 == 0 { progress(number - numbers.lowerBound) }
      var attempt = 1
      while true {
        do {
          try await client.put(accountKey(Int(number)), value(number), .applied)
          break
        } catch {
          // The same value again does no harm.
          if attempt == attempts { throw error }
          attempt += 1
        }
      }
    }
  }
  _ = try await withClients(clients, blocks: blocks) { client, _ in
    if blocks { return try await one(client) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<tasks { group.addTask { try await one(client) } }
      try await group.waitForAll()
    }
  }
}

/// Gives numbers out, each once. Thread-safe.
private final class Counter: Sendable {
  private let next: Atomic<UInt64>
  init(_ first: UInt64) { next = Atomic(first) }
  func take() -> UInt64 { next.wrappingAdd(1, ordering: .relaxed).oldValue }
}
