import ArgumentParser
import RoostCluster
import RoostNetwork

/// How a change of the members is made, followed and told: what `join`, `leave`, `weigh` and `replace` share.
struct ChangeOptions: ParsableArguments {
  @Option(help: "Wait so many seconds at most until it is finished; otherwise it goes on by itself.")
  var wait: Double?
  @Flag(help: "A JSON object: how far it is.") var json = false

  func validate() throws {
    if let wait, !(wait >= 0 && wait <= 604_800) {
      throw ValidationError("--wait is a number of seconds, from 0 to 604800.")
    }
  }

  /// Has a node make what `request` asks for, and says what comes of it.
  ///
  /// - Parameters:
  ///   - idle: what to say where nothing is under way then; `nil` to tell whether anything was changed.
  ///   - request: made with what the node knows; it may ask the client for more.
  /// - Throws: ``Failure``, `DatabaseError`, `TransportError`.
  func make(
    _ connection: ConnectOptions, idle: String? = nil,
    _ request: (NetworkClient, NodeStatus) async throws -> MembersRequest
  ) async throws {
    let (change, hasChanged) = try await connection.withClient { client in
      let status = try await client.status()
      let change = try await client.changeMembers(try await request(client, status))
      return (change, change.revision > status.change.revision)
    }
    // Another weight need not move anything.
    let idle = idle ?? (hasChanged ? "done: nothing has to move" : "nothing to do")
    guard let wait, change.isUnderWay else {
      if !json { return try Output.standard.line(Self.text(change, idle)) }
      var writer = JSONWriter()
      ChangeText.write(change, to: &writer)
      return try Output.standard.line(writer)
    }
    if !json {
      try Output.standard.line(Self.text(change, idle))
      try Output.standard.flush()
    }
    let survey = try await ChangeFollower.with(connection, since: change.revision) { follower in
      try await follower.wait(wait)
    }
    try Output.standard.line(json ? ChangeText.json(survey) : "done")
  }

  private static func text(_ change: ChangeProgress, _ idle: String) -> String {
    if !change.isUnderWay { return idle }
    if change.isCancelled { return ChangeText.short(change) }
    return "begun: \(Format.count(change.movesLeft, "partition")) to move"
  }

  /// A word to whoever has a change wait for a member that does not answer.
  static func warn(_ member: MemberID, _ status: NodeStatus, isDead: Bool) {
    guard !isDead, let found = status.members.first(where: { $0.id == member }) else { return }
    if found.state == .unreachable {
      Complaint.line(
        "\(MemberNames.label(found)) is out of reach, and the change waits for it; "
          + "if it does not come back, cancel and say --dead")
    }
  }
}

/// Of a member whose machine is gone.
struct DeadOptions: ParsableArguments {
  @Flag(help: "Its store is gone for good: the other replicas bring what it had.") var dead = false
  @Flag(
    help: ArgumentHelp(
      "With --dead: even if it seems to be there, and if acknowledged writes may be lost.",
      discussion: "They may be where too few replicas are left to tell what was acknowledged. "
        + "What the dead alone had is lost, and so is what beside them only a member still has that had "
        + "given its place to a dead one, where that place comes back to it. "
        + "All that are not called dead are waited for all the same."))
  var force = false

  func validate() throws {
    if force, !dead { throw ValidationError("--force goes with --dead.") }
  }
}
