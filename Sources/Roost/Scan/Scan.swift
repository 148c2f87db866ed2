public import RoostCluster

/// A keyspace's keys in order, over all partitions and stores, as an asynchronous sequence.
///
/// ```swift
/// for try await entry in posts.scan(.prefix("user:")) { print(entry.keyText, entry.text ?? "") }
/// ```
///
/// No snapshot: a key that is there from the beginning of the scan to its end is shown, once, also
/// while partitions move between stores; one that comes or goes meanwhile may be shown or not. Absent,
/// deleted and expired keys are not shown. In a transactional keyspace it is a snapshot, of the moment
/// at which an iterator is first asked; one that takes longer than versions are kept ends with
/// `.snapshotTooOld`.
///
/// At a node of a cluster it shows the whole cluster's keys, each as a quorum of its replicas holds it.
///
/// An iterator reads ahead, some hundred entries at a time, and holds what its cursors have open until
/// it goes or has shown 65,536 entries more: where much time passes between entries, or a scan must
/// survive the process, ask for pages (``Keyspace/scanPage(_:_:limit:after:)``).
public struct Scan: AsyncSequence, Sendable {
  public typealias Element = ScanEntry

  let keyspace: Keyspace
  let range: ScanRange
  let order: ScanOrder
  let token: ScanToken?
  var limits = KeyspaceScan.Limits()

  public func makeAsyncIterator() -> Iterator { Iterator(self) }

  /// Where the loop stands. Not thread-safe.
  public struct Iterator: AsyncIteratorProtocol {
    private let sequence: Scan
    private var scan: KeyspaceScan?
    private var versions: VersionScan?
    /// At a node of a cluster: where the next page goes on, and whether there is none.
    private var reached: ScanToken?
    private var isOver = false
    @usableFromInline var entries: ScanEntries?
    @usableFromInline var index = 0
    @usableFromInline var count = 0
    /// The first page is small: many ask for a few keys only.
    private var pageLimit = 16
    private static let largestPage = 512
    /// What the scan had done when others last had their turn: they have it behind the first page, so that a
    /// loop of short scans leaves it to them too.
    private var workBefore = -Self.longestTurn
    /// What it does until they have it again: some 5,000 small entries, which take about a millisecond.
    private static let longestTurn = 8_192

    init(_ sequence: Scan) {
      self.sequence = sequence
      reached = sequence.token
    }

    /// The next entry; `nil` behind the last.
    ///
    /// - Throws: ``DatabaseError`` with `.foreignToken`, `.invalidArgument`, `.unreachable`,
    ///   `.corruption` (names the key), `.closed`, `.storage`; `CancellationError`.
    /// - Complexity: O(log n) of the partitions; the first call, and one after 65,536 entries, a seek
    ///   in each.
    public mutating func next() async throws -> ScanEntry? { try await next(isolation: nil) }

    // Inlined into the loop: an entry of a page that is there costs no asynchronous call.
    @inlinable
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws -> ScanEntry? {
      if index >= count {
        guard try await nextPage() else { return nil }
      }
      defer { index &+= 1 }
      return ScanEntry(entries: entries!, index: index)
    }

    /// - Returns: whether there is one with entries.
    @usableFromInline
    mutating func nextPage() async throws -> Bool {
      if sequence.keyspace.isTransactional { return try await nextVersions() }
      if sequence.keyspace.isReplicated { return try await nextReplicated() }
      if scan == nil {
        scan = try KeyspaceScan(
          sequence.keyspace.core, sequence.range, sequence.order, after: sequence.token, sequence.limits)
      }
      let scan = scan!
      while !scan.isAtEnd {
        (index, count) = (0, 0)
        // In the memory of the page before, where no entry of it was kept.
        let page = try scan.page(limit: pageLimit, inPlaceOf: &entries)
        pageLimit = Swift.min(pageLimit * 2, Self.largestPage)
        entries = page
        count = page.count
        // A loop that never waits must leave others their turn, and end when it is told to.
        if scan.work &- workBefore >= Self.longestTurn {
          workBefore = scan.work
          await Task.yield()
        }
        try Task.checkCancellation()
        if count > 0 { return true }
      }
      entries = nil
      count = 0
      return false
    }

    private mutating func nextReplicated() async throws -> Bool {
      while !isOver {
        let page = try await sequence.keyspace.scanReplicated(
          sequence.range, sequence.order, limit: pageLimit, after: reached)
        pageLimit = Swift.min(pageLimit * 2, Self.largestPage)
        reached = page.token
        isOver = page.token == nil
        entries = page.entries
        count = page.count
        index = 0
        try Task.checkCancellation()
        if count > 0 { return true }
      }
      entries = nil
      count = 0
      return false
    }

    private mutating func nextVersions() async throws -> Bool {
      if versions == nil {
        versions = try await VersionScan(
          sequence.keyspace, sequence.range, sequence.order, after: sequence.token)
      }
      try Task.checkCancellation()
      let page = try await versions!.page(limit: pageLimit)
      pageLimit = Swift.min(pageLimit * 2, Self.largestPage)
      entries = page.count > 0 ? page : nil
      count = page.count
      index = 0
      return count > 0
    }
  }
}

extension Keyspace {
  /// The keys of a range, in order, over all partitions and stores.
  ///
  /// - Parameters:
  ///   - range: which keys; all when left out. One with a tag reads one partition only.
  ///   - order: of the keys' bytes.
  ///   - token: where an earlier scan or page of the same range and order ended.
  public func scan(
    _ range: ScanRange = .all, _ order: ScanOrder = .ascending, after token: ScanToken? = nil
  ) -> Scan {
    Scan(keyspace: self, range: range, order: order, token: token)
  }

  /// One page of a range, in order. Nothing is held between pages.
  ///
  /// A page does a bounded amount of work: where it had to pass over many deleted, expired or
  /// otherwise tagged keys (4,096), or entries are large (1 MiB in all), it has fewer entries than asked
  /// for, or none. Only a page without a ``ScanPage/token`` is the last.
  ///
  /// - Parameters:
  ///   - range: which keys; all when left out.
  ///   - order: of the keys' bytes.
  ///   - limit: at most so many entries, at least 1.
  ///   - token: of the page before. It is bound to database, keyspace, range and order, and good for
  ///     ever: after a restart, moves of partitions and changes of the ring.
  /// - Throws: ``DatabaseError`` with `.foreignToken` (it is another scan's), `.invalidArgument` (a limit
  ///   below 1, a tag that no key can have), `.unreachable` (no open store holds some partition),
  ///   `.corruption` (names the key), `.closed`, `.storage`. At a node of a cluster `.unreachable` says that
  ///   a partition has too few replicas within reach, and `.deadlineExceeded` and `.busy` are possible; the
  ///   token goes on at any node. In a transactional keyspace `.wrongPolicy` for
  ///   a descending order, and as ``DatabaseSnapshot/get(_:in:)``.
  /// - Complexity: a seek in each partition, then O(log n) of the partitions for each entry.
  public func scanPage(
    _ range: ScanRange = .all, _ order: ScanOrder = .ascending, limit: Int, after token: ScanToken? = nil
  ) async throws -> ScanPage {
    guard limit >= 1 else {
      throw DatabaseError(.invalidArgument, "a page's limit is \(limit), must be at least 1")
    }
    if isTransactional {
      var scan = try await VersionScan(self, range, order, after: token)
      let entries = try await scan.page(limit: limit)
      // Where nothing is left behind it, the next page says so.
      let token = scan.isAtEnd ? nil : scan.position.map { ScanToken(core, range, order, behind: $0) }
      return ScanPage(entries: entries, token: token)
    }
    if isReplicated { return try await scanReplicated(range, order, limit: limit, after: token) }
    let scan = try KeyspaceScan(core, range, order, after: token)
    let entries = try scan.page(limit: limit)
    return ScanPage(entries: entries, token: scan.token)
  }
}
