package import RoostCluster

// What an operator asks of a node about the cluster's members.

extension NetworkClient {
  /// Begins a change of the cluster's members, or cancels the one under way.
  ///
  /// - Returns: how far it is.
  /// - Throws: as ``key(_:)``; what `ClusterNode.changeMembers` says: `.busy` (another change is under way),
  ///   `.notAMember`, `.invalidMembers`, `.invalidArgument`, `.wrongPolicy`; `.indeterminate` where no answer
  ///   came: the change may have begun.
  package func changeMembers(_ request: MembersRequest) async throws(DatabaseError) -> ChangeProgress {
    try ChangeProgress(
      decoding: await ask(NodeMessageKind.changeMembers, request.encoded(), isWrite: true))
  }

  /// The stores that ask to join.
  ///
  /// - Throws: as ``key(_:)``.
  package func candidates() async throws(DatabaseError) -> [ClusterCandidate] {
    try ClusterCandidate.decode(await ask(NodeMessageKind.candidates, [], isWrite: false))
  }

  /// The ring that the node goes by, with what moves.
  ///
  /// - Throws: as ``key(_:)``.
  package func ring() async throws(DatabaseError) -> RingState {
    try RingState(
      decoding: await ask(NodeMessageKind.ring, RingRequest().encoded(), isWrite: false))
  }
}
