import RoostCausality
import RoostEnvironment

// How a node queries an index over all partitions:
//
// 1. A quorum of each partition's replicas is asked for their next entries of the terms, as for the records
//    of a scan (`ClusterNode+Scan.swift`), and the union of what they have is taken, up to the least of their
//    ends. With a quorum of writers one of those asked has the entry of each write that was acknowledged.
// 2. Each key found is read from a quorum of its replicas, some at a time, and checked: an entry that a
//    replica has not removed yet is passed over.

extension ClusterNode {
  /// The keys under an index's terms, over all partitions, in the order of the terms, then of the keys.
  ///
  /// - Parameters:
  ///   - limit: most hits of a page, 1 to 10,000; at most 512 entries are looked at for one.
  ///   - reply: called once, by the deadline, from any thread: as ``KeyspaceCore/query(_:_:limit:after:)``,
  ///     and with `.unreachable` (names a partition), `.deadlineExceeded`, `.busy`.
  /// - Complexity: a message to each member, and for each entry one to each of a quorum.
  package func query(
    _ keyspace: KeyspaceCore, _ name: String, _ range: TermRange, limit: Int, after token: IndexToken?,
    deadline: UInt64, _ reply: @escaping Answer<KeyspaceCore.IndexHits>
  ) {
    serveClient(deadline, reply) { [self] reply throws(DatabaseError) in
      let bounds = try keyspace.checkQuery(name, range, limit, token)
      let index = try keyspace.keptIndex(name)
      let entryLimit = min(limit, Self.mostIndexEntries)
      let (lower, upper) = range.bounds
      let asked = PageRequest.IndexName(name: name, version: index.declaration.version)
      let byteLimit = min(PageRequest.mostBytes, transport.largestBody / 4)
      let request: @Sendable (RingView, [Int]) -> PageRequest = { view, partitions in
        PageRequest(
          MessageHead(keyspace, view.print(of: partitions)), index: asked, .ascending,
          lower: token.map { $0.suffix + [0] } ?? lower, upper: upper, tag: nil, entryLimit: entryLimit,
          byteLimit: byteLimit, partitions: partitions)
      }
      gather(0..<core.ring.partitionCount, of: keyspace, quorum: keyspace.quorums.read, deadline) {
        [self] view in
        pages(of: keyspace) { request(view, $0) }
      } _: { [self] result in
        switch result {
        case .failure(let error): reply(.failure(error))
        case .success(let found):
          run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
            do throws(DatabaseError) {
              let (entries, last) = Self.union(found.map(\.part), limit: entryLimit)
              let token = last.map { last in
                IndexToken(keyspace: keyspace.bindingSeed, bounds: bounds, suffix: last)
              }
              try check(entries, of: index, keyspace, deadline) { result in
                reply(result.map { KeyspaceCore.IndexHits(hits: $0, token: token) })
              }
            } catch { reply(.failure(error)) }
          }
        }
      }
    }
  }

  /// Entries that are looked at for one page: each is a read.
  private static let mostIndexEntries = 512

  /// The entries that any stream has, up to the least of the streams' ends.
  ///
  /// - Returns: at most `limit`, ascending, each once, and behind which to go on; `nil` where there are no
  ///   others.
  private static func union(
    _ streams: [RecordPage], limit: Int
  ) -> (entries: [[UInt8]], last: [UInt8]?) {
    let frontier = streams.compactMap(\.through).min { $0.lexicographicallyPrecedes($1) }
    let all = streams.flatMap { $0.entries.map(\.key) }.sorted { $0.lexicographicallyPrecedes($1) }
    var entries: [[UInt8]] = []
    for entry in all where entry != entries.last {
      if let frontier, frontier.lexicographicallyPrecedes(entry) { break }
      if entries.count == limit { return (entries, entries.last) }
      entries.append(entry)
    }
    return (entries, frontier)
  }

  /// Reads the entries' keys, and leaves out what is no hit.
  private func check(
    _ entries: [[UInt8]], of index: KeptIndex, _ keyspace: KeyspaceCore, _ deadline: UInt64,
    _ reply: @escaping Answer<[KeyspaceCore.IndexHit]>
  ) throws(DatabaseError) {
    var found: [(term: [UInt8], key: [UInt8])] = []
    var places: [KeyPlace] = []
    for entry in entries {
      let (term, key) = try keyspace.entry(entry, of: index)
      found.append((term, key))
      places.append(try place(keyspace, key, quorum: keyspace.quorums.read, isSynced: false))
    }
    let candidates = found
    KeyReads(self, places, deadline) { [self] result in
      switch result {
      case .failure(let error): reply(.failure(error))
      case .success(let records):
        // The program's function is no business of a thread of the transport.
        run(until: deadline, refused: { reply(.failure($0)) }) {
          var hits: [KeyspaceCore.IndexHit] = []
          for (candidate, record) in zip(candidates, records) {
            guard let record = record.map({ keyspace.unexpired($0) }) else { continue }
            let terms = index.declaration.terms(of: keyspace.indexed(record), key: candidate.key)
            guard terms.contains(candidate.term) else { continue }
            hits.append(KeyspaceCore.IndexHit(term: candidate.term, key: candidate.key, record: record))
          }
          reply(.success(hits))
        }
      }
    }.go()
  }
}

/// Reads many keys, some at a time. Thread-safe.
private final class KeyReads: @unchecked Sendable {
  private static let mostInHand = 16

  private let node: ClusterNode
  private let places: [KeyPlace]
  private let deadline: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: ClusterNode.Answer<[Record?]>?
  private var records: [Record?]
  private var next = 0
  private var inHand = 0
  /// Whether a thread begins reads: a read that is answered at once then leaves the next one to it.
  private var isGoing = false

  /// - Parameter reply: called once: with all records, in the order of the keys, or with the first failure.
  init(
    _ node: ClusterNode, _ places: [KeyPlace], _ deadline: UInt64,
    _ reply: @escaping ClusterNode.Answer<[Record?]>
  ) {
    self.node = node
    self.places = places
    self.deadline = deadline
    self.reply = reply
    records = places.map { _ in nil }
  }

  /// Begins as many reads as may be under way, or replies.
  func go() {
    enum Step {
      case read(Int)
      case reply(ClusterNode.Answer<[Record?]>, [Record?])
      case wait
    }
    let mayGo = lock.withLock {
      defer { isGoing = true }
      return !isGoing
    }
    guard mayGo else { return }
    while true {
      let step = lock.withLock { () -> Step in
        if let reply, next == places.count, inHand == 0 {
          self.reply = nil
          return .reply(reply, records)
        }
        if reply != nil, next < places.count, inHand < Self.mostInHand {
          defer { next += 1 }
          inHand += 1
          return .read(next)
        }
        isGoing = false
        return .wait
      }
      switch step {
      case .read(let index):
        node.read(places[index], deadline) { [self] result in received(index, result) }
      case .reply(let reply, let records): return reply(.success(records))
      case .wait: return
      }
    }
  }

  private func received(_ index: Int, _ result: Result<Record?, DatabaseError>) {
    let failed = lock.withLock { () -> (ClusterNode.Answer<[Record?]>, DatabaseError)? in
      inHand -= 1
      switch result {
      case .success(let record):
        records[index] = record
        return nil
      case .failure(let error):
        defer { reply = nil }
        return reply.map { ($0, error) }
      }
    }
    if let (reply, error) = failed { return reply(.failure(error)) }
    go()
  }
}
