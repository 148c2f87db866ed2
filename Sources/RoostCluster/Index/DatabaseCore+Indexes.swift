import RoostStorage

// How indexes are declared, and undeclared ones marked. With `topology` held, or taking it.

extension DatabaseCore {
  /// Has a keyspace's writes keep these indexes from now on, beside those declared before; begins
  /// those that are new, changed or stale anew.
  ///
  /// 1. The schema says which generation each has, durably.
  /// 2. Its trees are there in every present store.
  /// 3. With all key locks held, writes begin to keep it.
  /// 4. Trees that no generation needs any more are dropped, and what is not built is built.
  ///
  /// A process that ends in between goes on at the next declaration. With `topology` held.
  func declare(_ indexes: [Index], _ keyspace: KeyspaceCore) throws(DatabaseError) {
    let entry = schema.keyspace(keyspace.name)!
    var next = schema
    var kept = keyspace.indexes.kept
    var begun: [KeptIndex] = []
    for index in indexes {
      let same = kept.first { $0.declaration.name == index.name }
      if same?.declaration.version == index.version { continue }
      let known = entry.indexes.first { $0.name == index.name }
      var generation = schema.revision + 1
      if let known, known.state == .current, known.extractorVersion == index.version {
        generation = known.generation
      } else {
        next.set(
          Schema.Index(
            name: index.name, extractorVersion: index.version, generation: generation, state: .current),
          of: keyspace.name)
      }
      kept.removeAll { $0.declaration.name == index.name }
      let new = KeptIndex(index, generation: generation)
      kept.append(new)
      begun.append(new)
    }
    if next != schema { try install(next) }
    for index in begun {
      for member in presentMembers {
        try index.attach(try keyspace.part(of: member), keyspace: keyspace.name)
      }
    }
    if !begun.isEmpty { shared.locks.withAll { keyspace.indexes.keep(kept) } }
    for index in begun {
      for member in presentMembers { try index.finishIfEmpty(try keyspace.part(of: member)) }
    }
    let names = Set(kept.map(\.declaration.name))
    let undeclared = schema.keyspace(keyspace.name)!.indexes.contains {
      $0.state == .current && !names.contains($0.name)
    }
    keyspace.indexes.hasUndeclared.store(undeclared, ordering: .releasing)
    if !begun.isEmpty {
      try dropOldGenerations(keyspace.name)
      for index in begun { keyspace.build(index) }
    }
  }

  /// - Throws: `.invalidArgument` for names and versions that are none.
  func check(_ indexes: [Index]) throws(DatabaseError) {
    for (position, index) in indexes.enumerated() {
      if let problem = Schema.problem(name: index.name, of: "an index's name") { throw problem }
      guard index.version < 1 << 62 else {
        throw DatabaseError(
          .invalidArgument, "the index `\(index.name)` has version \(index.version), must be below 2^62")
      }
      guard !indexes[..<position].contains(where: { $0.name == index.name }) else {
        throw DatabaseError(.invalidArgument, "the index `\(index.name)` is declared twice")
      }
    }
  }

  /// Removes the trees of a keyspace's indexes that the schema does not name.
  private func dropOldGenerations(_ keyspace: String) throws(DatabaseError) {
    let current = Set(
      schema.keyspace(keyspace)!.indexes.map { KeptIndex.tree(keyspace, $0.name, $0.generation) })
    for member in presentMembers {
      for name in member.store.treeNames
      where name.hasPrefix(KeptIndex.prefix(keyspace)) && !current.contains(name) {
        try storing("the old index `\(name)` could not be dropped in \(member.path)") {
          () throws(StoreError) in try member.store.dropTree(name)
        }
      }
    }
  }

  /// Says durably that a store has yet to build the indexes that nobody declared, where it has built
  /// any of them: records are going to move there without their entries.
  ///
  /// A move is no reason to mark an index stale: the mover goes on as soon as the database is opened,
  /// which is before the program had a chance to declare anything. Whoever declares the index finds it
  /// built in all other stores, and the entries that this one had still there.
  func unbuildUndeclared(
    _ keyspace: String, _ indexes: KeyspaceIndexes, in part: KeyspacePart
  ) throws(DatabaseError) {
    // Declaring reads the record with `topology` held too: it sees it gone, or the mover sees the
    // index declared before it writes anything.
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      let names = Set(indexes.kept.map(\.declaration.name))
      for index in schema.keyspace(keyspace)?.indexes ?? []
      where index.state == .current && !names.contains(index.name) {
        let name = KeptIndex.tree(keyspace, index.name, index.generation)
        guard let tree = part.member.store.existingTree(name) else { continue }
        try storing("the index `\(index.name)` could not be put back in \(part.member.path)") {
          () throws(StoreError) in
          if try tree.get(BuildRecord.key) == nil { return }
          var batch = WriteBatch()
          batch.delete(BuildRecord.key, in: tree)
          try part.member.store.commit(batch, .synced)
        }
      }
    }
  }

  /// Says durably that writes are going to pass by the indexes that nobody declared.
  func markUndeclaredStale(_ keyspace: String, _ indexes: KeyspaceIndexes) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      guard indexes.hasUndeclared.load(ordering: .acquiring) else { return }
      let names = Set(indexes.kept.map(\.declaration.name))
      var next = schema
      for var index in schema.keyspace(keyspace)?.indexes ?? [] where !names.contains(index.name) {
        index.state = .stale
        next.set(index, of: keyspace)
      }
      if next != schema { try install(next) }
      indexes.hasUndeclared.store(false, ordering: .releasing)
    }
  }
}

/// Leads from what is shared back to the database, without keeping it.
final class DatabaseReference: @unchecked Sendable {
  /// Set once, before anyone else has the database.
  weak var core: DatabaseCore?
}

extension KeyspaceCore {
  /// Before records move to a store, with no lock held: an index that cannot follow them there is to
  /// be built anew in that store.
  func prepareMove(to target: KeyspacePart) throws(DatabaseError) {
    guard indexes.hasUndeclared.load(ordering: .acquiring) else { return }
    guard let core = shared.owner.core else {
      throw DatabaseError(.closed, "the database is closed")
    }
    try core.unbuildUndeclared(name, indexes, in: target)
  }

  /// Before a write, with no lock held: no index may be passed by that does not say so.
  @inline(__always)
  func prepareWrite() throws(DatabaseError) {
    if indexes.hasUndeclared.load(ordering: .acquiring) { try markUndeclaredStale() }
  }

  @inline(never)
  private func markUndeclaredStale() throws(DatabaseError) {
    guard let core = shared.owner.core else {
      throw DatabaseError(.closed, "the database is closed")
    }
    try core.markUndeclaredStale(name, indexes)
  }
}
