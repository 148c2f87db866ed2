import ArgumentParser
import RoostCluster
import RoostNetwork

/// `roost cluster leave`: has a member give its partitions away and go.
struct ClusterLeave: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "leave",
    abstract: "Have a member give its partitions to the others, and forget it.",
    discussion: """
      It serves until it has nothing left; then it says that it is no member any more, and can be
      stopped. Of one that does not come back say so with --dead: the other replicas bring what it
      had, and it is refused should it come back after all. Of several that do not, name all: whoever
      is not called dead is waited for.

      It ends with 64 where fewer members than replicas would be left, with 66 where there is no such
      member, and with 75 where another change is under way or this one is not finished in time.

      EXAMPLES
        roost cluster leave 127.0.0.1:7423 --connect 127.0.0.1:7421 --cluster music --plain --wait 600
        roost cluster leave 127.0.0.1:7423 --dead --connect …
      """)

  @Argument(help: ArgumentHelp("The member that leaves. " + MemberNames.help)) var node: String
  @Argument(help: "More members that leave with it.") var others: [String] = []
  @OptionGroup var gone: DeadOptions
  @OptionGroup var change: ChangeOptions
  @OptionGroup var connection: ConnectOptions

  func run() async throws {
    try await change.make(connection) { _, status in
      var changes: [MembersRequest.Change] = []
      for name in [node] + others {
        let member = try MemberNames.member(name, of: status)
        ChangeOptions.warn(member, status, isDead: gone.dead)
        changes.append(.remove(member, isDead: gone.dead))
      }
      return MembersRequest(changes, isForced: gone.force)
    }
  }
}
