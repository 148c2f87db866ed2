import RoostStorage

// Keyspaces are created, opened and listed with `topology` held.

extension DatabaseCore {
  /// Opens a keyspace, or creates it.
  ///
  /// - Parameters:
  ///   - name: 1 to 64 letters, digits, dots, dashes and underscores.
  ///   - policy: what it is created with, and must have been created with; `nil` for an existing one
  ///     as it is (one that resolves on read needs its policy, for the function).
  ///   - indexes: what writes keep from now on, beside what was declared of it before.
  /// - Throws: `.invalidArgument`, `.unknownKeyspace`, `.wrongPolicy`, `.tooManyReplicas`, `.closed`;
  ///   creating may throw what writing to a store throws.
  package func keyspace(
    _ name: String, _ policy: KeyspacePolicy?, indexes: [Index] = []
  ) throws(DatabaseError) -> KeyspaceCore {
    if let problem = Schema.problem(name: name, of: "a keyspace's name") { throw problem }
    try check(indexes)
    return try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      if let open = keyspaces[name] {
        if let policy {
          try check(policy, schema.keyspace(name)!)
          open.adopt(policy)
        }
        if open.kind == .transactional { try checkUnindexed(name, indexes) }
        try declare(indexes, open)
        return open
      }
      if schema.keyspace(name) == nil {
        if policy?.isTransactional == true { try checkUnindexed(name, indexes) }
        try create(name, policy)
      }
      let entry = schema.keyspace(name)!
      if let policy { try check(policy, entry) }
      if entry.kind == .transactional { try checkUnindexed(name, indexes) }
      let moved = transferKeyspaces[name]
      let opened = try KeyspaceCore(entry, effective(policy, entry), shared, moved?.indexes)
      for member in presentMembers {
        // What moves it is at work on its parts: they stay the same.
        if let part = moved?.parts[member.slot] {
          opened.parts.publish(part, at: member.slot)
        } else {
          try opened.attach(member)
        }
      }
      try declare(indexes, opened)
      transferKeyspaces[name] = nil
      keyspaces[name] = opened
      return opened
    }
  }

  /// The keyspaces that there are, by name.
  package var keyspaceEntries: [Schema.Keyspace] { shown.now.schema.keyspaces }

  private func create(_ name: String, _ policy: KeyspacePolicy?) throws(DatabaseError) {
    guard let policy else {
      let names = schema.keyspaces.map { "`\($0.name)`" }.joined(separator: ", ")
      throw DatabaseError(
        .unknownKeyspace,
        "there is no keyspace `\(name)`: the database has " + (names.isEmpty ? "none" : names))
    }
    // Two halves of a database that each made a keyspace would have two schemas of one revision.
    try checkChangeable()
    // Before anything counts on the order of the lists: what is on disk may have another one. Where telling
    // all of a new order failed, some store may have kept it, and would go by it if it were opened alone.
    if isRingInDoubt || !schema.keepsOrder, policy.keepsOrder(of: ringState.ring) { try install(ringState) }
    // A cluster's keyspaces are in its schema before they are opened here (`ClusterNode.makeKeyspace`).
    guard policy.quorums.areMajorities else {
      throw DatabaseError(
        .invalidOption,
        "the keyspace `\(name)` asks for quorums of its own, which a cluster's have: without one, all stores "
          + "that are present answer")
    }
    let ring = ringState.ring
    if policy.isTransactional {
      try add(name, policy.kind, replicas: 1)
    } else {
      let replicas = policy.replicas ?? ring.replicas
      try Self.check(replicas: replicas, of: name, in: ring)
      try add(name, policy.kind, replicas: replicas, areFewer: replicas < ring.replicas)
    }
    // What is yet to be installed may change who comes first, without bringing its keys along.
    if schema.keepsOrder, adoption != nil { planRest() }
  }

  /// - Throws: `.invalidArgument` (none), `.tooManyReplicas` (more than the database has).
  static func check(replicas: Int, of keyspace: String, in ring: Ring) throws(DatabaseError) {
    guard replicas >= 1 else {
      throw DatabaseError(
        .invalidArgument,
        "the keyspace `\(keyspace)` asks for \(replicas) replicas; it must be 1 to \(ring.replicas)")
    }
    guard replicas <= ring.replicas else {
      throw DatabaseError(
        .tooManyReplicas,
        "the keyspace `\(keyspace)` asks for \(replicas) replicas; the database has \(ring.replicas), on "
          + "\(ring.members.count) stores")
    }
  }

  private func add(
    _ name: String, _ kind: KeyspacePolicy.Kind, replicas: Int, areFewer: Bool = false
  ) throws(DatabaseError) {
    var next = schema
    let id = (schema.keyspaces.map(\.id).max() ?? 0) + 1
    next.keyspaces.append(
      Schema.Keyspace(
        id: id, name: name, kind: kind, replicas: replicas, indexes: [], hasFewerReplicas: areFewer))
    next.keyspaces.sort { $0.name < $1.name }
    try install(next)
  }

  private func check(
    _ policy: KeyspacePolicy, _ entry: Schema.Keyspace
  ) throws(DatabaseError) {
    guard policy.kind == entry.kind else {
      throw DatabaseError(
        .wrongPolicy,
        "the keyspace `\(entry.name)` was created with the policy \(entry.kind), not \(policy.kind)")
    }
    try entry.checkSame(replicas: policy.replicas)
    try entry.quorums.checkSame(policy.quorums, of: entry.name)
  }

  private func effective(
    _ policy: KeyspacePolicy?, _ entry: Schema.Keyspace
  ) throws(DatabaseError) -> KeyspacePolicy {
    if let policy, !policy.isTransactional {
      try check(policy, entry)
      return KeyspacePolicy(siblings: policy.siblings, replicas: entry.replicas, entry.quorums)
    }
    switch entry.kind {
    case .keep: return KeyspacePolicy(siblings: .keep, replicas: entry.replicas, entry.quorums)
    case .transactional: return .transactional
    case .lastWriterWins:
      return KeyspacePolicy(siblings: .lastWriterWins, replicas: entry.replicas, entry.quorums)
    case .resolve:
      // Without the function its siblings are shown as they are, which is what inspecting needs.
      return KeyspacePolicy(siblings: .keep, replicas: entry.replicas, entry.quorums)
    }
  }

  private func checkUnindexed(_ name: String, _ indexes: [Index]) throws(DatabaseError) {
    if indexes.isEmpty { return }
    throw DatabaseError(
      .wrongPolicy,
      "the keyspace `\(name)` is transactional and has no indexes; `\(indexes[0].name)` cannot be kept")
  }

  // MARK: - Transactional keyspaces

  /// A transactional keyspace, by its id in the schema: opened where nobody has yet.
  ///
  /// - Throws: `.unknownKeyspace`, `.wrongPolicy` where it is eventual, `.closed`; opening it may throw
  ///   what a store throws.
  package func versionedKeyspace(_ id: UInt64) throws(DatabaseError) -> VersionedKeyspace {
    let name = topology.withLock { schema.keyspaces.first { $0.id == id }?.name }
    guard let name else {
      throw DatabaseError(.unknownKeyspace, "there is no keyspace with the id \(id)")
    }
    return try versionedKeyspace(name)
  }

  /// A transactional keyspace, by its name.
  ///
  /// - Throws: as ``versionedKeyspace(_:)-(UInt64)``.
  package func versionedKeyspace(_ name: String) throws(DatabaseError) -> VersionedKeyspace {
    if let versions = try keyspace(name, nil).versions { return versions }
    throw DatabaseError(
      .wrongPolicy, "the keyspace `\(name)` is eventual: transactions cannot use it but for effects")
  }
}

extension KeyspacePolicy {
  /// Whether a keyspace made by it is at the first members of each list, and not at all.
  fileprivate func keepsOrder(of ring: Ring) -> Bool {
    isTransactional || replicas.map { $0 < ring.replicas } ?? false
  }
}

extension Schema.Keyspace {
  /// What is asked for of a keyspace that is there must be what it has; `nil` takes what there is.
  ///
  /// - Throws: `.wrongPolicy`.
  func checkSame(replicas asked: Int?) throws(DatabaseError) {
    guard let asked, asked != replicas else { return }
    throw DatabaseError(
      .wrongPolicy, "the keyspace `\(name)` was created with \(replicas) replicas, not \(asked)")
  }
}
