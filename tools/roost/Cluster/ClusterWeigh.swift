import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster weigh`: gives a member another share of the partitions.
struct ClusterWeigh: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weigh",
    abstract: "Give a member another share of the partitions.",
    discussion: """
      EXAMPLES
        roost cluster weigh 127.0.0.1:7423 200 --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster weigh 127.0.0.1:7423 50 --wait 600 --connect …
      """)

  @Argument(help: ArgumentHelp("The member. " + MemberNames.help)) var node: String
  @Argument(help: "Its share beside the others', 1 to 1000; nodes that say nothing else have 100.")
  var weight: Int
  @OptionGroup var change: ChangeOptions
  @OptionGroup var connection: ConnectOptions

  func validate() throws {
    if !RingMember.weights.contains(weight) {
      throw ValidationError("<weight> is a number from 1 to 1000.")
    }
  }

  func run() async throws {
    try await change.make(connection) { _, status in
      MembersRequest([.weigh(try MemberNames.member(node, of: status), weight)])
    }
  }
}
