import RoostEnvironment

// The keyspaces of the cluster: in the directory, and in each store.

extension ClusterNode {
  /// A keyspace by its name; asks the directory for one that is not known here.
  ///
  /// - Throws: `.unknownKeyspace`, `.wrongPolicy` where it is transactional, `.closed`, what the directory or
  ///   the store throws.
  package func keyspace(_ name: String) throws(DatabaseError) -> KeyspaceCore {
    if !core.keyspaceEntries.contains(where: { $0.name == name }) { try learnKeyspaces() }
    let keyspace = try core.keyspace(name, nil)
    try keyspace.checkEventual()
    return keyspace
  }

  func keyspace(_ id: UInt64) throws(DatabaseError) -> KeyspaceCore {
    if let known = lock.withLock({ keyspaces[id] }) { return known }
    if !core.keyspaceEntries.contains(where: { $0.id == id }) { try learnKeyspaces() }
    guard let entry = core.keyspaceEntries.first(where: { $0.id == id }) else {
      throw DatabaseError(.unknownKeyspace, "there is no keyspace with the id \(id)")
    }
    let opened = try keyspace(entry.name)
    lock.withLock { keyspaces[id] = opened }
    return opened
  }

  func learnKeyspaces() throws(DatabaseError) {
    guard let record = try directory.record(ClusterRecordName.schema) else { return }
    try adopt(try Schema(decoding: record.value))
  }

  /// Takes in the cluster's keyspaces.
  ///
  /// - Throws: `.corruption` where one does not fit the ring, what the directory or the store throws.
  private func adopt(_ schema: Schema) throws(DatabaseError) {
    try schema.check(core.ring)
    // Who holds its keys is told by the order of lists: nothing is done for it by an earlier order. The
    // directory said that it counts before it had the keyspace.
    if schema.hasFewerReplicas, !view.hasFewerReplicas { try refreshRing() }
    try core.adopt(schema.keyspaces)
  }

  /// Makes a keyspace in the whole cluster, or finds that it is there.
  ///
  /// - Throws: `.invalidArgument` (the name, a quorum, no replicas), `.tooManyReplicas` (more than the
  ///   database has), `.wrongPolicy` (it is there with another policy, quorum or number of replicas; a
  ///   transactional one with quorums or replicas), `.busy` (others changed the schema all the while; for a
  ///   transactional one, and the first with fewer replicas than the database, the members are being
  ///   changed), what the directory or the store throws.
  package func makeKeyspace(_ request: KeyspaceRequest) throws(DatabaseError) {
    if let problem = Schema.problem(name: request.name, of: "a keyspace's name") { throw problem }
    if request.kind == .transactional, !request.quorums.areMajorities {
      throw DatabaseError(
        .wrongPolicy, "the keyspace `\(request.name)` is to be transactional: it has no quorums")
    }
    if request.kind == .transactional, request.replicas != nil {
      throw DatabaseError(
        .wrongPolicy,
        "the keyspace `\(request.name)` is to be transactional: each of its keys is at one replica")
    }
    let ring = core.ring
    // A transactional key is at its partition's first replica alone.
    let replicas = request.kind == .transactional ? 1 : request.replicas ?? ring.replicas
    try DatabaseCore.check(replicas: replicas, of: request.name, in: ring)
    let hasFewer = request.kind != .transactional && replicas < ring.replicas
    for _ in 0..<16 {
      let record = try directory.record(ClusterRecordName.schema)
      var schema = Schema()
      if let record { schema = try Schema(decoding: record.value) }
      if let known = schema.keyspace(request.name) {
        guard known.kind == request.kind else {
          throw DatabaseError(
            .wrongPolicy,
            "the keyspace `\(request.name)` was created with the policy \(known.kind), not \(request.kind)")
        }
        try known.checkSame(replicas: request.replicas)
        try known.quorums.checkSame(request.quorums, of: request.name)
        return try adopt(schema)
      }
      try request.quorums.check(replicas: replicas, of: request.name)
      // Before anybody can find it there.
      if request.kind == .transactional { try noteTransactions() }
      if hasFewer { try noteFewerReplicas() }
      let id = (schema.keyspaces.map(\.id).max() ?? 0) + 1
      _ = schema.adopt([
        Schema.Keyspace(
          id: id, name: request.name, kind: request.kind, replicas: replicas, indexes: [],
          quorums: request.quorums, hasFewerReplicas: hasFewer)
      ])
      schema.revision += 1
      let version = try directory.compareAndSet(
        ClusterRecordName.schema, version: record?.version ?? 0, schema.encoded(), lease: nil)
      if version != nil { return try adopt(schema) }
    }
    throw DatabaseError(.busy, "the cluster's keyspaces are being changed by others")
  }
}
