import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster ring`: who holds what in a cluster, and what a change would move.
struct ClusterRing: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ring",
    abstract: "Draw a cluster's ring: each node's share, and what a change would move.",
    discussion: """
      Changes nothing: `roost cluster join`, `leave` and `weigh` do. Nodes are called by the address
      that they had when they became members; `roost cluster status` has those of now.

      EXAMPLES
        roost cluster ring --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster ring --add new:200 --connect …               what another node would move
        roost cluster ring --remove 127.0.0.1:7423 --json --connect …
      """)

  @OptionGroup var changes: RingChanges
  @OptionGroup var connection: ConnectOptions
  @Flag(help: "A JSON object.") var json = false

  func run() async throws {
    let (state, status) = try await connection.withClient { client in
      (try await client.ring(), try await client.status())
    }
    let ring = state.ring
    let plan: RingPlan? =
      changes.isEmpty
      ? nil : try ring.plan(to: changes.applied(to: ring.staying), keepsOrder: status.keepsOrder)
    guard json else {
      for line in RingPicture.lines(ring: ring, plan: plan) { try Output.standard.line(line) }
      if !state.copies.isEmpty || !state.drops.isEmpty {
        try Output.standard.line(
          "\n\(Format.count(state.copies.count, "partition")) moving, \(Format.count(state.drops.count)) to "
            + "delete where they were: see `roost cluster transfer`")
      }
      return
    }
    try Output.standard.line(
      RingJSON.object(
        ring, plan, revision: state.revision,
        counts: [("moving", state.copies.count), ("drops", state.drops.count)]))
  }
}
