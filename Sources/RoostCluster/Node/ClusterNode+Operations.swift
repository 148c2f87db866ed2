// Increments that count once however often they are tried, at a node. An attempt may have been taken by
// another replica: so this node first holds all that a quorum holds. What no quorum has seen yet may be taken
// twice, and is counted once all the same when the two meet (`KeyspaceCore+Operations.swift`).

extension ClusterNode {
  /// Does an increment that has an id. Where many ids could be forgotten, all replicas are asked: if they all
  /// answer, they are.
  func count(
    _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>
  ) throws(DatabaseError) {
    let ask: @Sendable () -> Void = { [self] in
      catchUp(place, deadline) { [self] result in
        if case .failure(let error) = result { return reply(.failure(error)) }
        write(request, place, deadline, reply)
      }
    }
    guard try place.keyspace.hasOperationsToForget(place.key) else { return ask() }
    var whole = place
    whole.quorum = QuorumSize(place.replicas.count)
    // One that is away must not hold up the increment itself.
    catchUp(whole, patience(until: deadline)) { [self] result in
      guard case .success = result else { return ask() }
      write(request, place, deadline, hasSeenAll: true, reply)
    }
  }
}
