package import RoostCausality
import RoostStorage

extension KeyspaceCore {
  /// A key's partition.
  ///
  /// - Throws: `.invalidArgument`.
  package func partition(of key: [UInt8]) throws(DatabaseError) -> Int {
    try unsafe locate(key.span.bytes).partition
  }

  /// What this process holds of a key, expired or not; `nil` where that is nothing.
  ///
  /// A node of a cluster says what its store has, also where the partition is another's by now.
  ///
  /// - Throws: `.invalidArgument`, `.unreachable` where no store here is a replica of it, `.corruption`,
  ///   `.storage`, `.closed`.
  package func held(_ key: [UInt8]) throws(DatabaseError) -> Record? {
    let partition = try partition(of: key)
    if shared.options.isNodeOfCluster, let part = shared.presentMembers.first.flatMap({ parts[$0.slot] }) {
      try shared.checkOpen()
      return try unsafe StoredKey.withStoredKey(partition, key.span.bytes) {
        storedKey throws(DatabaseError) in try part.load(storedKey)?.record
      }
    }
    return try unsafe StoredKey.withStoredKey(partition, key.span.bytes) {
      storedKey throws(DatabaseError) in
      try join(try allParts(partition).owners, storedKey).0
    }
  }

  /// Does what a request asks for to what is held here.
  ///
  /// - Parameter hasSeenAll: whether what all replicas hold was joined here just now.
  /// - Returns: what the client is told of it.
  /// - Throws: as the calls of `Keyspace`.
  func write(_ request: KeyRequest, hasSeenAll: Bool = false) throws(DatabaseError) -> KeyAnswer {
    let key = request.key
    // Of what is beside it who changes a typed state has seen nothing.
    var answer = unsafe KeyAnswer(context: context(key.span.bytes, nil))
    switch request.operation {
    case .get: throw DatabaseError(.invalidArgument, "a read is no write")
    case .put(let value, let timeToLive):
      guard timeToLive ?? 0 < 1 << 50 else {
        throw DatabaseError(.invalidArgument, "a time to live of \(timeToLive ?? 0) ms")
      }
      answer.context = try unsafe put(
        key.span.bytes, value, context: request.context, isConditional: request.isConditional,
        timeToLive: timeToLive.map { .milliseconds(Int64($0)) })
    case .delete:
      answer.context = try unsafe delete(
        key.span.bytes, context: request.context, isConditional: request.isConditional)
    case .increment(let amount):
      _ = try unsafe apply(StateChange(.increment(amount)), to: key.span.bytes)
    case .add(let element): _ = try unsafe apply(StateChange(.insert([element])), to: key.span.bytes)
    case .remove(let element): _ = try unsafe apply(StateChange(.remove([element])), to: key.span.bytes)
    case .change(let change): answer.changed = try unsafe apply(change, to: key.span.bytes)
    case .countOnce(let amount, let id, let field):
      _ = try unsafe increment(
        key.span.bytes, field: field, by: amount, operation: id, hasSeenAll: hasSeenAll)
    }
    return answer
  }
}
