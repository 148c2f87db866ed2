import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster replace`: has a node that asks to join take a member's place.
struct ClusterReplace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replace",
    abstract: "Have a node that asks to join take a member's place, with its weight.",
    discussion: """
      What the one had the other gets, and nothing else moves. Where the old one's store is gone for
      good, say so with --dead: the other replicas bring what it had. Where so many replicas are gone
      that nobody can tell what was acknowledged, the change waits and says so; --force takes what
      those have that are left. Whoever is not called dead is waited for: where several are dead, name
      each with the node that takes its place.

      It ends with 66 where there is no such member or no such node asks, and with 75 where another
      change is under way or this one is not finished in time: it goes on.

      EXAMPLES
        roost serve ./node4 --join …                                   the new one, in its own terminal
        roost cluster replace 127.0.0.1:7423 127.0.0.1:7424 --dead --wait 600 \\
          --connect 127.0.0.1:7421 --cluster music --plain
      """)

  @Argument(help: ArgumentHelp("The member that goes. " + MemberNames.help)) var old: String
  @Argument(help: ArgumentHelp("The node that takes its place. " + MemberNames.help)) var new: String
  @Argument(help: "More such pairs, replaced with it.") var more: [String] = []
  @OptionGroup var gone: DeadOptions
  @OptionGroup var change: ChangeOptions
  @OptionGroup var connection: ConnectOptions

  func validate() throws {
    guard more.count.isMultiple(of: 2) else {
      throw ValidationError("Each member that goes is named with the node that takes its place.")
    }
  }

  func run() async throws {
    try await change.make(connection) { client, status in
      let candidates = try await client.candidates()
      let names = [old, new] + more
      var changes: [MembersRequest.Change] = []
      for index in stride(from: 0, to: names.count, by: 2) {
        let member = try MemberNames.member(names[index], of: status)
        let candidate = try MemberNames.candidate(names[index + 1], of: candidates)
        ChangeOptions.warn(member, status, isDead: gone.dead)
        changes.append(.replace(member, by: candidate.id, isDead: gone.dead))
      }
      return MembersRequest(changes, isForced: gone.force)
    }
  }
}
