package import RoostCluster
import RoostEnvironment
import RoostStorage

// What a coordinator has decided, in the folder `coordinator` of a store's directory: files `NNNNNN.log`, of
// which the highest one that is whole counts, and `PLACE`.
//
// 1. A record is appended with an answer that is called when it is as safe as it had to be: a COMMIT once
//    it is in the operating system's hands, or on disk where its transaction is to be synced; an END once a
//    later sync has covered it.
// 2. One caller at a time leads: it writes all that was appended meanwhile, and syncs once for all of it.
// 3. A write that fails (a full disk) was answered with the failure and leaves nothing to build on: the next
//    group begins a new log, with all that was decided and not ended, without what failed.
// 4. A sync that fails ends the log: what is on disk is unknown until it is opened again.
// 5. A log that has grown long is replaced in the same way: the new one is whole and durable before the old
//    one is removed.

/// A coordinator's decisions, on disk.
///
/// Thread-safe. Answers are called on the thread of whoever leads, with no lock held.
package final class CoordinatorLog: @unchecked Sendable {
  package typealias Answer = @Sendable (DatabaseError?) -> Void

  /// The folder in the store's directory.
  package static let folder = "coordinator"
  /// ENDs that wait for a sync, at most: then one is made for them.
  private static let waitingEndLimit = 1_024

  /// Whom new transactions are coordinated by.
  package let id: CoordinatorID
  private let files: RecordLogFiles
  private let beginning: LogBeginning
  private let rewriteBytes: Int

  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`.
  private var pending: [Entry] = []
  private var isLeading = false
  private var isClosed = false

  // Used by the leader alone.
  private var log: RecordLog
  private var freshBytes: Int
  /// Decided, written and not ended.
  private var live: [TransactionID: CommitRecord] = [:]
  private var waitingEnds: [Answer] = []
  private var mustRewrite = false
  private var poison: DatabaseError?
  private var earlierSyncs = 0
  private var nextNumber: UInt64 = 1

  private struct Entry {
    var record: CoordinatorRecord
    var bytes: [UInt8]
    var isSynced: Bool
    var answer: Answer?
  }

  init(
    _ files: RecordLogFiles, _ beginning: LogBeginning, _ log: RecordLog, rewriteBytes: Int
  ) {
    id = beginning.coordinator
    self.files = files
    self.beginning = beginning
    self.log = log
    self.rewriteBytes = rewriteBytes
    freshBytes = log.byteCount
    changed = Condition(lock)
    for record in beginning.commits { live[record.transaction] = record }
  }

  // MARK: - Appending

  /// Appends a decision. Nothing is written before ``run()``.
  ///
  /// - Parameter answer: called once, when the record is in the file, and durable where it says so; or with
  ///   the failure. Nobody knows then whether a restart finds it.
  package func append(_ record: CommitRecord, _ answer: @escaping Answer) {
    add(Entry(
      record: .commit(record), bytes: CoordinatorRecord.commit(record).encoded(),
      isSynced: record.isSynced, answer: answer))
  }

  /// Appends that a transaction needs its decision no more: all have it, and all its effects are done.
  ///
  /// - Parameter answer: called once a sync of others has made it durable, or with the failure.
  package func append(end id: TransactionID, _ answer: Answer? = nil) {
    add(Entry(
      record: .end(id), bytes: CoordinatorRecord.end(id).encoded(), isSynced: false, answer: answer))
  }

  private func add(_ entry: Entry) {
    if entry.bytes.count > RecordLog.longestRecord {
      entry.answer?(
        DatabaseError(.invalidArgument, "a decision of \(entry.bytes.count) bytes is too long to be logged"))
      return
    }
    let isRefused = lock.withLock {
      if !isClosed { pending.append(entry) }
      return isClosed
    }
    if isRefused { entry.answer?(closedError) }
  }

  /// Writes all that was appended, unless someone is at it: then they write it. May block.
  package func run() {
    if lock.withLock({ claim() }) { lead() }
  }

  /// Appends a decision and waits until it is answered. Blocks.
  ///
  /// - Throws: `.indeterminate` where its sync fails; `.storage` with what the engine threw; `.closed`.
  package func commit(_ record: CommitRecord) throws(DatabaseError) {
    let waited = Waited()
    append(record) { [lock, changed] failure in
      lock.withLock {
        waited.isAnswered = true
        waited.failure = failure
      }
      changed.broadcast()
    }
    run()
    lock.withLock { while !waited.isAnswered { changed.wait() } }
    if let failure = waited.failure { throw failure }
  }

  /// An answer that is waited for. Guarded by the log's lock.
  private final class Waited: @unchecked Sendable {
    var isAnswered = false
    var failure: DatabaseError?
  }

  /// Writes what is left, makes all durable and lets go of the file. Closing twice does nothing.
  ///
  /// - Throws: what failed; the log is closed all the same.
  package func close() throws(DatabaseError) {
    let wasClosed = lock.withLock {
      if isClosed { return true }
      isClosed = true
      while isLeading { changed.wait() }
      isLeading = true
      return false
    }
    if wasClosed { return }
    lead()
    do throws(DatabaseError) {
      // A file that met a full disk can be made durable in the shape of a new one only.
      try makeWritable()
      try storing("the coordinator log could not be closed") { () throws(StoreError) in try log.close() }
      answerEnds(nil)
    } catch {
      answerEnds(error)
      throw error
    }
  }

  /// Decisions that are not ended, for statistics and tests. Not while others append.
  package var liveCount: Int { live.count }
  /// Syncs of the log since it was opened, those of new files included.
  package var syncCount: Int { earlierSyncs + log.syncCount }
  /// The file in force.
  package var path: String { log.path }

  private var closedError: DatabaseError {
    DatabaseError(.closed, "the coordinator log in \(files.path) is closed")
  }

  // MARK: - Leading

  /// With the lock held.
  private func claim() -> Bool {
    if isLeading || pending.isEmpty { return false }
    isLeading = true
    return true
  }

  private func lead() {
    while let group = lock.withLock({ take() }) { write(group) }
  }

  /// With the lock held.
  private func take() -> [Entry]? {
    if pending.isEmpty {
      isLeading = false
      changed.broadcast()
      return nil
    }
    defer { pending = [] }
    return pending
  }

  private func write(_ group: [Entry]) {
    do throws(DatabaseError) {
      try makeWritable()
      try storing("the coordinator log could not be written") { () throws(StoreError) in
        do throws(StoreError) {
          for entry in group { try log.append(entry.bytes) }
          try log.flush()
        } catch {
          mustRewrite = true
          throw error
        }
      }
    } catch {
      // What has ended has ended, written or not: the next file does without it. Else it would be told again
      // after its effects' marks are gone.
      for entry in group {
        if case .end(let id) = entry.record, live.removeValue(forKey: id) != nil { mustRewrite = true }
      }
      for entry in group { entry.answer?(error) }
      return
    }
    apply(group)
    for entry in group where !entry.isSynced {
      if case .commit = entry.record { entry.answer?(nil) }
    }
    guard waitingEnds.count >= Self.waitingEndLimit || group.contains(where: \.isSynced) else { return }
    let failure = sync()
    for entry in group where entry.isSynced { entry.answer?(failure) }
    answerEnds(failure)
  }

  private func apply(_ group: [Entry]) {
    for entry in group {
      switch entry.record {
      case .commit(let record): live[record.transaction] = record
      case .end(let id):
        live[id] = nil
        if let answer = entry.answer { waitingEnds.append(answer) }
      case .begin: break
      }
    }
  }

  private func answerEnds(_ failure: DatabaseError?) {
    let answers = waitingEnds
    waitingEnds = []
    for answer in answers { answer(failure) }
  }

  private func sync() -> DatabaseError? {
    do throws(StoreError) {
      try log.sync()
      return nil
    } catch {
      poison = DatabaseError(
        StoreError(
          .readOnly, "a sync of it failed; open the database again to find out what is decided",
          file: error.file, cause: error.cause),
        "the coordinator log takes no more decisions")
      return DatabaseError(error, "the decision may or may not be on disk")
    }
  }

  // MARK: - A new file

  private func makeWritable() throws(DatabaseError) {
    if let poison { throw poison }
    let isLong = log.byteCount > rewriteBytes && log.byteCount > 10 * freshBytes
    // A mark that found no room after its record was synced ends the file without a word.
    guard mustRewrite || isLong || !log.isOpen else { return }
    try storing("a new coordinator log could not be begun") { () throws(StoreError) in try rewrite() }
  }

  /// Begins a new file with all that is decided and not ended.
  ///
  /// Where it fails half-way the new file may be whole on disk, and count after a restart: so nothing is
  /// appended to the old one from then on.
  private func rewrite() throws(StoreError) {
    let number = max(nextNumber, log.number + 1)
    nextNumber = number + 1
    let next = try files.create(number)
    mustRewrite = true
    var beginning = beginning
    beginning.commits = live.values.sorted { $0.transaction < $1.transaction }
    try Self.begin(next, files, beginning)
    let old = log
    earlierSyncs += old.syncCount
    log = next
    freshBytes = next.byteCount
    mustRewrite = false
    // It counts no more; where this fails, the next open removes it.
    try? files.remove(old.number)
    answerEnds(nil)
  }

  /// Makes a log whole.
  static func begin(
    _ log: RecordLog, _ files: RecordLogFiles, _ beginning: LogBeginning
  ) throws(StoreError) {
    var beginning = beginning
    if let info = try files.info(log.number) {
      beginning.log = LogBeginning.File(device: info.device, inode: info.inode)
    }
    try log.append(CoordinatorRecord.begin(beginning).encoded())
    try log.sync()
  }
}
