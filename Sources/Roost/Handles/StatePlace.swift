import RoostCausality
import RoostCluster
import RoostStorage

/// Where a handle's state stands: under a key, or in a field of the map that is under a key. A plain
/// value.
struct StatePlace<Key: ByteKey & Sendable>: Sendable {
  let keyspace: Keyspace
  let key: Key
  /// The map's field; `nil` for the key's own state.
  var field: [UInt8]?

  /// The state as it is now; empty where it is absent.
  func read<State: FieldState>(_ type: State.Type) async throws(DatabaseError) -> State {
    guard let field else { return try await readWhole(State.self) }
    return try await readWhole(ORMap.self).field(field, as: State.self)
  }

  /// The key's own state.
  func readWhole<State: MergeableState>(_ type: State.Type) async throws(DatabaseError) -> State {
    if let node = keyspace.database.node {
      return try keyspace.core.state(of: try await keyspace.perform(.get, key, at: node).record, State.self)
    }
    if keyspace.isInSession {
      return try keyspace.core.state(of: try keyspace.getInSession(key).record, State.self)
    }
    return try key.withKeyBytes { key throws(DatabaseError) in try keyspace.core.state(key, State.self) }
  }

  /// Adds to the counter, unless the increment was counted before.
  func count(
    _ amount: Int64, once operation: OperationID, _ durability: Durability?
  ) async throws(DatabaseError) {
    if let node = keyspace.database.node {
      _ = try await keyspace.perform(
        .countOnce(amount, operation, field: field), key, nil, durability, at: node)
      return
    }
    let core = keyspace.core
    let field = field
    _ = try await keyspace.write(key, durability) { key throws(DatabaseError) in
      try core.increment(key, field: field, by: amount, operation: operation)
    }
  }

  /// Changes the state.
  ///
  /// - Returns: how many elements, fields or values were changed. Where that is 0 nothing is written.
  @discardableResult
  func change(_ kind: StateChange.Kind, _ durability: Durability?) async throws(DatabaseError) -> Int {
    let change = StateChange(kind, field: field)
    if let node = keyspace.database.node {
      return try await keyspace.perform(.change(change), key, nil, durability, at: node).changed
    }
    let core = keyspace.core
    return try await keyspace.write(key, durability) { key throws(DatabaseError) in
      try core.apply(change, to: key)
    }
  }
}
