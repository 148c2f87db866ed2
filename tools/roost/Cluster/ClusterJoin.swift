import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster join`: admits a node that asks to join, or lists those that do.
struct ClusterJoin: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "join",
    abstract: "Admit a node that asks to join, or list those that ask.",
    discussion: """
      A node asks with `roost serve --join`. Once it is admitted its share of the partitions moves
      there, one at a time, while all nodes serve: `roost cluster transfer` shows how far it is.
      One change of the members is made at a time.

      It ends with 66 where no such node asks, and with 75 where another change is under way or
      this one is not finished in time: it goes on.

      EXAMPLES
        roost cluster join --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster join 127.0.0.1:7424 --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster join 5c1e --weight 200 --zone rack2 --wait 600 --connect …
      """)

  @Argument(help: ArgumentHelp("The node to admit; nobody, to list who asks. " + MemberNames.help))
  var node: String?
  @Option(help: "Its share beside the others', 1 to 1000; as it says itself otherwise.") var weight: Int?
  @Option(help: "What fails together with it; as it says itself otherwise.") var zone: String?
  @OptionGroup var change: ChangeOptions
  @OptionGroup var connection: ConnectOptions

  func validate() throws {
    if let weight, !RingMember.weights.contains(weight) {
      throw ValidationError("--weight is a number from 1 to 1000.")
    }
    if node == nil, weight != nil || zone != nil || change.wait != nil {
      throw ValidationError("--weight, --zone and --wait need the node that is to be admitted.")
    }
  }

  func run() async throws {
    guard let node else { return try await list() }
    try await change.make(connection) { client, _ in
      let candidate = try MemberNames.candidate(node, of: try await client.candidates())
      return MembersRequest([.admit(candidate.id, weight: weight, zone: zone)])
    }
  }

  private func list() async throws {
    let candidates = try await connection.withClient { try await $0.candidates() }
    guard change.json else {
      if candidates.isEmpty { return try Output.standard.line("nobody asks to join") }
      let rows = candidates.map { candidate in
        [
          "\(candidate.id)", candidate.name, candidate.zone.isEmpty ? "-" : candidate.zone,
          "\(candidate.weight)",
        ]
      }
      for line in StatusText.table([["node", "address", "zone", "weight"]] + rows) {
        try Output.standard.line(line)
      }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for candidate in candidates {
      writer.beginObject()
      writer.member("id", "\(candidate.id)")
      writer.member("address", candidate.name)
      writer.member("zone", candidate.zone)
      writer.member("weight", candidate.weight)
      writer.endObject()
    }
    writer.endArray()
    try Output.standard.line(writer)
  }
}
