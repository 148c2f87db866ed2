import Foundation
import RoostCluster
import RoostNetwork
import TestSupport

/// A cluster of processes on loopback, and a client in this process of each node that is up.
///
/// Waits for processes are on threads of their own: those of asynchronous code are few, and the clients need
/// them. Thread-safe; one task at a time ends and starts nodes.
final class ProcessCluster: Sendable {
  private struct Place {
    var node: ServedNode
    /// `nil` while the node is down.
    var client: NetworkClient?
  }

  /// How long a client waits for an answer: what a node that stands still holds up, it holds up so long.
  private static let timeout: Duration = .milliseconds(1_500)
  static let keyspace = "default"

  let roost: Roost
  let count: Int
  private let places: Guarded<[Place]>

  private init(_ count: Int) throws {
    roost = try Roost()
    self.count = count
    var started: [Place] = []
    do {
      for index in 0..<count {
        started.append(Place(node: try ServedNode(roost, Self.name(index), nodes: count)))
      }
    } catch {
      for place in started { place.node.kill() }
      throw error
    }
    places = Guarded(started)
  }

  /// Runs `body` with a new cluster, and ends it, whatever happens.
  static func with<R>(_ count: Int, _ body: (ProcessCluster) async throws -> R) async throws -> R {
    let cluster = try ProcessCluster(count)
    let result: Result<R, any Error>
    do {
      for index in 0..<count { try await cluster.begin(index) }
      try await cluster.withClient(of: 0) { client in
        try await client.makeKeyspace(KeyspaceRequest(name: keyspace, kind: .keep))
      }
      result = .success(try await body(cluster))
    } catch { result = .failure(error) }
    for index in 0..<count { await cluster.kill(index) }
    return try result.get()
  }

  private static func name(_ index: Int) -> String { "node\(index)" }

  /// A node's directory.
  func store(_ index: Int) -> String { roost.path(Self.name(index)) }

  // MARK: - Clients

  /// A client of a node, or, while that is down, of the next one that is not.
  func client(near index: Int) -> NetworkClient? {
    places.withLock { places in
      for next in 0..<count { if let client = places[(index + next) % count].client { return client } }
      return nil
    }
  }

  /// Runs `body` with a client of a node that waits for as long as it takes.
  func withClient<R: Sendable>(of index: Int, _ body: (NetworkClient) async throws -> R) async throws -> R {
    let client = try await makeClient(places.withLock { $0[index].node }, timeout: .seconds(60))
    let result: Result<R, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    return try result.get()
  }

  private func makeClient(_ node: ServedNode, timeout: Duration) async throws -> NetworkClient {
    var options = NetworkOptions()
    options.threads = 1
    options.backoff = .milliseconds(5) ... .milliseconds(100)
    let address = try await onThread { try node.address() }
    return try NetworkClient(
      to: NodeAddress(address), cluster: "music", tls: .plainOnLoopback, timeout: timeout, options,
      environment: .posix())
  }

  // MARK: - Nodes

  private func begin(_ index: Int) async throws {
    let node = places.withLock { $0[index].node }
    _ = try await onThread { try node.ready() }
    let client = try await makeClient(node, timeout: Self.timeout)
    places.withLock { $0[index].client = client }
  }

  /// From then on clients turn to other nodes; calls under way meet what comes.
  private func takeDown(_ index: Int) -> (node: ServedNode, client: NetworkClient?) {
    places.withLock { places in
      defer { places[index].client = nil }
      return (places[index].node, places[index].client)
    }
  }

  /// Ends a node with SIGKILL, whatever it is doing, also one that stands still.
  func kill(_ index: Int) async {
    let (node, client) = takeDown(index)
    try? await onThread { node.kill() }
    await client?.close()
  }

  /// Has a node leave: SIGTERM.
  ///
  /// - Returns: its exit code.
  func end(_ index: Int) async throws -> Int32? {
    let (node, client) = takeDown(index)
    node.send(SIGTERM)
    let code: Result<Int32?, any Error>
    do { code = .success(try await onThread { try node.ended() }) } catch { code = .failure(error) }
    await client?.close()
    return try code.get()
  }

  /// Starts a node that has ended, with what its directory holds by now.
  func restart(_ index: Int) async throws {
    let node = try ServedNode(roost, Self.name(index), nodes: count)
    places.withLock { $0[index].node = node }
    try await begin(index)
  }

  /// Starts a node that cannot take part.
  ///
  /// - Returns: its exit code, and what it complained of.
  func refused(_ index: Int) async throws -> (code: Int32?, errors: String) {
    let node = try ServedNode(roost, Self.name(index), nodes: count)
    places.withLock { $0[index].node = node }
    return (try await onThread { try node.ended() }, node.errors)
  }

  /// Stops a node where it is; for all others it is there, and silent.
  func suspend(_ index: Int) { places.withLock { $0[index].node }.send(SIGSTOP) }
  func resume(_ index: Int) { places.withLock { $0[index].node }.send(SIGCONT) }

  // MARK: - Replicas

  /// Compares all replicas with each other until there is nothing left to mend.
  ///
  /// - Throws: where that does not come.
  func repair() async throws {
    let end = ContinuousClock.now + .seconds(ServedNode.patience)
    // What was under way when the clients ended may spread for a moment.
    var roundsLeft = 4
    while roundsLeft > 0 {
      var reports: [RepairReport] = []
      for index in 0..<count { reports.append(try await withClient(of: index) { try await $0.repair() }) }
      if let left = reports.first(where: { $0.notCompared > 0 }) {
        // Nodes that were away have to find each other first.
        guard ContinuousClock.now < end else {
          throw ServedNode.NeverCame(description: "replicas were never compared: \(left.problem)")
        }
        continue
      }
      if reports.allSatisfy({ $0.differing == 0 }) { return }
      roundsLeft -= 1
    }
    throw ServedNode.NeverCame(description: "replicas differ again and again")
  }
}

extension NetworkClient {
  /// What the node says that a key holds.
  func content(of key: String, quorum: Int? = nil) async throws -> LoadHistory.Content {
    var request = KeyRequest(.get, Array(key.utf8), in: ProcessCluster.keyspace)
    request.quorum = quorum
    return try LoadHistory.Content(await self.key(request).record)
  }
}

/// Runs what may wait on a thread of its own.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}
