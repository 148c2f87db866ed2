import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostNetwork
import TestSupport
import Testing

/// Clients that read and write the keys of a cluster, one at each node, all of them the same keys, until they
/// are told to stop. What they were told of their writes is their history.
///
/// Thread-safe.
final class RecordedLoad: Sendable {
  private struct State {
    var history = LoadHistory()
    var acknowledged = 0
    var isStopped = false
    /// Who waits until so many are acknowledged.
    var waiting: [(count: Int, waiter: CheckedContinuation<Bool, Never>)] = []
  }

  private static let counters = ["likes", "plays"]
  private static let sets = (0..<8).map { "tags:\($0)" }
  private static let keys = (0..<16).map { "song:\($0)" }
  /// More than any test waits for: nothing here may go on for ever.
  private static let mostEntries = 200_000

  private let cluster: ProcessCluster
  private let seed: UInt64
  /// A test ends well before; the clients must end before its time is over.
  private let end = ContinuousClock.now + .seconds(2 * ServedNode.patience)
  private let state = Guarded(State())

  init(_ cluster: ProcessCluster, seed: UInt64) {
    self.cluster = cluster
    self.seed = seed
  }

  /// Runs `body` while the clients act; they have ended when this returns.
  func during(_ body: () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [self] in
        await withTaskGroup(of: Void.self) { clients in
          for number in 0..<cluster.count { clients.addTask { [self] in await act(number) } }
        }
        // Nothing more will come that anybody could wait for.
        stop()
      }
      // Where it throws, the clients are cancelled, and waited for.
      try await body()
      stop()
    }
  }

  /// Waits until so many writes more are acknowledged than there are now.
  ///
  /// - Throws: where the clients end before.
  func acknowledge(_ count: Int) async throws {
    let isDone = await withCheckedContinuation { continuation in
      let isStopped = state.withLock { state in
        if !state.isStopped { state.waiting.append((state.acknowledged + count, continuation)) }
        return state.isStopped
      }
      if isStopped { continuation.resume(returning: false) }
    }
    guard isDone else { throw ServedNode.NeverCame(description: "\(count) acknowledged writes") }
  }

  private func stop() {
    let left = state.withLock { state in
      state.isStopped = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for (_, waiter) in left { waiter.resume(returning: false) }
  }

  private func note(_ entry: LoadHistory.Entry) {
    let ready = state.withLock { state in
      state.history.note(entry)
      if entry.isAcknowledged { state.acknowledged += 1 }
      let count = state.acknowledged
      defer { state.waiting.removeAll { $0.count <= count } }
      return state.waiting.filter { $0.count <= count }
    }
    for (_, waiter) in ready { waiter.resume(returning: true) }
  }

  // MARK: - One client

  private func act(_ number: Int) async {
    var random = SplitMix64(seed: seed &+ UInt64(number))
    var count = 0
    while !Task.isCancelled, ContinuousClock.now < end {
      let mayGoOn = state.withLock { !$0.isStopped && $0.history.entries.count < Self.mostEntries }
      guard mayGoOn, let client = cluster.client(near: number) else { return }
      count += 1
      let value = "\(number).\(count)"
      switch random.below(12) {
      case 0..<3:
        let amount = Int64(1 + random.below(3))
        await change(Self.counters[random.below(2)], .increment(amount), client)
      case 3..<5: await change(Self.sets[random.below(8)], .add(value), client)
      case 5..<6: await change(Self.keys[random.below(16)], .put(value), client)
      case 6..<10: await replace(Self.keys[random.below(16)], .put(value), client)
      default: await replace(Self.keys[random.below(16)], .delete, client)
      }
    }
  }

  /// Reads a key, and replaces or deletes what was found.
  private func replace(_ key: String, _ change: LoadHistory.Change, _ client: NetworkClient) async {
    let request = KeyRequest(.get, Array(key.utf8), in: ProcessCluster.keyspace)
    // What cannot be read is not replaced.
    guard let answer = try? await client.key(request), let found = try? LoadHistory.Content(answer.record)
    else { return }
    await self.change(key, change, client, answer.context, found.values)
  }

  private func change(
    _ key: String, _ change: LoadHistory.Change, _ client: NetworkClient, _ context: CausalContext? = nil,
    _ seen: [String] = []
  ) async {
    let operation: KeyRequest.Operation =
      switch change {
      case .put(let value): .put(Array(value.utf8), timeToLiveMilliseconds: nil)
      case .delete: .delete
      case .increment(let amount): .increment(amount)
      case .add(let element): .add(Array(element.utf8))
      }
    var request = KeyRequest(operation, Array(key.utf8), in: ProcessCluster.keyspace)
    request.context = context
    let isAcknowledged: Bool
    do throws(DatabaseError) {
      _ = try await client.key(request)
      isAcknowledged = true
    } catch {
      // All other failures say that nothing was done, and are held to it.
      guard error.code == .indeterminate else { return }
      isAcknowledged = false
    }
    note(LoadHistory.Entry(key: key, change: change, isAcknowledged: isAcknowledged, seen: seen))
  }

  // MARK: - What came of it

  /// Once all nodes are up: makes all replicas equal, and looks at each key through each node; then has the
  /// nodes leave, and checks their stores.
  func check() async throws {
    let history = state.withLock { $0.history }
    try await cluster.repair()
    // Nothing was tested where this is none.
    #expect(history.acknowledgedDeletes > 0)
    for index in 0..<cluster.count {
      let found = try await cluster.withClient(of: index) { client in
        var found: [String: LoadHistory.Content] = [:]
        for key in history.keys {
          found[key] = try await client.content(of: key)
          let atAll = try await client.content(of: key, quorum: 3)
          #expect(found[key] == atAll, "`\(key)` at all replicas, through node \(index)")
        }
        return found
      }
      let problems = history.problems(with: found)
      #expect(problems.isEmpty, "through node \(index), seed \(seed): \(problems.prefix(10))")
    }
    for index in 0..<cluster.count {
      #expect(try await cluster.end(index) == 0)
      let (roost, store) = (cluster.roost, cluster.store(index))
      let checked = try await onThread { try roost.run("verify", store) }
      #expect(checked.status == 0, "\(checked.errors)")
    }
  }
}
