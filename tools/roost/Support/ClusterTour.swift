import Roost
import RoostCluster
import RoostNetwork

/// The tour's step with a cluster: three nodes, over TCP on loopback, that like one post at once,
/// and a fourth that takes the place of one of them.
struct ClusterTour {
  let directory: String
  private static let names = ["one", "two", "three"]

  func run() async throws {
    try TourText.step(
      10, "Three nodes, one post, three likes at once",
      """
      Each node has its own directory and port, as three machines would have; each key is on all
      three. A write is acknowledged by two of them, a read asks two, and so sees it.
      """)
    let nodes = try await withThrowingTaskGroup(of: Database.self) { group in
      for name in Self.names { group.addTask { try await join(name) } }
      return try await group.reduce(into: [Database]()) { $0.append($1) }
    }
    do { try await show(nodes) } catch {
      for node in nodes { try? await node.close() }
      throw error
    }
    // Two of them have ended already: nothing happens to these.
    for node in nodes { try await node.close() }
  }

  private func join(_ name: String, joins: Bool = false) async throws -> Database {
    var options = DatabaseOptions()
    options.partitionCount = 16
    options.replicas = Self.names.count
    return try await Database.join(
      cluster: "tour", at: "\(directory)/\(name)", listen: "127.0.0.1:0",
      directory: .file("\(directory)/directory"), tls: .plainOnLoopback, options
    ) {
      $0.joins = joins
      // No node is given up that is only slow: all of them share a machine.
      $0.replicaTimeout = .seconds(10)
      $0.requestTimeout = .seconds(30)
    }
  }

  private func show(_ nodes: [Database]) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for node in nodes {
        group.addTask { try await node.keyspace("posts", .eventual).counter("likes:42").increment() }
      }
      try await group.waitForAll()
    }
    for node in nodes {
      let likes = try await node.keyspace("posts").counter("likes:42").value()
      try TourText.line("the node at \(node.address ?? "no address") says \(likes) likes")
      try TourText.check(likes == nodes.count, "a node says \(likes) likes")
    }
    let new = try await replace(nodes[2], in: nodes[0])
    do { try await goOn(nodes, with: new) } catch {
      try? await new.close()
      throw error
    }
    try await new.close()
  }

  /// Has a new node take the place of one that runs.
  private func replace(_ old: Database, in node: Database) async throws -> Database {
    guard let members = node.cluster, let leaving = old.cluster?.own else {
      throw Failure(.software, "the tour found something wrong: a node of no cluster")
    }
    async let joining = join("four", joins: true)
    let end = ContinuousClock.now + .seconds(120)
    var found: ClusterCandidate?
    while found == nil, ContinuousClock.now < end {
      found = try await members.candidates().first
      if found == nil { try await Task.sleep(for: .milliseconds(20)) }
    }
    guard let found else { throw Failure(.software, "the tour found something wrong: nobody asks to join") }
    try await members.replace(leaving, by: found.id)
    let new = try await joining
    do {
      try await members.waitUntilBalanced(timeout: .seconds(300))
      // Its data are elsewhere now: it is told that it is no member any more, and ends.
      try await old.close()
    } catch {
      try? await new.close()
      throw error
    }
    return new
  }

  private func goOn(_ nodes: [Database], with new: Database) async throws {
    let brought = try await new.keyspace("posts").counter("likes:42").value()
    let moved = new.cluster?.rebalance.movesDone ?? 0
    try TourText.line(
      "A fourth takes the third's place: \(moved) partitions move there, and it says \(brought) likes.")
    try TourText.check(brought == nodes.count && moved == 16, "it says \(brought) likes")
    // Two of three are a majority: the cluster goes on without the second.
    try await nodes[1].close()
    try await nodes[0].keyspace("posts").counter("likes:42").increment()
    let likes = try await new.keyspace("posts").counter("likes:42").value()
    try TourText.line("The second ends, a fourth like is taken, and the new node says \(likes).")
    try TourText.check(likes == nodes.count + 1, "a node says \(likes) likes")
  }
}
