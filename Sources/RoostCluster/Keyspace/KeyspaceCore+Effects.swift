package import RoostCausality
package import RoostStorage

// What transactions do to eventual keys, after their commit: as a client's write, but with a mark that
// says so in the batch of the store that coordinates the key. So nobody does it twice.

extension KeyspaceCore {
  /// Adds the mark of an effect to the batch of a member's store.
  package typealias Marking = (MemberID, inout WriteBatch) -> Void

  /// Adds to a counter.
  ///
  /// - Throws: `.wrongKind`, `.counterOverflow`, and as ``update(_:context:_:)``.
  package func increment(
    _ key: RawSpan, by amount: Int64, marking: @escaping Marking
  ) throws(DatabaseError) {
    try marked(key, nil, marking) { stripe, partition, part, old, now throws(DatabaseError) in
      try change(stripe, partition, part, old, at: now) { record, stamp throws(DatabaseError) in
        try Self.check(record, is: PNCounter.kind)
        return try Self.apply(&record, stamp) {
          (counter: inout PNCounter, stamp) throws(CausalityError) -> (isChanged: Bool, result: Void) in
          try counter.increment(by: amount, dot: stamp.dot)
          return (true, ())
        }
      }
    }
  }

  /// Writes a value, which replaces what `context` saw.
  ///
  /// - Throws: as `Keyspace.put`.
  package func put(
    _ key: RawSpan, _ value: [UInt8], context: CausalContext?, marking: @escaping Marking
  ) throws(DatabaseError) {
    let bound = binding(key)
    try marked(key, context, marking) { stripe, partition, part, old, now throws(DatabaseError) in
      _ = try unsafe put(
        stripe, partition, part, old, value.span.bytes, context, bound, isConditional: false, nil, at: now)
    }
  }

  /// Deletes what `context` saw; without one what the coordinator holds.
  ///
  /// - Throws: as `Keyspace.delete`.
  package func delete(
    _ key: RawSpan, context: CausalContext?, marking: @escaping Marking
  ) throws(DatabaseError) {
    try marked(key, context, marking) { stripe, partition, part, old, now throws(DatabaseError) in
      try change(stripe, partition, part, old, at: now) { record, stamp throws(DatabaseError) in
        let replacing = context?.vector ?? record.context
        try causally { () throws(CausalityError) in
          try record.delete(replacing: replacing, and: context?.dot, dot: stamp.dot)
        }
        return (true, ())
      }
    }
  }

  private func marked(
    _ key: RawSpan, _ context: CausalContext?, _ marking: @escaping Marking,
    _ body: (KeyStripe, Int, KeyspacePart, StoredRecord?, UInt64) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    let place = try locate(key)
    if let context { try checkBound(context, binding(key)) }
    try withStripe(place, key, context) { stripe, part throws(DatabaseError) in
      stripe.marking = { batch in marking(part.member.id, &batch) }
      defer { stripe.marking = nil }
      StoredKey.make(place.partition, key, into: &stripe.key)
      let old = try part.load(stripe.key)
      try body(stripe, place.partition, part, old, shared.clock.physicalMilliseconds)
    }
  }

  /// The present members that hold a key.
  package func owners(of key: [UInt8]) -> [Member] { key.withKeyBytes { owners(for: $0) } }
}

extension DatabaseCore {
  /// A keyspace by its id in the schema, opened where nobody has.
  ///
  /// - Throws: `.unknownKeyspace`, `.closed`; what opening it throws.
  package func keyspace(id: UInt64) throws(DatabaseError) -> KeyspaceCore {
    let name = topology.withLock { schema.keyspaces.first { $0.id == id }?.name }
    guard let name else {
      throw DatabaseError(.unknownKeyspace, "there is no keyspace with the id \(id)")
    }
    return try keyspace(name, nil)
  }

  /// Whether transactions may have left something to finish.
  package var mayHaveTransactions: Bool { topology.withLock { hasHadTransactions } }

  /// With `topology` held. Transactions that only change eventual keys need no transactional keyspace: they
  /// are known by the tree that their stores have from the first one on.
  var hasHadTransactions: Bool {
    schema.hasTransactional
      || presentMembers.contains { $0.store.existingTree(Member.transactionTree) != nil }
  }

  /// Whether all stores of the ring are open.
  package var isWhole: Bool { topology.withLock { hasAllStores } }

  /// The transactional keyspaces that this process has opened.
  package var openVersionedKeyspaces: [VersionedKeyspace] {
    topology.withLock { keyspaces.values.compactMap(\.versions) }
  }
}
