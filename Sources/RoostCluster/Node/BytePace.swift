import RoostEnvironment

// How fast a node works for its cluster in the background: hands hints over, compares by hash trees, takes
// partitions that move to it. Each of these has a token bucket in bytes, and beside it a bound of its own on
// what it has in flight.
//
// How long an answer is is known when it has come. So bytes are noted once they are known, and what the
// bucket has not got is owed; nothing is begun while anything is. So over any interval of t seconds at most
// burst + rate * t bytes are noted, and those that were in flight already when the bucket ran empty.

/// A token bucket for work that knows only afterwards how many bytes it was. A value; times are of the
/// monotonic clock, in nanoseconds.
struct PacedBytes: Sendable {
  private var bucket: TokenBucket
  /// All that were noted.
  private(set) var noted: UInt64 = 0

  /// A full bucket.
  ///
  /// - Parameter burst: bytes that may go at once after a pause; `nil` for an eighth of a second's, which is
  ///   several times what comes between two ticks of a node, and at least 4 KiB.
  /// - Throws: `.invalidOption` where a rate or a burst is less than 1.
  init(bytesPerSecond: Int, burst: Int? = nil, at nanoseconds: UInt64) throws(DatabaseError) {
    do throws(RateLimiterError) {
      bucket = try TokenBucket(
        unitsPerSecond: bytesPerSecond, burst: burst ?? max(4 << 10, bytesPerSecond / 8), at: nanoseconds)
    } catch { throw DatabaseError(.invalidOption, error.message) }
  }

  /// Bytes for which there were no tokens yet: they take the next ones. As of the last look at the time.
  var owed: Int { bucket.owed }

  /// The bytes that may go now; 0 while any are owed. O(1).
  mutating func ready(at nanoseconds: UInt64) -> Int { bucket.available(at: nanoseconds) }

  /// How many nanoseconds later something may go, if nothing is noted meanwhile; 0 for at once. O(1).
  mutating func wait(at nanoseconds: UInt64) -> UInt64 { bucket.delay(for: 1, at: nanoseconds) }

  /// Notes bytes that go, or have gone. O(1).
  mutating func note(_ byteCount: Int, at nanoseconds: UInt64) {
    noted += UInt64(byteCount)
    bucket.charge(byteCount, at: nanoseconds)
  }
}

/// The same for the threads of a node. Thread-safe.
final class BytePace: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var bytes: PacedBytes

  init(_ bytes: PacedBytes) { self.bytes = bytes }

  /// Whether something may be begun now.
  func mayGo(at nanoseconds: UInt64) -> Bool { ready(at: nanoseconds) > 0 }

  /// As ``PacedBytes/ready(at:)``.
  func ready(at nanoseconds: UInt64) -> Int { lock.withLock { bytes.ready(at: nanoseconds) } }

  /// As ``PacedBytes/wait(at:)``.
  func wait(at nanoseconds: UInt64) -> UInt64 { lock.withLock { bytes.wait(at: nanoseconds) } }

  /// As ``PacedBytes/note(_:at:)``.
  func note(_ byteCount: Int, at nanoseconds: UInt64) {
    lock.withLock { bytes.note(byteCount, at: nanoseconds) }
  }

  /// All bytes that were noted.
  var noted: UInt64 { lock.withLock { bytes.noted } }
}

/// The paces of what a node does in the background.
struct NodePaces: Sendable {
  /// States of hints that are sent.
  let hints: BytePace
  /// Messages of the comparisons that the node begins by itself, and their answers.
  let repairs: BytePace
  /// The same of those for partitions that move to the node or away from it, and the transactional keys that
  /// it is brought.
  let moves: BytePace

  /// - Throws: `.invalidOption`.
  init(_ options: ClusterOptions, at nanoseconds: UInt64) throws(DatabaseError) {
    hints = BytePace(try PacedBytes(bytesPerSecond: options.hintBytesPerSecond, at: nanoseconds))
    repairs = BytePace(try PacedBytes(bytesPerSecond: options.repairBytesPerSecond, at: nanoseconds))
    moves = BytePace(try PacedBytes(bytesPerSecond: options.moveBytesPerSecond, at: nanoseconds))
  }
}
