import RoostCausality
public import RoostCluster
import RoostEnvironment

extension Keyspace {
  /// The keyspace's changes: which keys were written, deleted or joined, and what they hold now.
  ///
  /// ```swift
  /// for try await change in posts.changes(since: token) {
  ///   switch change.event {
  ///   case .changed(let key, let read): try index(key, read.values)
  ///   case .resync(let partition): try forget(partition)
  ///   }
  ///   token = change.token
  /// }
  /// ```
  ///
  /// Each change is told at least once, with the latest state of its key: of several changes of a key
  /// between two looks, one is told. Those of one partition come in the order in which they were made,
  /// as long as the partition stays with its store; when it has moved, or another replica serves it,
  /// ``Change/Event/resync(partition:)`` is told and then every key of the partition. That a value
  /// expired is no change.
  ///
  /// At a node of a cluster it covers the partitions of all nodes: each is followed at one replica, which
  /// tells what it holds itself, and so of a write that missed it once it is brought that. When that replica
  /// is out of reach another takes over, after a ``Change/Event/resync(partition:)``. So it is with a
  /// partition of which deletes were forgotten since the token was given
  /// (`ClusterOptions.tombstoneHorizon`). Tokens go on at any node. Whoever follows hears of other nodes'
  /// changes within a quarter of a second.
  ///
  /// - Parameters:
  ///   - token: the ``Change/token`` after which to go on; from the beginning where `nil`.
  ///   - following: whether to wait for what comes. Then the sequence ends with the task's
  ///     cancellation or when the database is closed; else when all that was written before it is told.
  /// - Returns: a sequence that throws `.foreignContext` for a token of another keyspace or database,
  ///   `.unreachable` where no open store, or no node within reach, holds some partition, `.corruption`,
  ///   `.storage`, and `.closed` where the database was closed and it does not follow.
  public func changes(since token: ChangeToken? = nil, following: Bool = true) -> Changes {
    Changes(keyspace: self, token: token, isFollowing: following)
  }
}

/// A change of a keyspace: see ``Keyspace/changes(since:following:)``.
public struct Change: Sendable {
  public enum Event: Sendable {
    /// The key was written or deleted; what it holds now.
    case changed(key: [UInt8], Read)
    /// The changes of a partition begin from their beginning: what is not told again is not there.
    case resync(partition: Int)
  }

  public let event: Event
  /// Resumes after this change.
  public let token: ChangeToken

  /// The key that changed; `nil` where a partition begins again.
  public var key: [UInt8]? {
    if case .changed(let key, _) = event { key } else { nil }
  }

  /// The key as text; bytes that are not UTF-8 show as U+FFFD.
  public var keyText: String? { key.map { String(decoding: $0, as: UTF8.self) } }

  /// What the key holds now; `nil` where a partition begins again.
  public var read: Read? {
    if case .changed(_, let read) = event { read } else { nil }
  }

  /// Whether the key was deleted, or what it held has expired.
  public var isDeleted: Bool { read?.isEmpty ?? false }
}

/// The changes of a keyspace, as ``Keyspace/changes(since:following:)`` gives them. Each iteration
/// begins after the token anew.
public struct Changes: AsyncSequence, Sendable {
  public typealias Element = Change
  public typealias Failure = any Error

  let keyspace: Keyspace
  let token: ChangeToken?
  let isFollowing: Bool

  public func makeAsyncIterator() -> Iterator { Iterator(self) }

  /// Reads the changes page by page. For one task.
  public struct Iterator: AsyncIteratorProtocol {
    private let keyspace: Keyspace
    private let follower: Follower?
    private var token: ChangeToken?
    private var ready: ArraySlice<FeedChange> = []
    private var isLastPage = false
    private var isFirstPage = true
    /// At a node of a cluster, where it does not follow: where the reading ends.
    private var bounds: FeedBounds?

    init(_ changes: Changes) {
      keyspace = changes.keyspace
      token = changes.token
      follower = changes.isFollowing ? Follower(changes.keyspace.core.signal) : nil
      bounds = changes.isFollowing ? nil : FeedBounds()
    }

    /// - Throws: as ``Keyspace/changes(since:following:)`` says.
    public mutating func next() async throws -> Change? {
      while true {
        if let change = ready.popFirst() { return shown(change) }
        if isLastPage || Task.isCancelled { return nil }
        let generation = follower?.signal.generation
        guard let page = try await readPage() else { return nil }
        token = page.token
        ready = page.changes[...]
        guard ready.isEmpty, page.isAtEnd else {
          isLastPage = page.isAtEnd && follower == nil
          continue
        }
        guard let follower, let generation else { return nil }
        await follower.wait(after: generation, at: keyspace.database.node)
      }
    }

    /// - Returns: `nil` where it follows and the database was closed.
    private mutating func readPage() async throws -> ChangePage? {
      let core = keyspace.core
      let token = token
      let follows = follower != nil
      // What was written before is told before the end, and nothing keeps the end away.
      let begins = isFirstPage
      isFirstPage = false
      do throws(DatabaseError) {
        if let node = keyspace.database.node {
          let found = try await keyspace.changesReplicated(since: token, bounds, at: node)
          bounds = found.bounds
          return found.page
        }
        return try await keyspace.database.blocking { () throws(DatabaseError) in
          if follows { return try core.changes(since: token) }
          return try core.changesToEnd(since: token, begins: begins)
        }
      } catch {
        if error.code == .closed, follower != nil { return nil }
        throw error
      }
    }

    private func shown(_ change: FeedChange) -> Change {
      switch change.event {
      case .resync(let partition):
        return Change(event: .resync(partition: partition), token: change.token)
      case .changed(let key, let record):
        let read = key.withKeyBytes { keyspace.core.read($0, record) }
        return Change(event: .changed(key: key, read), token: change.token)
      }
    }
  }
}

/// Says as long as it lives that someone follows a keyspace's changes.
private final class Follower: Sendable {
  let signal: ChangeSignal

  init(_ signal: ChangeSignal) {
    self.signal = signal
    signal.beginFollowing()
  }

  deinit { signal.endFollowing() }

  /// Waits for a change after `generation`, or until the task is cancelled; at a node of a cluster no longer
  /// than its turn to look at other nodes, whose changes nobody tells of.
  func wait(after generation: UInt64, at node: ClusterNode?) async {
    let place = WaitPlace()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let id = signal.wait(after: generation) { continuation.resume() }
        if id != 0, let node { node.afterFeedPause { [signal] in signal.cancel(id) } }
        if place.isCancelled(takingNoteOf: id) { signal.cancel(id) }
      }
    } onCancel: {
      if let id = place.cancel() { signal.cancel(id) }
    }
  }
}

/// Where a waiter and its cancellation meet, whichever comes first. Thread-safe.
private final class WaitPlace: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var id: UInt64?
  private var isCancelled = false

  func isCancelled(takingNoteOf id: UInt64) -> Bool {
    lock.withLock {
      self.id = id
      return isCancelled
    }
  }

  /// - Returns: whom to wake, where someone waits already.
  func cancel() -> UInt64? {
    lock.withLock {
      isCancelled = true
      return id
    }
  }
}
