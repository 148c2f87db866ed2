import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster transfer`: the change of the members that is under way.
struct ClusterTransfer: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "transfer",
    abstract: "Show which partitions move between nodes, wait until they have, or cancel the change.",
    discussion: """
      Every node is asked what it was brought and what it waits for. A change that is cancelled leaves
      what has moved where it is, and what is moving where it was.

      With --wait it ends with 75 where the change is not finished in time: it goes on.

      EXAMPLES
        roost cluster transfer --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster transfer --wait 600 --connect …
        roost cluster transfer --cancel --connect …
      """)

  @Flag(help: "End the change under way.") var cancel = false
  @OptionGroup var change: ChangeOptions
  @OptionGroup var connection: ConnectOptions

  func run() async throws {
    if cancel {
      return try await change.make(connection, idle: "no change is under way") { _, _ in .cancel }
    }
    let survey = try await ChangeFollower.with(connection) { follower in
      if let wait = change.wait { return try await follower.wait(wait) }
      return try await follower.surveyTwice()
    }
    if change.json { return try Output.standard.line(ChangeText.json(survey)) }
    for line in ChangeText.lines(survey) { try Output.standard.line(line) }
  }
}
