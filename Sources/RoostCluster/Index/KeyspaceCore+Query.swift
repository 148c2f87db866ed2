package import RoostCausality
import RoostStorage

// How an index is queried:
//
// 1. A cursor is opened for each partition in each present store that holds it, over the entries of
//    the terms asked for; all are merged by term, then key. Several replicas have the same entries,
//    or one has fewer: each pair of term and key counts once.
// 2. Each hit is checked against the record, as a get finds it: an entry whose value has expired, or
//    that a replica has not removed yet, is passed over.
// 3. Where the route table changed meanwhile, a store may have dropped a partition before its cursor
//    was there: then the page is made anew.

extension KeyspaceCore {
  /// A key that was found under a term.
  package struct IndexHit: Sendable {
    package var term: [UInt8]
    package var key: [UInt8]
    package var record: Record
  }

  package struct IndexHits: Sendable {
    package var hits: [IndexHit] = []
    /// Where to go on; `nil` behind the last.
    package var token: IndexToken?
  }

  /// How many entries a page may pass over: bounds its work.
  static var passedOverLimit: Int { 4_096 }
  package static let longestPage = 10_000

  /// The keys under an index's terms, in the order of the terms, then of the keys.
  ///
  /// - Parameter limit: most hits of a page, 1 to 10,000; there may be fewer before the last.
  /// - Throws: `.unknownIndex`, `.indexNotReady`, `.invalidArgument`, `.foreignContext`, `.unreachable`,
  ///   `.corruption`, `.storage`, `.closed`.
  package func query(
    _ name: String, _ range: TermRange, limit: Int, after token: IndexToken? = nil
  ) throws(DatabaseError) -> IndexHits {
    let bounds = try checkQuery(name, range, limit, token)
    while true {
      try shared.checkOpen()
      let version = shared.routes.version
      let index = try keptIndex(name)
      do throws(DatabaseError) {
        let progress = progress(of: index)
        guard progress.isReady else {
          throw DatabaseError(
            .indexNotReady, "the index `\(name)` of the keyspace `\(self.name)` is not ready: \(progress)")
        }
        let hits = try page(index, range, bounds, limit, token)
        if shared.routes.isUnchanged(since: version) { return hits }
      } catch {
        // A store that left, or an index that was begun anew, is no failure of the query.
        let isSame = shared.routes.isUnchanged(since: version) && (try? keptIndex(name)) === index
        if isSame { throw error }
      }
    }
  }

  /// - Returns: what the query's tokens are bound to.
  /// - Throws: `.invalidArgument`, `.foreignContext`, `.wrongPolicy`.
  func checkQuery(
    _ name: String, _ range: TermRange, _ limit: Int, _ token: IndexToken?
  ) throws(DatabaseError) -> UInt64 {
    try checkEventual()
    guard limit >= 1, limit <= Self.longestPage else {
      throw DatabaseError(.invalidArgument, "a page of \(limit): it must be 1 to \(Self.longestPage)")
    }
    let bounds = IndexToken.bounds(name, range)
    if let token {
      guard token.keyspace == bindingSeed, token.bounds == bounds else {
        throw DatabaseError(
          .foreignContext, "the index token is another query's, keyspace's or database's")
      }
    }
    return bounds
  }

  /// Term and key of an index's entry.
  ///
  /// - Throws: `.corruption`.
  func entry(_ suffix: [UInt8], of index: KeptIndex) throws(DatabaseError) -> (term: [UInt8], key: [UInt8]) {
    if let entry = IndexKey.split(suffix) { return entry }
    throw DatabaseError(
      .corruption,
      "the index `\(index.declaration.name)` of the keyspace `\(name)` has an entry that is none")
  }

  private func page(
    _ index: KeptIndex, _ range: TermRange, _ bounds: UInt64, _ limit: Int, _ token: IndexToken?
  ) throws(DatabaseError) -> IndexHits {
    let merge = try open(index, range, after: token?.suffix)
    var found = IndexHits()
    var last: [UInt8]?
    var looked = 0
    while let suffix = merge.suffix {
      guard found.hits.count < limit, looked < limit + Self.passedOverLimit else {
        found.token = IndexToken(keyspace: bindingSeed, bounds: bounds, suffix: last!)
        return found
      }
      try storing { () throws(StoreError) in try merge.next() }
      if suffix == last { continue }
      last = suffix
      looked += 1
      let (term, key) = try entry(suffix, of: index)
      let record = try key.withKeyBytes { key throws(DatabaseError) in try self.record(key) }
      guard let record, index.declaration.terms(of: indexed(record), key: key).contains(term) else {
        continue
      }
      found.hits.append(IndexHit(term: term, key: key, record: record))
    }
    return found
  }

  private func open(
    _ index: KeptIndex, _ range: TermRange, after suffix: [UInt8]?
  ) throws(DatabaseError) -> IndexMerge {
    let bounds = range.bounds
    let first = suffix.map { $0 + [0] } ?? bounds.lower
    let merge = IndexMerge()
    if let upper = bounds.upper, !first.lexicographicallyPrecedes(upper) { return merge }
    for partition in 0..<shared.routes.partitionCount {
      let lower = StoredKey.make(partition, first)
      let upper = bounds.upper.map { StoredKey.make(partition, $0) } ?? StoredKey.make(partition + 1)
      for part in try allParts(partition).owners {
        guard let here = index.stores[part.member.slot] else { continue }
        try storing { () throws(StoreError) in try merge.add(here.tree, from: lower, to: upper) }
      }
    }
    return merge
  }
}
