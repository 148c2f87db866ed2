import RoostCluster
import RoostNetwork

/// What the nodes of a cluster say of a change of its members, put together. A value.
struct ChangeSurvey {
  struct Node {
    var member: NodeStatus.Member
    var change: ChangeProgress
  }

  /// As the node has it that knows the newest ring.
  var change: ChangeProgress
  /// Those that have answered.
  var nodes: [Node]
  /// Those that have not.
  var silent: [NodeStatus.Member]
  /// Over the time since the survey before; `nil` where there was none.
  var bytesPerSecond: Double?

  /// What all were brought since each was started.
  var keys: UInt64 { nodes.reduce(0) { $0 &+ $1.change.keys } }
  var bytes: UInt64 { nodes.reduce(0) { $0 &+ $1.change.bytes } }

  /// Why something does not go on, where something does not.
  var reason: String? { nodes.first { !$0.change.waitsFor.isEmpty }?.change.waitsFor }

  func label(_ member: MemberID) -> String {
    let known = nodes.map(\.member) + silent
    return known.first { $0.id == member }.map { MemberNames.label($0) } ?? "member \(member)"
  }
}

/// Follows a change of a cluster's members: asks one node, and the others that it knows, again and again. Has
/// to be closed. Used by one task.
struct ChangeFollower {
  private let connection: ConnectOptions
  private var clients: [String: NetworkClient] = [:]
  /// Where to ask, the node that answered last in front: one may leave meanwhile.
  private var places: [String]
  /// The newest ring that anybody knew of: who knows only older ones does not know that the change is done.
  private var revision: UInt64 = 0
  private var last: (at: ContinuousClock.Instant, bytes: [MemberID: UInt64])?

  /// Beside the first, a node that says nothing for so many seconds is left out.
  private static let patience = 2.0
  private static let pause = Duration.milliseconds(200)

  init(_ connection: ConnectOptions, since revision: UInt64 = 0) throws {
    guard let connect = connection.connect else {
      throw Failure.usage("name a node of the cluster with --connect HOST:PORT")
    }
    self.connection = connection
    self.revision = revision
    places = [connect]
  }

  /// Runs `body` with one, and closes it, whatever happens.
  static func with<R>(
    _ connection: ConnectOptions, since revision: UInt64 = 0,
    _ body: (inout ChangeFollower) async throws -> R
  ) async throws -> R {
    var follower = try ChangeFollower(connection, since: revision)
    let result: R
    do { result = try await body(&follower) } catch {
      await follower.close()
      throw error
    }
    await follower.close()
    return result
  }

  private func close() async { for client in clients.values { await client.close() } }

  /// Asks all nodes once.
  ///
  /// - Throws: what the first says, where no node answers.
  mutating func survey() async throws -> ChangeSurvey {
    let status = try await ask()
    let asked = status.members.filter { $0.state == .reachable && !$0.address.isEmpty }
    for member in asked where clients[member.address] == nil {
      clients[member.address] = try connection.client(of: member.address, limit: Self.patience)
    }
    let answers = await withTaskGroup(of: (MemberID, ChangeProgress?).self) { [clients] group in
      for member in asked {
        guard let client = clients[member.address] else { continue }
        group.addTask { (member.id, try? await client.status().change) }
      }
      var answers: [MemberID: ChangeProgress] = [:]
      for await (member, change) in group { answers[member] = change }
      return answers
    }
    var survey = ChangeSurvey(change: status.change, nodes: [], silent: [])
    for member in status.members {
      if let change = member.state == .this ? status.change : answers[member.id] {
        survey.nodes.append(ChangeSurvey.Node(member: member, change: change))
        if change.revision > survey.change.revision { survey.change = change }
      } else {
        survey.silent.append(member)
      }
    }
    measure(&survey)
    places += asked.map(\.address).filter { !places.contains($0) }
    if survey.change.revision < revision { survey.change.isUnderWay = true }
    revision = max(revision, survey.change.revision)
    return survey
  }

  /// The status of the first node that says it.
  private mutating func ask() async throws -> NodeStatus {
    var failure: (any Error)?
    for place in places {
      do {
        let client = try clients[place] ?? connection.client(of: place)
        clients[place] = client
        let status = try await client.status()
        places.removeAll { $0 == place }
        places.insert(place, at: 0)
        return status
      } catch { failure = failure ?? error }
    }
    throw failure ?? Failure(.unavailable, "no node of the cluster answers")
  }

  private mutating func measure(_ survey: inout ChangeSurvey) {
    let now = ContinuousClock.now
    var bytes: [MemberID: UInt64] = [:]
    for node in survey.nodes { bytes[node.member.id] = node.change.bytes }
    defer { last = (now, bytes) }
    guard let last else { return }
    let elapsed = last.at.duration(to: now) / .seconds(1)
    // One that was started again counts from 0.
    let brought = bytes.reduce(UInt64(0)) { sum, entry in
      sum &+ entry.value &- min(entry.value, last.bytes[entry.key] ?? 0)
    }
    survey.bytesPerSecond = elapsed > 0 ? Double(brought) / elapsed : nil
  }

  /// Two looks, a second apart where a change is under way, so that it has a rate.
  mutating func surveyTwice() async throws -> ChangeSurvey {
    let first = try await survey()
    guard first.change.isUnderWay else { return first }
    try await Task.sleep(for: .seconds(1))
    return try await survey()
  }

  /// Waits until no change is under way, and shows how far it is where a person looks on.
  ///
  /// - Throws: ``Failure`` with `.busy` where it takes longer than so many seconds: it goes on.
  mutating func wait(_ seconds: Double) async throws -> ChangeSurvey {
    var progress = Progress()
    defer { progress.clear() }
    let end = ContinuousClock.now + .seconds(seconds)
    var most = 0
    var seen: ChangeSurvey?
    while true {
      do {
        let survey = try await survey()
        if !survey.change.isUnderWay { return survey }
        seen = survey
        most = max(most, survey.change.movesLeft)
        progress.show(ChangeText.progress(survey, of: most))
      } catch {
        // Nodes may be away for a moment; a command that has never reached one is wrong.
        guard seen != nil, ContinuousClock.now < end else { throw error }
      }
      guard ContinuousClock.now < end else {
        let state = seen.map { ChangeText.short($0.change) } ?? "under way"
        let reason = seen?.reason.map { "; it waits: \($0)" } ?? ""
        throw Failure(
          .busy, "not done within \(Format.duration(.seconds(seconds))), and goes on: \(state)\(reason)")
      }
      try await Task.sleep(for: Self.pause)
    }
  }
}
