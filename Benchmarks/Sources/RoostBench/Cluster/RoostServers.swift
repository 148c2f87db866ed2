import FoundationEssentials
import Glibc
import Roost

/// A cluster of Roost: nodes that are `roost serve`, each a process.
final class RoostServers: ReplicatedStore {
  static let keyspace = "entries"
  private static let cluster = "bench"

  /// One node, while it runs or between two starts.
  struct Node {
    let directory: String
    var process: ServerProcess?
    var address = ""
    var starts = 0
  }

  private let tool: String
  private let folder: String
  private let certificates: Certificates?
  private let running: Processes
  /// With how many nodes the cluster began.
  private let founders: Int
  /// Of `roost serve`, beside those that all nodes have.
  private let flags: [String]
  private(set) var nodes: [Node]

  let blocks = false
  var processes: [ServerProcess] { nodes.compactMap(\.process) }

  /// Founds a cluster in a new folder, and makes its keyspace.
  ///
  /// - Parameters:
  ///   - tool: the path of `roost`.
  ///   - certificates: for TLS; plain on loopback where there are none.
  ///   - flags: of `roost serve`, beside those that it needs.
  init(
    _ tool: String, in folder: String, nodes count: Int, certificates: Certificates?, flags: [String] = [],
    _ processes: Processes
  ) throws {
    self.tool = tool
    self.folder = folder
    self.certificates = certificates
    running = processes
    founders = count
    self.flags = flags
    try makeDirectory(folder)
    nodes = (0..<count).map { Node(directory: "\(folder)/node\($0)") }
    for index in 0..<count { try begin(index) }
    for index in 0..<count { try waitUntilReady(index) }
    try waitUntilAllKnowAll()
    // The directory's lock may be taken for a moment by a node that says where it is.
    try running.wait(for: "the keyspace", self.processes, seconds: 30) {
      let arguments = ["cluster", "make-keyspace", Self.keyspace, "--policy", "lww"]
      return (try? running.run(tool, arguments + access(0))) != nil
    }
  }

  // MARK: - Nodes

  /// Starts a node anew, and waits until it serves and all know each other.
  func start(_ index: Int) throws {
    try begin(index)
    try waitUntilServing(index)
  }

  /// Waits until a node that was begun serves and all know each other.
  func waitUntilServing(_ index: Int) throws {
    try waitUntilReady(index)
    try waitUntilAllKnowAll()
  }

  /// Ends a node, by default as an operator would.
  func end(_ index: Int, by signal: Int32 = SIGTERM) {
    guard let process = nodes[index].process else { return }
    running.end([process], by: signal)
    nodes[index].process = nil
  }

  func end() { running.end(processes) }

  /// Starts a node, and waits for nothing.
  func begin(_ index: Int) throws {
    nodes[index].starts += 1
    let node = nodes[index]
    let security = certificates.map { $0.flags("node\(index)") } ?? ["--plain"]
    let role = index < founders ? [] : ["--join"]
    let arguments = [
      "serve", node.directory, "--cluster", Self.cluster, "--listen", "127.0.0.1:0", "--directory",
      "\(folder)/directory", "--founding-nodes", "\(founders)", "--replicas", "\(min(3, founders))",
    ]
    nodes[index].process = try running.start(
      "node \(index)", tool, arguments + security + flags + role,
      output: "\(node.directory)-\(node.starts).out")
  }

  /// Starts a node more, which asks to join. Of a cluster without TLS.
  ///
  /// - Returns: the number under which it does.
  func add() throws -> String {
    nodes.append(Node(directory: "\(folder)/node\(nodes.count)"))
    try begin(nodes.count - 1)
    var asking: [Candidate] = []
    try running.wait(for: "a node that asks to join", processes) {
      let text = try running.run(tool, ["cluster", "join", "--json"] + access(0))
      asking = try JSONDecoder().decode([Candidate].self, from: Data(text.utf8))
      return !asking.isEmpty
    }
    return asking[0].id
  }

  /// Ends the node that was added last, and has left.
  func forgetLast() {
    end(nodes.count - 1)
    nodes.removeLast()
  }

  private func waitUntilReady(_ index: Int) throws {
    guard let process = nodes[index].process else { return }
    try running.wait(for: "node \(index)", [process], seconds: 120) {
      let lines = contents(process.output).split(separator: "\n")
      guard let place = lines.first(where: { $0.hasPrefix("listening at ") }),
        lines.contains(where: { $0.hasPrefix("ready: ") })
      else { return false }
      nodes[index].address = String(place.dropFirst("listening at ".count).prefix { $0 != "," })
      return true
    }
  }

  private func waitUntilAllKnowAll() throws {
    try running.wait(for: "the nodes' knowledge of each other", processes) {
      nodes.indices.allSatisfy { index in
        guard nodes[index].process != nil else { return true }
        guard let status = try? status(index) else { return false }
        return nodes.contains { $0.process == nil }
          || status.nodes.allSatisfy { !$0.address.isEmpty && $0.state != "unreachable" }
      }
    }
  }

  // MARK: - What nodes say

  struct Status: Decodable {
    struct Node: Decodable {
      var address: String
      var state: String
    }
    struct Counters: Decodable {
      var hints: UInt64
      var hintBytes: UInt64
      var hintsHandedOver: UInt64
      var hintsRefused: UInt64
    }
    var nodes: [Node]
    var counters: Counters
  }

  struct Repair: Decodable {
    var keys: UInt64
    var differing: UInt64
    var mended: UInt64
    var notCompared: UInt64
    var bytes: UInt64
  }

  private struct Candidate: Decodable {
    var id: String
  }

  /// What the nodes say of a change of the members.
  struct Change: Decodable {
    /// What a member was brought since it was started.
    struct Node: Decodable {
      var id: String
      var movesDone: UInt64
      var keys: UInt64
      var bytes: UInt64
    }
    var underWay: Bool
    var nodes: [Node]
  }

  private func access(_ index: Int, seconds: Double = 10) -> [String] {
    ["--connect", nodes[index].address, "--cluster", Self.cluster, "--timeout", "\(seconds)"]
      + (certificates.map { $0.flags("client") } ?? ["--plain"])
  }

  func status(_ index: Int) throws -> Status {
    let text = try running.run(tool, ["cluster", "status", "--json"] + access(index))
    return try JSONDecoder().decode(Status.self, from: Data(text.utf8))
  }

  /// Has a node compare all it holds with the others.
  ///
  /// - Throws: where a partition could not be compared.
  func repair(_ index: Int, seconds: Double) throws -> Repair {
    let text = try running.run(
      tool, ["cluster", "repair", "--json"] + access(index, seconds: seconds), seconds: seconds + 10)
    return try JSONDecoder().decode(Repair.self, from: Data(text.utf8))
  }

  /// What the nodes that serve were brought so far. Waits until all say it, and no change of the members is
  /// under way.
  func brought() throws -> [Change.Node] {
    let count = nodes.filter { !$0.address.isEmpty }.count
    var brought: [Change.Node] = []
    try running.wait(for: "what the nodes were brought", processes) {
      let text = try running.run(tool, ["cluster", "transfer", "--json"] + access(0))
      let change = try JSONDecoder().decode(Change.self, from: Data(text.utf8))
      brought = change.nodes
      return !change.underWay && brought.count == count
    }
    return brought
  }

  /// Has the first node make a change of the members, and waits until it is finished: on a thread of its own,
  /// so that clients go on meanwhile.
  ///
  /// - Parameter words: of `roost cluster`.
  /// - Throws: where it takes longer than so many seconds.
  func make(_ words: [String], seconds: Double) async throws {
    var arguments = ["cluster"] + words
    arguments += ["--wait", "\(seconds)", "--json"]
    arguments += access(0)
    let command = try ThreadExecutor.start { [running, tool, arguments] in
      try running.run(tool, arguments, seconds: seconds + 30)
    }
    _ = try await command.result()
  }

  // MARK: - Clients

  func prepare(_ durability: WriteDurability) {}

  func client(_ index: Int) throws -> any ReplicatedClient { try connect(to: index % nodes.count) }

  func connect(to node: Int) throws -> RoostClient {
    var network = NetworkOptions()
    network.threads = 1
    return RoostClient(
      try ClusterClient(
        to: nodes[node].address, cluster: Self.cluster, tls: certificates?.options ?? .plainOnLoopback,
        timeout: .seconds(10), network: network))
  }
}

/// One connection to a node. Thread-safe.
final class RoostClient: ReplicatedClient {
  private let client: ClusterClient

  init(_ client: ClusterClient) { self.client = client }

  func put(_ key: [UInt8], _ value: [UInt8], _ durability: WriteDurability) async throws {
    try await client.put(
      key, value, in: RoostServers.keyspace, durability == .synced ? .synced : .applied)
  }

  /// Returns once so many replicas have it.
  func put(_ key: [UInt8], _ value: [UInt8], quorum: Int) async throws {
    try await client.put(key, value, in: RoostServers.keyspace, quorum: quorum)
  }

  func get(_ key: [UInt8]) async throws -> [UInt8]? {
    try await client.get(key, in: RoostServers.keyspace).value
  }

  func close() async { await client.close() }
}
