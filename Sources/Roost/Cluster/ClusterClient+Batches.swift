import RoostCluster
public import RoostStorage

// Many keys at a time, by a program that is no node: several calls are under way at once, and never more than
// the connection and the node have room for.

extension ClusterClient {
  /// How many keys are read or written at a time.
  private static var keysAtOnce: Int { 16 }
  /// How many bytes of keys and values are on their way at a time, where it is more than one key: well below
  /// what waits for a connection (``NetworkOptions/queuedBytes``).
  private static var bytesAtOnce: Int { 8 << 20 }
  /// What one transaction writes where it is more than one key: below what nodes allow where nothing else is
  /// said (``TransactionOptions/largestBytes``). How many keys, ``BatchSize`` says.
  private static var bytesOfTransaction: Int { 4 << 20 }

  /// Reads several keys, in their order: each as ``get(_:in:quorum:session:)`` does, sixteen at a time.
  ///
  /// They are of no one moment; of a transactional keyspace ``ClientSnapshot/multiGet(_:in:)`` reads such.
  ///
  /// - Throws: as ``get(_:in:quorum:session:)``, of the first key that failed; `CancellationError` where keys
  ///   were left to ask for when the task was cancelled.
  /// - Complexity: a message a key, two in a transactional keyspace.
  public func multiGet(
    _ keys: [some ByteKey & Sendable], in keyspace: String, quorum: Int? = nil
  ) async throws -> [Read] {
    let keys = keys.map { key in key.withKeyBytes { [UInt8](copying: $0) } }
    var reads = [Read?](repeating: nil, count: keys.count)
    try await withThrowingTaskGroup(of: (Int, Read).self) { group in
      for (index, key) in keys.enumerated() {
        if index >= Self.keysAtOnce, let (done, read) = try await group.next() { reads[done] = read }
        try Task.checkCancellation()
        group.addTask { (index, try await self.get(key, in: keyspace, quorum: quorum)) }
      }
      while let (done, read) = try await group.next() { reads[done] = read }
    }
    // Each has been answered, or the group has thrown.
    return reads.map { $0! }
  }

  /// Writes several values, each in place of all that its key holds. Where a key comes more than once, its
  /// last value counts.
  ///
  /// In an eventual keyspace each key is read, and written with the context of that read, sixteen keys and
  /// 8 MiB at a time: what somebody else writes in between stays beside the new value. In a transactional
  /// keyspace they are written by transactions of up to 1,000 keys and 4 MiB, one after the other: of 50 at
  /// first, of more while each takes less than a second, of fewer where one took longer than the node allows,
  /// or was too large for it.
  ///
  /// - Parameters:
  ///   - quorum: how many replicas must answer, and have it; as the keyspace says when `nil`.
  ///   - durability: what the writes must survive at each of these replicas.
  /// - Throws: as ``put(_:_:in:context:quorum:_:session:)``, of the first key that failed;
  ///   `CancellationError` where keys were left to write when the task was cancelled. Some of the values may
  ///   be written by then. Nothing is under way here any more; what was sent a node may still do. To write
  ///   all of them again is right in a transactional keyspace. In an eventual one it may leave a value beside
  ///   itself: a write that failed with `.indeterminate` can appear later than the read that was to see it.
  /// - Complexity: two messages a key, one in a transactional keyspace.
  public func multiPut(
    _ entries: [(key: [UInt8], value: [UInt8])], in keyspace: String, quorum: Int? = nil,
    _ durability: Durability = .applied
  ) async throws {
    let entries = Self.lastOfEachKey(entries)
    guard let first = entries.first else { return }
    // Alone: it tells of which kind the keyspace is.
    guard try await replace(first, in: keyspace, quorum, durability) else {
      return try await putInTransactions(entries, in: keyspace, durability)
    }
    try await withThrowingTaskGroup(of: Int.self) { group in
      var (keys, bytes) = (0, 0)
      for entry in entries.dropFirst() {
        let size = entry.key.count + entry.value.count
        while keys > 0, keys == Self.keysAtOnce || bytes + size > Self.bytesAtOnce {
          guard let done = try await group.next() else { break }
          keys -= 1
          bytes -= done
        }
        try Task.checkCancellation()
        keys += 1
        bytes += size
        group.addTask {
          _ = try await self.replace(entry, in: keyspace, quorum, durability)
          return size
        }
      }
      // Where one has failed the others are to hear of it while they run.
      while try await group.next() != nil {}
    }
  }

  /// Two writes of one key must not be under way at once: nobody could say which one stays.
  private static func lastOfEachKey(
    _ entries: [(key: [UInt8], value: [UInt8])]
  ) -> [(key: [UInt8], value: [UInt8])] {
    var places: [[UInt8]: Int] = [:]
    var kept: [(key: [UInt8], value: [UInt8])] = []
    for entry in entries {
      if let place = places[entry.key] {
        kept[place].value = entry.value
      } else {
        places[entry.key] = kept.count
        kept.append(entry)
      }
    }
    return kept
  }

  /// - Returns: `false` where the keyspace is transactional; nothing was done then.
  private func replace(
    _ entry: (key: [UInt8], value: [UInt8]), in keyspace: String, _ quorum: Int?, _ durability: Durability
  ) async throws -> Bool {
    try Task.checkCancellation()
    let read = try await perform(.get, entry.key, in: keyspace, quorum: quorum, session: nil)
    guard let read else { return false }
    // Another key may have failed meanwhile: nothing more is written then.
    try Task.checkCancellation()
    _ = try await perform(
      .put(entry.value, timeToLiveMilliseconds: nil), entry.key, in: keyspace, read.context, quorum: quorum,
      durability, session: nil)
    return true
  }

  private func putInTransactions(
    _ entries: [(key: [UInt8], value: [UInt8])], in keyspace: String, _ durability: Durability
  ) async throws {
    try await transactionSize.forEachPart(
      of: entries, mostBytes: Self.bytesOfTransaction, now: { client.monotonicMilliseconds }
    ) { part in
      do {
        let end = try await tries(durability) { txn in
          for entry in part {
            try Task.checkCancellation()
            try await txn.put(entry.key, entry.value, in: keyspace)
          }
        }
        switch end {
        case .success:
          remember(transactional: keyspace)
          return nil
        case .failure(let end) where end.mayBeTooLong: return end.error
        case .failure(let end): throw end.error
        }
      } catch let error as DatabaseError where error.code == .transactionTooLarge {
        return error
      }
    }
  }
}
