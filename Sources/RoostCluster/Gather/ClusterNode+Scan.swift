import RoostCausality
import RoostStorage

// How a node reads a page of a whole keyspace, in the order of its keys:
//
// 1. For each partition a quorum of its replicas is chosen (`PartitionGather`). Each member that was chosen
//    merges its partitions into one stream and sends the stream's next records, as many as a page may have.
// 2. A key is decided once each stream of its partition has reached it. Which partition that is does not
//    matter: up to the least of the streams' ends (the frontier) all keys are decided.
// 3. What the streams have of a decided key is joined. That is what a quorum read of the key would show:
//    tombstones, expired values and what the policy hides are passed over. Nothing is repaired.
// 4. The page ends at the frontier, or where it is full; its token names the last key that was looked at, and
//    nothing else. So any node goes on from it, at any time, asking whom it will.
//
// Nothing is held between two pages, here or at the replicas.

extension ClusterNode {
  /// Reads one page of a keyspace's keys, over all partitions.
  ///
  /// - Parameters:
  ///   - deadline: when the client stops waiting, by the monotonic clock, in nanoseconds.
  ///   - reply: called once, from any thread: with fewer entries than asked for, or none, where records are
  ///     large, much was passed over, or there are no more. Failures: `.invalidArgument` (a limit below 1, a
  ///     tag that no key can have, a quorum), `.foreignToken`, `.unknownKeyspace`, `.unreachable` (names a
  ///     partition of which too few replicas are within reach), `.deadlineExceeded`, `.busy`, `.corruption`,
  ///     `.storage`, `.closed`.
  /// - Complexity: one message to each member at the most while all are there; each sends 256 KiB, or 4,096
  ///   records, or one.
  package func scan(_ request: ScanRequest, deadline: UInt64, _ reply: @escaping Answer<ScanAnswer>) {
    serveClient(deadline, reply) { [self] reply throws(DatabaseError) in
      guard request.limit >= 1 else {
        throw DatabaseError(.invalidArgument, "a page's limit is \(request.limit), must be at least 1")
      }
      let keyspace = try keyspace(request.keyspace)
      let reading = try ScanReading(keyspace, request, largestBody: transport.largestBody)
      let all = reading.plan.partition.map { $0..<($0 + 1) } ?? 0..<core.ring.partitionCount
      let quorum = request.quorum ?? keyspace.quorums.read
      gather(reading.plan.isEmpty ? 0..<0 : all, of: keyspace, quorum: quorum, deadline) { [self] view in
        pages(of: keyspace) { partitions in reading.request(partitions, view.print(of: partitions)) }
      } _: { [self] result in
        switch result {
        case .failure(let error): reply(.failure(error))
        case .success(let found):
          // Joining a page is too much for a thread of the transport.
          run(until: deadline, refused: { reply(.failure($0)) }) {
            reply(answered { () throws(DatabaseError) in try reading.answer(found.map(\.part)) })
          }
        }
      }
    }
  }

  /// The question for pages of records, or of an index's entries.
  ///
  /// - Parameter request: makes the request for some partitions.
  func pages(
    of keyspace: KeyspaceCore, _ request: @escaping @Sendable ([Int]) -> PageRequest
  ) -> PartitionGather<RecordPage>.Question {
    PartitionGather<RecordPage>.Question(
      kind: NodeMessageKind.page, body: { _, partitions in request(partitions).encoded() },
      decode: { bytes, _ throws(DatabaseError) in try RecordPage(decoding: bytes) },
      own: { [self] partitions throws(DatabaseError) in
        let request = request(partitions)
        let page = try keyspace.page(request, on: local)
        try checkUnchanged(request.head, partitions)
        return page
      })
  }

  /// Counts a client's call in, and runs it on a thread that may wait.
  func serveClient<Value: Sendable>(
    _ deadline: UInt64, _ reply: @escaping Answer<Value>,
    _ body: @escaping @Sendable (@escaping Answer<Value>) throws(DatabaseError) -> Void
  ) {
    do throws(DatabaseError) { try enter() } catch { return reply(.failure(error)) }
    let counted: Answer<Value> = { [counters] result in
      counters.leave()
      reply(result)
    }
    run(until: deadline, refused: { counted(.failure($0)) }) { [self] in
      do throws(DatabaseError) {
        try checkServing()
        guard now < deadline else {
          throw DatabaseError(.deadlineExceeded, "the request came with no time left")
        }
        try body(counted)
      } catch { counted(.failure(error)) }
    }
  }

  /// Answers another node, which reads a page.
  ///
  /// - Throws: `.invalidArgument`, `.newerFormat`, `.foreignStore`, `.staleRing`, `.unreachable` (no
  ///   replica of a partition), `.unknownKeyspace`, and what reading throws.
  func page(_ body: [UInt8], _ isCancelled: () -> Bool) throws(DatabaseError) -> [UInt8] {
    let request = try PageRequest(decoding: body)
    let keyspace = try check(request.head, request.partitions)
    let page = try keyspace.page(request, on: local, isCancelled: isCancelled)
    try checkUnchanged(request.head, request.partitions)
    return page.encoded()
  }
}

/// A page that is being read: what is asked for, and how answers become entries. A plain value.
struct ScanReading: Sendable {
  private let keyspace: KeyspaceCore
  private let request: ScanRequest
  let plan: ScanPlan
  private let limit: Int
  /// Records and keys of a page, unless one alone has more.
  private let mostBytes: Int
  /// The same, of one replica's.
  private let mostBytesOfOne: Int

  /// - Parameter largestBody: of a message, in bytes.
  /// - Throws: `.foreignToken`, `.invalidArgument`.
  init(_ keyspace: KeyspaceCore, _ request: ScanRequest, largestBody: Int) throws(DatabaseError) {
    self.keyspace = keyspace
    self.request = request
    mostBytes = min(1 << 20, largestBody / 4)
    mostBytesOfOne = min(PageRequest.mostBytes, largestBody / 4)
    limit = min(request.limit, ScanRequest.largestLimit)
    let position = try request.token?.position(in: keyspace, request.range, request.order)
    plan = try ScanPlan(
      request.range, request.order, after: position,
      partitionCount: keyspace.shared.routes.partitionCount)
  }

  /// - Parameter ring: the print of those partitions.
  func request(_ partitions: [Int], _ ring: RingPrint) -> PageRequest {
    PageRequest(
      MessageHead(keyspace, ring), plan, request.order,
      // Some more than are shown: deleted keys are among them.
      entryLimit: max(limit, 64), byteLimit: mostBytesOfOne, partitions: partitions)
  }

  /// Joins what the replicas have sent.
  ///
  /// - Throws: `.corruption`, `.newerFormat`, naming the key.
  /// - Complexity: O(streams) comparisons of keys for each record.
  func answer(_ streams: [RecordPage]) throws(DatabaseError) -> ScanAnswer {
    var page = ScanAnswer(policy: keyspace.kind)
    let now = keyspace.shared.clock.physicalMilliseconds
    let frontier = streams.compactMap(\.through).min(by: precedes)
    var places = streams.map { _ in 0 }
    var byteCount = 0
    var last: [UInt8]?
    while let key = next(streams, places), frontier.map({ !precedes($0, key) }) ?? true {
      if page.entries.count == limit { return full(page, behind: last) }
      var encoded: [[UInt8]] = []
      for index in streams.indices where places[index] < streams[index].entries.count {
        let entry = streams[index].entries[places[index]]
        guard entry.key == key else { continue }
        places[index] += 1
        if !encoded.contains(entry.record) { encoded.append(entry.record) }
      }
      if let record = try shown(key, encoded, now) {
        let size = key.count + (encoded.map(\.count).max() ?? 0)
        if !page.entries.isEmpty, byteCount + size > mostBytes { return full(page, behind: last) }
        byteCount += size
        page.entries.append(ScanAnswer.Entry(key: key, record: record))
      }
      last = key
    }
    return frontier == nil ? page : full(page, behind: frontier)
  }

  private func precedes(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    request.order == .ascending
      ? one.lexicographicallyPrecedes(other) : other.lexicographicallyPrecedes(one)
  }

  /// The first of the streams' current keys.
  private func next(_ streams: [RecordPage], _ places: [Int]) -> [UInt8]? {
    var first: [UInt8]?
    for index in streams.indices where places[index] < streams[index].entries.count {
      let key = streams[index].entries[places[index]].key
      if first.map({ precedes(key, $0) }) ?? true { first = key }
    }
    return first
  }

  private func full(_ page: ScanAnswer, behind key: [UInt8]?) -> ScanAnswer {
    var page = page
    page.token = key.map { ScanToken(keyspace, request.range, request.order, behind: $0) } ?? request.token
    return page
  }

  /// What is to be shown of a key: all that was found, joined; `nil` for nothing.
  private func shown(_ key: [UInt8], _ encoded: [[UInt8]], _ now: UInt64) throws(DatabaseError) -> Record? {
    var joined = Record()
    for (index, bytes) in encoded.enumerated() {
      let record: Record
      do throws(DatabaseError) {
        record = try causally { () throws(CausalityError) in try unsafe Record(decoding: bytes.span.bytes) }
      } catch {
        throw DatabaseError(
          error.code, "the record of the key `\(String(decoding: key, as: UTF8.self))`: \(error.message)")
      }
      if index == 0 { joined = record } else { joined.join(record) }
    }
    _ = joined.expire(at: now)
    // A keyspace's function may decide that siblings come to nothing.
    if joined.isTombstone || (joined.states.isEmpty && keyspace.visible(joined).isEmpty) { return nil }
    return joined
  }
}
