import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Three nodes of a cluster, and the folder that is their directory, on real files; on a clock that stands
/// still until told, with calls in place of a network.
final class FixtureCluster {
  /// Of the nodes' stores, in the order of the nodes.
  static let stores = ["a", "b", "c"]
  static let directory = "directory"

  let time: SimulatedTime
  let directory: FileDirectory
  private let messages: LocalNodes
  let nodes: [ClusterNode]

  /// - Parameters:
  ///   - path: holds the stores and the directory, or will.
  ///   - seed: of all randomness, and of the processes' numbers: another one each time.
  ///   - wallClock: nanoseconds since 1970.
  ///   - configure: changes how each node takes part.
  init(
    at path: String, seed: UInt64, wallClock: UInt64,
    _ configure: (inout ClusterOptions) -> Void = { _ in }
  ) throws {
    let time = SimulatedTime(wallClockNanoseconds: wallClock)
    let messages = LocalNodes(time: time)
    let directory = try FileDirectory(
      at: path + "/" + Self.directory, environment: Self.environment(seed &* 10, time))
    var cluster = ClusterOptions(cluster: "music")
    cluster.repairInterval = nil
    configure(&cluster)
    var options = DatabaseOptions()
    options.partitionCount = 8
    options.store.logSegmentBytes = 16 << 10
    options.store.logAccess = .calls
    // All register before the first one waits for them.
    let foundings = try Self.stores.enumerated().map { index, store in
      try ClusterFounding(
        at: path + "/" + store, options, cluster, directory: directory, address: Self.address(index),
        Self.environment(seed &* 10 &+ UInt64(index) &+ 1, time))
    }
    nodes = try foundings.enumerated().map { index, founding in
      try ClusterNode.start(
        founding, transport: messages.transport(of: Self.number(index, seed)), address: Self.address(index),
        connect: { _ in })
    }
    self.time = time
    self.messages = messages
    self.directory = directory
    self.seed = seed
  }

  private let seed: UInt64

  private static func number(_ index: Int, _ seed: UInt64) -> NodeID {
    NodeID(rawValue: seed &* 10 &+ UInt64(index) &+ 1)
  }

  private static func address(_ index: Int) throws -> NodeAddress {
    try NodeAddress(host: "127.0.0.1", port: 7_420 + index)
  }

  static func environment(_ seed: UInt64, _ time: SimulatedTime) -> Environment {
    var environment = Environment.posix()
    environment.randomness = SeededRandomness(seed: seed)
    environment.makeWorkers = { ManualWorkers() }
    environment.time = time
    return environment
  }

  /// From now on a node and the others do not reach each other.
  func cutOff(_ index: Int) {
    for other in nodes.indices where other != index {
      messages.cut(from: Self.number(index, seed), to: Self.number(other, seed))
      messages.cut(from: Self.number(other, seed), to: Self.number(index, seed))
    }
  }

  /// Lets each node do what it does now and then, a second later each time.
  func beat(_ times: Int) throws {
    for _ in 0..<times {
      time.advance(byNanoseconds: 1_000_000_000)
      for node in nodes { try node.beat() }
    }
  }

  @discardableResult
  func perform(
    _ operation: KeyRequest.Operation, _ key: String, in keyspace: String = "k", at index: Int,
    context: CausalContext? = nil
  ) throws -> KeyAnswer {
    var request = KeyRequest(operation, Array(key.utf8), in: keyspace)
    request.context = context
    let answer = Guarded<Result<KeyAnswer, DatabaseError>?>(nil)
    nodes[index].perform(request, deadline: time.monotonicNanoseconds + 5_000_000_000) { result in
      answer.withLock { $0 = result }
    }
    return try #require(answer.withLock { $0 }, "never answered").get()
  }

  func put(
    _ key: String, _ value: String, in keyspace: String = "k", at index: Int, context: CausalContext? = nil
  ) throws {
    let operation = KeyRequest.Operation.put(Array(value.utf8), timeToLiveMilliseconds: nil)
    try perform(operation, key, in: keyspace, at: index, context: context)
  }

  /// What a majority of the replicas holds of a key.
  func record(_ key: String, in keyspace: String = "k", at index: Int) throws -> Record? {
    try perform(.get, key, in: keyspace, at: index).record
  }

  func texts(_ key: String, in keyspace: String = "k", at index: Int) throws -> [String] {
    (try record(key, in: keyspace, at: index)?.siblings.elements ?? [])
      .map { String(decoding: $0.value, as: UTF8.self) }.sorted()
  }

  func count(_ key: String, at index: Int) throws -> Int64 {
    try record(key, at: index)?.state(as: PNCounter.self).value() ?? 0
  }

  /// What a node itself holds of a key.
  func held(_ key: String, at index: Int) throws -> Record? {
    try nodes[index].keyspace("k").held(Array(key.utf8))
  }

  func close() throws {
    for node in nodes { try node.close() }
    directory.close()
  }
}
