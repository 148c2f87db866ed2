import Roost
import RoostNetwork

/// The tour's step with a cluster: three nodes, over TCP on loopback, that like one post at once.
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
    // The third has left already.
    for node in nodes.dropLast() { try await node.close() }
  }

  private func join(_ name: String) async throws -> Database {
    var options = DatabaseOptions()
    options.partitionCount = 16
    options.replicas = Self.names.count
    return try await Database.join(
      cluster: "tour", at: "\(directory)/\(name)", listen: "127.0.0.1:0",
      directory: .file("\(directory)/directory"), tls: .plainOnLoopback, options)
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
    // Two of three are a majority: the cluster goes on without the third.
    try await nodes[2].close()
    try await nodes[0].keyspace("posts").counter("likes:42").increment()
    let likes = try await nodes[1].keyspace("posts").counter("likes:42").value()
    try TourText.line("One leaves, a fourth like is taken, and a node that stayed says \(likes).")
    try TourText.check(likes == nodes.count + 1, "a node says \(likes) likes")
  }
}
