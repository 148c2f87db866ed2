import RoostCausality
import RoostEnvironment

// How a node reads the changes of a whole keyspace:
//
// 1. Each partition has one source: the member that the token names, as long as it is there; else this node,
//    where it is a replica; else another replica. Each source is asked once for all its partitions
//    (`PartitionGather`), and tells of them as it would at home (`KeyspaceCore+Changes.swift`).
// 2. A source that fails is followed by the next replica. What a position says means nothing there: so the
//    partition is told from its beginning, after a word that it is so, and its place in the token is the new
//    source's. Nobody goes back because the first one is there again.
// 3. What the sources have told is one page: partitions have nothing to do with each other, so their changes
//    stand one source's behind the other's, each with a token of all partitions.
//
// A source tells what it holds itself. A write that has not reached it yet is told when it has: by a hint, a
// read or a comparison that mends it.

/// A reading of changes that is to end: by member, the change number at which it does. A plain value.
package struct FeedBounds: Sendable, Equatable {
  fileprivate var numbers: [MemberID: UInt64] = [:]

  package init() {}
}

extension ClusterNode {
  /// The next changes of a keyspace, over all partitions.
  ///
  /// - Parameters:
  ///   - token: after which to go on; from the beginning where `nil`.
  ///   - limit: most changes, at least 1. A page may have none and not be at the end.
  ///   - bounds: of an earlier page of the same reading, where what is written meanwhile is left out, so that
  ///     it ends; new ones for its first page. `nil` where it goes on for ever.
  ///   - reply: called once, by the deadline, from any thread: with a page and the bounds for the next one;
  ///     with `.foreignContext`, `.unreachable` (names a partition that no replica within reach has),
  ///     `.deadlineExceeded`, `.busy`, `.corruption`, `.storage`, `.closed`.
  package func changes(
    of keyspace: KeyspaceCore, since token: ChangeToken?, limit: Int, _ bounds: FeedBounds?, deadline: UInt64,
    _ reply: @escaping Answer<(page: ChangePage, bounds: FeedBounds?)>
  ) {
    serveClient(deadline, reply) { [self] reply throws(DatabaseError) in
      try beginChanges(of: keyspace, since: token, limit: limit, bounds, deadline, reply)
    }
  }

  /// A client's page.
  func changes(_ request: ChangesRequest, deadline: UInt64, _ reply: @escaping Answer<ChangesAnswer>) {
    serveClient(deadline, reply) { [self] reply throws(DatabaseError) in
      let keyspace = try keyspace(request.keyspace)
      let most = transport.largestBody - Self.changesHeadroom
      try beginChanges(of: keyspace, since: request.token, limit: request.limit, nil, deadline) { result in
        reply(
          result.map { found in
            var page = found.page
            var answer = ChangesAnswer(policy: keyspace.kind, page)
            // Of several sources' large records one message takes some only.
            while page.changes.count > 1, answer.encoded().count > most {
              page.cut(to: page.changes.count / 2)
              answer = ChangesAnswer(policy: keyspace.kind, page)
            }
            return answer
          })
      }
    }
  }

  /// How long whoever follows changes waits before it asks other nodes again, in nanoseconds.
  private static let feedPause: UInt64 = 250_000_000

  /// Calls `body` when it is time to ask other nodes for changes again; never once the node is closed.
  package func afterFeedPause(_ body: @escaping @Sendable () -> Void) {
    timers.schedule(atMonotonicNanoseconds: now &+ Self.feedPause, body)
  }

  /// Of a message's body, for what stands around it.
  private static let changesHeadroom = 1 << 10

  private func beginChanges(
    of keyspace: KeyspaceCore, since token: ChangeToken?, limit: Int, _ bounds: FeedBounds?,
    _ deadline: UInt64, _ reply: @escaping Answer<(page: ChangePage, bounds: FeedBounds?)>
  ) throws(DatabaseError) {
    guard limit >= 1 else {
      throw DatabaseError(.invalidArgument, "a page's limit is \(limit), must be at least 1")
    }
    let start = try keyspace.start(token)
    let seed = keyspace.bindingSeed
    let byteLimit = min(FeedRequest.mostBytes, transport.largestBody / 4)
    let request: @Sendable (RingView, Int, MemberID, [Int]) -> FeedRequest = {
      view, share, member, partitions in
      FeedRequest(
        MessageHead(keyspace, view.print(of: partitions)), seed: seed, start, partitions,
        isBounded: bounds != nil, until: bounds?.numbers[member],
        changeLimit: min(share, FeedRequest.mostChanges), byteLimit: byteLimit)
    }
    gather(
      0..<core.ring.partitionCount, of: keyspace, quorum: 1, deadline,
      preferring: { start.places[$0].tenure?.member }
    ) { [self] view, sourceCount in
      // Each source has its share of the page; what is beyond the limit all the same would be read in vain.
      let share = (limit - 1) / max(1, sourceCount) + 1
      return PartitionGather<FeedPart>.Question(
        kind: NodeMessageKind.feed,
        body: { member, partitions in request(view, share, member, partitions).encoded() },
        decode: { bytes, partitions throws(DatabaseError) in
          try FeedPart(decoding: bytes, of: partitions, count: start.places.count)
        },
        own: { [self] partitions throws(DatabaseError) in
          let request = request(view, share, local.id, partitions)
          let part = try keyspace.changes(request)
          try checkUnchanged(request.head, partitions)
          return part
        })
    } _: { result in
      reply(
        result.map { found in
          var bounds = bounds
          // Whose turn it is comes first, not who answered first: a source that always has much to tell must
          // not keep the others out of a page that is cut.
          func turn(_ one: PartitionGather<FeedPart>.Found) -> Int {
            let first = one.part.found.first.map { one.part.steps[$0.step].partition } ?? one.partitions[0]
            return (first - start.next + start.places.count) % start.places.count
          }
          let sorted = found.sorted { turn($0) < turn($1) }
          for one in sorted where bounds?.numbers[one.member] == nil {
            bounds?.numbers[one.member] = one.part.settled
          }
          var page = ChangePage(keyspace: seed, after: token, start, sorted.map(\.part))
          page.cut(to: limit)
          return (page, bounds)
        })
    }
  }
}

extension ClusterNode {
  /// Answers another node, which reads changes.
  ///
  /// - Throws: `.invalidArgument`, `.newerFormat`, `.foreignStore`, `.staleRing`, `.unreachable` (no
  ///   replica of a partition), `.unknownKeyspace`, `.foreignContext`, and what reading throws.
  func feed(_ body: [UInt8]) throws(DatabaseError) -> [UInt8] {
    var request = try FeedRequest(decoding: body)
    let keyspace = try check(request.head, request.partitions)
    while true {
      let bytes = try keyspace.changes(request).encoded(local.id)
      try checkUnchanged(request.head, request.partitions)
      // A record that is as large as a message may be goes alone.
      if bytes.count <= transport.largestBody - Self.changesHeadroom || request.changeLimit == 1 {
        return bytes
      }
      request.changeLimit = max(1, min(request.changeLimit, FeedRequest.mostChanges) / 8)
    }
  }
}

extension KeyspaceCore {
  /// The next changes of the partitions that a node asks for.
  ///
  /// - Throws: `.foreignContext`, and as ``changes(since:limit:until:)``.
  fileprivate func changes(_ request: FeedRequest) throws(DatabaseError) -> FeedPart {
    try shared.checkOpen()
    try checkEventual()
    guard request.seed == bindingSeed, request.position.places.count == shared.routes.partitionCount else {
      throw DatabaseError(.foreignContext, "the position is another keyspace's or another database's")
    }
    // A write that has returned is told, whoever else is still writing.
    if request.isBounded, request.until == nil { shared.locks.settle() }
    let limit = ChangePageLimit(
      changes: min(request.changeLimit, FeedRequest.mostChanges),
      bytes: min(request.byteLimit, FeedRequest.mostBytes))
    return try changes(
      since: request.position, of: request.partitions, limit: limit, until: request.until)
  }
}
