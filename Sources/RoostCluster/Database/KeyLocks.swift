import RoostEnvironment
import RoostStorage
import Synchronization

/// The striped key locks: whoever changes a key's record, for whatever reason, holds its stripe from
/// the read to the last replica's write.
///
/// A stripe also lends scratch memory to its holder, and tells the change feed which change number
/// may still be on its way.
///
/// Thread-safe.
final class KeyLocks: Sendable {
  static let count = 256

  let stripes: [KeyStripe]

  init() { stripes = (0..<Self.count).map { KeyStripe($0) } }

  @inline(__always)
  subscript(_ hash: UInt64) -> KeyStripe { stripes[number(hash)] }

  /// Which stripe a key of that hash has.
  @inline(__always)
  func number(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & (Self.count - 1) }

  /// Runs `body` while nobody changes any key.
  ///
  /// Stripes are taken in order, so that two callers cannot hold each other up. Nobody may hold a
  /// stripe and take another.
  func withAll<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    for stripe in stripes { stripe.lock.lock() }
    defer { for stripe in stripes { stripe.lock.unlock() } }
    return try body()
  }

  /// A change number below which nothing is on its way any more, where `latest` was the clock's
  /// last timestamp before this call.
  func settled(_ latest: UInt64) -> UInt64 {
    var settled = latest
    for stripe in stripes {
      let floor = stripe.inFlight.load(ordering: .sequentiallyConsistent)
      if floor != 0, floor < settled { settled = floor }
    }
    return settled
  }

  /// Waits until nothing is on its way any more that began before this call. Not for whoever holds a
  /// stripe.
  ///
  /// Every stripe is taken, also one whose word is 0: its holder may have looked at the clock and not
  /// said so yet, and what it then says would hide writes that were acknowledged since. Who comes
  /// after this looks at a clock that is past them.
  func settle() {
    for stripe in stripes { stripe.lock.withLock {} }
  }
}

/// One stripe of ``KeyLocks``.
final class KeyStripe: @unchecked Sendable {
  /// Its place among the stripes.
  let number: Int
  let lock = Lock()
  /// While its holder writes: a timestamp below the change numbers of that write; else 0.
  let inFlight = Atomic<UInt64>(0)

  // Scratch of whoever holds the lock.
  var key: [UInt8] = []
  var value: [UInt8] = []
  var hasher = RecordHasher(seed: 0)
  /// Adds to the batch of the coordinator's store what must be written with the record.
  var marking: ((inout WriteBatch) -> Void)?
  private var batch = WriteBatch()

  init(_ number: Int) { self.number = number }

  /// Runs `body` with an empty batch; its memory is used again.
  @inline(__always)
  func withBatch<E: Error>(_ body: (inout WriteBatch) throws(E) -> Void) throws(E) {
    defer {
      // What one large record needed is not kept for ever.
      if batch.byteCount > Self.keptBytes {
        batch = WriteBatch()
        value = []
        hasher = RecordHasher(seed: 0)
      } else {
        batch.removeAll()
      }
    }
    try body(&batch)
  }

  private static let keptBytes = 16 << 10
}
