import RoostCausality
public import RoostCluster
public import RoostStorage

// Queries of secondary indexes. Entries are local to their partition and lag where a replica lags, so
// each hit is checked against the record before it is shown.

/// A page of a query's hits, in the order of their terms, then of their keys.
public struct IndexPage: Sendable {
  public let entries: [IndexEntry]
  /// What to ask for the next page with; `nil` behind the last. A page may be shorter than asked for,
  /// or empty, and not the last.
  public let token: IndexToken?
}

/// A key that was found under a term.
public struct IndexEntry: Sendable {
  public let term: [UInt8]
  public let key: [UInt8]
  /// What the key holds, as a ``Keyspace/get(_:)`` found it.
  public let read: Read

  /// The term as text; bytes that are not UTF-8 show as U+FFFD.
  public var termText: String { String(decoding: term, as: UTF8.self) }
  /// The key as text; bytes that are not UTF-8 show as U+FFFD.
  public var keyText: String { String(decoding: key, as: UTF8.self) }
}

extension Keyspace {
  /// The keys under one term of an index.
  ///
  /// No snapshot: a key that has the term from before the call to after it is shown; one that gets or
  /// loses it meanwhile may be shown or not. At a node of a cluster it is the keys of all nodes, each found
  /// where a majority of its partition's replicas is asked, and read from a majority; each node's program has
  /// to declare the index, with the same version.
  ///
  /// - Parameters:
  ///   - index: its name, as declared with ``Database/keyspace(_:_:indexes:)``.
  ///   - term: any bytes.
  ///   - limit: most entries of a page, 1 to 10,000.
  ///   - token: where an earlier page of the same query ended.
  /// - Throws: ``DatabaseError`` with `.unknownIndex` (not declared by this program), `.indexNotReady`
  ///   (it is being built: the message says how far), `.invalidArgument` (limit), `.foreignContext`
  ///   (the token is another query's, keyspace's or database's), `.unreachable` (some partition's
  ///   stores are missing), `.corruption`, `.storage`, `.closed`.
  /// - Complexity: a seek a partition and store, and a get an entry.
  public func query(
    _ index: String, equals term: some ByteKey, limit: Int = 100, after token: IndexToken? = nil
  ) async throws -> IndexPage {
    try await query(index, .equals(copy(term)), limit, token)
  }

  /// The keys under the terms of an index that begin with a prefix; else as
  /// ``query(_:equals:limit:after:)``.
  public func query(
    _ index: String, prefix: some ByteKey, limit: Int = 100, after token: IndexToken? = nil
  ) async throws -> IndexPage {
    try await query(index, .prefix(copy(prefix)), limit, token)
  }

  /// The keys under the terms of an index from `lower` up to, and not with, `upper`; else as
  /// ``query(_:equals:limit:after:)``.
  public func query(
    _ index: String, from lower: some ByteKey, to upper: some ByteKey, limit: Int = 100,
    after token: IndexToken? = nil
  ) async throws -> IndexPage {
    try await query(index, .range(from: copy(lower), to: copy(upper)), limit, token)
  }

  /// The keys under all terms of an index, or those in a range with open ends; else as
  /// ``query(_:equals:limit:after:)``.
  public func query(
    _ index: String, _ terms: TermRange = .all, limit: Int = 100, after token: IndexToken? = nil
  ) async throws -> IndexPage {
    try await query(index, terms, limit, token)
  }

  /// How far an index is built. Where building it failed, it is tried again.
  ///
  /// - Throws: `.unknownIndex`, `.closed`.
  public func indexProgress(_ index: String) async throws -> IndexProgress {
    try core.indexProgress(index)
  }

  private func copy(_ key: some ByteKey) -> [UInt8] { key.withKeyBytes { [UInt8](copying: $0) } }

  /// A page costs many reads: it is made on a thread that may block.
  private func query(
    _ index: String, _ range: TermRange, _ limit: Int, _ token: IndexToken?
  ) async throws(DatabaseError) -> IndexPage {
    let core = core
    if let node = database.node {
      let result: Result<KeyspaceCore.IndexHits, DatabaseError> = await handedOver { handOver in
        node.query(
          core, index, range, limit: limit, after: token, deadline: node.requestDeadline, handOver)
      }
      return page(try result.get())
    }
    return page(
      try await database.blocking { () throws(DatabaseError) in
        try core.query(index, range, limit: limit, after: token)
      })
  }

  private func page(_ hits: KeyspaceCore.IndexHits) -> IndexPage {
    let entries = hits.hits.map { hit in
      IndexEntry(
        term: hit.term, key: hit.key,
        read: hit.key.withKeyBytes { key in core.read(.whole(hit.record), binding: core.binding(key)) })
    }
    return IndexPage(entries: entries, token: hits.token)
  }
}
