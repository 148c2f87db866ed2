import RoostEnvironment

/// What one user of a database has written and read, so that the next read shows it, wherever it is asked.
///
/// ```swift
/// let session = try database.session()
/// let users = try await database.keyspace("users").within(session)
/// try await users.put("u:1", "Ada")
/// let name = try await users.get("u:1").text     // what was written, or an error; never what was before
/// ```
///
/// Each operation on a key of an eventual keyspace is done on a state of that key which covers all that the
/// session's operations on it saw and wrote that had returned when it began. So, key by key:
///
/// - *read your writes, monotonic reads*: a read shows what the session wrote and what it read before, or
///   what replaced that;
/// - *monotonic writes, writes follow reads*: a write is made where that is known, and is later than it.
///
/// Where the replicas that answer hold less, all others are asked too, again and again up to the deadline;
/// then the operation fails with `.behindSession`, which says what is missing, and a write has done nothing.
/// That stays so where a write is lost for good, that is where all replicas that had it lost it before it was
/// durable: then a new session has to be begun. In a cluster that reaps tombstones such a write may be one
/// that was reaped: once the session has seen nothing new of the key for longer than the horizon, what
/// all replicas have is enough.
///
/// Nothing is promised across keys, nor of scans, queries, changes and exports, which show what is there.
/// Operations that fail are not remembered. Transactional keyspaces show what was committed last anyway, and
/// take no notice of sessions.
///
/// It remembers so many keys as its capacity says. Where it has used more, those that were used least
/// recently are forgotten, and from then on (``hasForgotten``) an operation on a key that it does not
/// remember waits for *all* replicas of the key, and fails with `.unreachable` where one is not there:
/// slower, and promised all the same, save that a write which all of them lost in a crash is not found
/// missing.
///
/// Thread-safe. Made by `Database.session` and `ClusterClient.session`; its ``token`` goes on elsewhere.
public final class DatabaseSession: @unchecked Sendable {
  /// How many keys a session remembers unless told otherwise: some 40 bytes each.
  public static let defaultCapacity = 1_024

  private let lock = Lock()
  // Guarded by `lock`.
  private var memory: SessionMemory

  package init(_ memory: SessionMemory) { self.memory = memory }

  /// The session as bytes, to be kept or sent, and resumed in any process: 29 bytes and some 40 a key, more
  /// where several stores wrote it.
  ///
  /// - Complexity: O(n log n) of the keys that it remembers.
  public var token: [UInt8] { lock.withLock { memory }.token }

  /// Whether it has used more keys than it remembers.
  public var hasForgotten: Bool { lock.withLock { memory.hasForgotten } }

  /// What an operation on a key begins with.
  package func use(_ keyspace: String, _ key: [UInt8]) -> SessionMemory.Use {
    let hash = SessionMemory.hash(keyspace, key)
    return lock.withLock { memory.use(hash) }
  }

  /// Remembers what an operation saw that was done.
  ///
  /// - Throws: `.foreignToken`.
  package func note(_ use: SessionMemory.Use, _ mark: SessionMark) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in try memory.note(use, mark) }
  }

  /// The same for what a node answered.
  ///
  /// - Throws: `.foreignToken`; `.corruption` where it says nothing of what there is to remember.
  package func note(_ use: SessionMemory.Use, _ answer: KeyAnswer) throws(DatabaseError) {
    guard let mark = answer.session else {
      throw DatabaseError(.corruption, "the node's answer to a session does not say what was seen")
    }
    try note(use, mark)
  }
}
