import RoostCausality
import RoostCluster
import RoostEnvironment

// What a node reads for its clients, as calls that end later: the face does the same for its callers
// (`Transaction`, `DatabaseSnapshot`), whose tasks can wait.

/// How much of a keyspace's keys one answer may have.
struct ClientReadLimits: Sendable {
  /// Keys and values of a page of a range; one entry may have more.
  var pageBytes: Int
  /// Values of keys that were asked for one by one, together.
  var valueBytes: Int
}

/// Why a statement has no answer.
enum StatementFailure: Error {
  case aborted(AbortReason)
  case failed(DatabaseError)

  var answer: Result<ClientAnswer, DatabaseError> {
    switch self {
    case .aborted(let reason): .success(.aborted(reason))
    case .failed(let error): .failure(error)
    }
  }
}

typealias StatementReply = @Sendable (Result<ClientAnswer, StatementFailure>) -> Void

/// Reads a partition as a transaction under its locks, or as of a time.
protocol PartitionReader: Sendable {
  /// Calls `reply` once.
  func read(
    _ target: KeyReference, _ reply: @escaping @Sendable (Result<[UInt8]?, StatementFailure>) -> Void)

  /// Reads the next entries of a range: up to `limit`, or fewer.
  func read(
    _ range: RangeReference, limit: Int,
    _ reply: @escaping @Sendable (Result<ReadAnswer, StatementFailure>) -> Void)

  /// What was found in a range, as the reader sees it.
  func shown(_ entries: [ReadEntry], of range: RangeReference) -> [(key: [UInt8], value: [UInt8])]
}

/// Under a transaction's locks.
struct LockingReader: PartitionReader {
  let core: TransactionCore
  var forUpdate = false

  func read(
    _ target: KeyReference, _ reply: @escaping @Sendable (Result<[UInt8]?, StatementFailure>) -> Void
  ) {
    do throws(DatabaseError) {
      let (own, owner) = try core.look(target)
      if let own { return reply(.success(own)) }
      let lock = forUpdate ? LockTarget.exclusive(target) : .shared(target)
      core.manager.acquire(core.id, at: owner, [lock], .keys([target])) { result in
        reply(result.map { $0.entries.first?.value }.mapError { .aborted($0.reason) })
      }
    } catch { reply(.failure(.failed(error))) }
  }

  func read(
    _ range: RangeReference, limit: Int,
    _ reply: @escaping @Sendable (Result<ReadAnswer, StatementFailure>) -> Void
  ) {
    do throws(DatabaseError) {
      let owner = try core.manager.owner(of: range.partition)
      try core.willLock(1, at: owner)
      core.manager.acquire(core.id, at: owner, [.sharedRange(range)], .range(range, limit: limit)) { result in
        reply(result.mapError { .aborted($0.reason) })
      }
    } catch { reply(.failure(.failed(error))) }
  }

  func shown(_ entries: [ReadEntry], of range: RangeReference) -> [(key: [UInt8], value: [UInt8])] {
    core.overlay(entries, of: range)
  }
}

/// As of a time.
struct TimeReader: PartitionReader {
  let manager: TransactionManager
  let time: Timestamp
  /// Until when a partition on its way is waited for, by the monotonic clock, in milliseconds.
  let deadline: UInt64
  /// Whether nobody waits for the answer any more: nothing more is read for it then.
  let isCancelled: @Sendable () -> Bool

  func read(
    _ target: KeyReference, _ reply: @escaping @Sendable (Result<[UInt8]?, StatementFailure>) -> Void
  ) {
    if isCancelled() { return reply(.failure(.failed(.tooLate))) }
    manager.read(.keys([target]), of: target.partition, at: time, until: deadline) { result in
      reply(result.map { $0.entries.first?.value }.mapError { .failed($0) })
    }
  }

  func read(
    _ range: RangeReference, limit: Int,
    _ reply: @escaping @Sendable (Result<ReadAnswer, StatementFailure>) -> Void
  ) {
    if isCancelled() { return reply(.failure(.failed(.tooLate))) }
    manager.read(.range(range, limit: limit), of: range.partition, at: time, until: deadline) { result in
      reply(result.mapError { .failed($0) })
    }
  }

  func shown(_ entries: [ReadEntry], of range: RangeReference) -> [(key: [UInt8], value: [UInt8])] {
    entries.map { ($0.target.key, $0.value) }
  }
}

/// Reads keys one after the other.
///
/// Used by one step at a time.
final class KeysRead: @unchecked Sendable {
  private let targets: [KeyReference]
  private let reader: any PartitionReader
  private let workers: any Workers
  private let mostBytes: Int
  private let reply: StatementReply
  private var values: [[UInt8]?] = []
  private var bytes = 0

  init(
    _ targets: [KeyReference], _ reader: any PartitionReader, _ limits: ClientReadLimits,
    on workers: any Workers, _ reply: @escaping StatementReply
  ) {
    self.targets = targets
    self.reader = reader
    self.workers = workers
    self.reply = reply
    mostBytes = limits.valueBytes
  }

  func begin() { Steps.run(on: workers) { [self] next in step(next) } }

  private func step(_ next: @escaping @Sendable () -> Void) {
    guard values.count < targets.count else { return reply(.success(.values(values))) }
    reader.read(targets[values.count]) { [self] result in
      switch result {
      case .failure(let failure): return reply(.failure(failure))
      case .success(let value):
        values.append(value)
        bytes += (value?.count ?? 0) + 10
        guard bytes <= mostBytes || values.count == 1 else {
          let error = DatabaseError(
            .invalidArgument,
            "the values of all keys are more than the \(mostBytes) bytes of an answer: ask for fewer")
          return reply(.failure(.failed(error)))
        }
        next()
      }
    }
  }
}

/// Reads a range of all partitions, one after the other, and answers with a page of it.
///
/// Each is read, and locked, up to where the page ends by those before it: what is shown depends on nothing
/// from there on.
///
/// Used by one step at a time.
final class RangeRead: @unchecked Sendable {
  private let ranges: [RangeReference]
  private let limit: Int
  private let reader: any PartitionReader
  private let workers: any Workers
  private let pageBytes: Int
  private let reply: StatementReply
  private var merge: PageMerge
  private var index = 0
  /// Of the partition that is being read.
  private var lower: [UInt8]?
  private var found: [ReadEntry] = []
  private var foundBytes = 0

  init(
    _ ranges: [RangeReference], limit: Int, _ reader: any PartitionReader, _ limits: ClientReadLimits,
    on workers: any Workers, _ reply: @escaping StatementReply
  ) {
    self.ranges = ranges
    self.limit = limit
    self.reader = reader
    self.workers = workers
    self.reply = reply
    pageBytes = limits.pageBytes
    merge = PageMerge(limit: limit, mostBytes: limits.pageBytes)
  }

  func begin() { Steps.run(on: workers) { [self] next in step(next) } }

  private func step(_ next: @escaping @Sendable () -> Void) {
    guard index < ranges.count else { return reply(.success(.entries(merge.page))) }
    var rest = range
    if let lower { rest.lower = lower }
    if let upper = rest.upper, !rest.lower.lexicographicallyPrecedes(upper) {
      end(reader.shown(found, of: range), readUpTo: nil)
      return next()
    }
    reader.read(rest, limit: limit) { [self] result in
      switch result {
      case .failure(let failure): return reply(.failure(failure))
      case .success(let answer):
        take(answer)
        next()
      }
    }
  }

  /// What is to be read of the partition: none before it ends the page earlier.
  private var range: RangeReference {
    var range = ranges[index]
    range.upper = merge.frontier ?? range.upper
    return range
  }

  private func take(_ answer: ReadAnswer) {
    let range = range
    found += answer.entries
    foundBytes += answer.entries.reduce(0) { $0 + $1.target.key.count + $1.value.count }
    guard !answer.isComplete, let next = answer.next else {
      return end(reader.shown(found, of: range), readUpTo: nil)
    }
    var known = range
    known.upper = next
    // The transaction may have deleted some of what it reads: more is read then.
    let shown = reader.shown(found, of: known)
    if shown.count >= limit || foundBytes >= pageBytes { return end(shown, readUpTo: next) }
    lower = next
  }

  private func end(_ shown: [(key: [UInt8], value: [UInt8])], readUpTo end: [UInt8]?) {
    merge.add(shown.map { ClientEntry(key: $0.key, value: $0.value) }, readUpTo: end)
    index += 1
    lower = nil
    found = []
    foundBytes = 0
  }
}

extension DatabaseError {
  static let tooLate = DatabaseError(.deadlineExceeded, "nobody waits for the answer any more")
}

extension TransactionManager {
  /// Reads at a time, wherever the partition is: one that is being handed over is waited for.
  ///
  /// - Parameters:
  ///   - deadline: until when, by the monotonic clock, in milliseconds.
  ///   - reply: called once: `.busy` where that takes longer; `.unreachable`; what reading throws.
  func read(
    _ read: TransactionRead, of partition: Int, at time: Timestamp, until deadline: UInt64,
    attempt: Int = 1, _ reply: @escaping @Sendable (Result<ReadAnswer, DatabaseError>) -> Void
  ) {
    do throws(DatabaseError) {
      snapshot(read, at: time, of: try owner(of: partition)) { [self] result in
        guard case .failure(let error) = result, mustLookAgain(error), isBefore(deadline), !isClosed else {
          return reply(result)
        }
        afterMilliseconds(pauseMilliseconds(afterAttempt: min(attempt, 4))) { [self] in
          self.read(read, of: partition, at: time, until: deadline, attempt: attempt + 1, reply)
        }
      }
    } catch { reply(.failure(error)) }
  }
}
