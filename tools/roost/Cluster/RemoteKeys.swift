import RoostCausality
import RoostCluster
import RoostNetwork

// Keys of a cluster as the commands see them, asked of one of its nodes.

/// A client, and the session that its requests are of, where there is one.
struct RemoteKeys {
  let client: NetworkClient
  let session: DatabaseSession?

  /// - Throws: as `NetworkClient.key`.
  func key(_ request: KeyRequest) async throws(DatabaseError) -> KeyAnswer {
    try await client.key(request, within: session)
  }

  /// The values of a record as its keyspace's policy shows them.
  ///
  /// A node answers with all that is there; which of several values counts, only the policy says, and the
  /// node is asked for it then.
  func visible(_ record: Record?, in keyspace: String) async throws -> [Sibling] {
    guard let record else { return [] }
    let siblings = record.siblings.elements
    guard siblings.count > 1, let latest = record.siblings.latest else { return siblings }
    let kind = try await client.status().keyspaces.first { $0.name == keyspace }?.kind
    return kind == .lastWriterWins ? [latest] : siblings
  }

  /// A key's typed state; empty where it is absent.
  ///
  /// - Throws: ``DatabaseError`` with `.wrongKind` where the key holds something else, and as `key`.
  func state<State: MergeableState>(_ request: KeyRequest, _ type: State.Type) async throws -> State {
    guard let record = try await key(request).record else { return State() }
    guard record.siblings.isEmpty, record.states.allSatisfy({ $0.kind == State.kind }) else {
      let other = record.states.first { $0.kind != State.kind }.map { "a \($0.kind)" }
      throw DatabaseError(.wrongKind, "the key holds \(other ?? "plain values"), not a \(State.kind)")
    }
    return record.state(as: type)
  }
}
