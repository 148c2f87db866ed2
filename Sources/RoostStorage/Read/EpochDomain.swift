import RoostEnvironment
import Synchronization

/// Lets readers use a shared object without locks and without reference counting, and frees what
/// was replaced once no reader can hold it.
///
/// A reader enters, loads an ``EpochPointer``, uses the object, and exits. A writer swaps in a new
/// object and retires the old one, which costs it no wait; `reclaim`, called now and then by
/// anyone, frees what has become free.
///
/// How it works. There are two generations of counters, each with a counter a stripe; `enter` adds
/// one to a counter of the current generation, `exit` takes it off the same counter. Retired
/// objects are collected in batches. A batch is closed at some moment T, and freed when each
/// counter of **both** generations was seen at zero at some time after T.
///
/// Why that is safe. Take a reader that loaded an object from a pointer before the object was
/// swapped out, so before it was retired, so before T. Its addition came before that load, hence
/// before T, and only its own exit undoes it: its counter is not zero until it exits. So a batch is
/// not freed under it. Conversely a counter seen at zero after T may rise again at once, by readers
/// whose addition the reclaimer did not see. In the single order of sequentially consistent
/// operations the swap comes before the reclaimer's load of the counter, that before the reader's
/// addition, and that before the reader's load of the pointer: it finds the new object. All four
/// operations are sequentially consistent for this reason.
///
/// This holds whichever generation a reader counts itself in. So a reader that loads the
/// generation's number, is preempted while the generations change any number of times, and then
/// adds itself to what is no longer the current generation, is as safe as any other.
///
/// Why it does not starve. Generations only serve progress: a batch first sees all counters of the
/// generation that is not current reach zero, which only those readers hold up that entered before
/// it was left (and the few preempted as above); then the current one changes, and it sees the
/// other drain the same way. New readers hold up neither. A batch waits for the slowest reader
/// inside, and no longer.
///
/// Thread-safe. Enter for the length of a lookup, not for the life of a cursor.
@safe
final class EpochDomain: @unchecked Sendable {
  /// What `enter` gives and `exit` takes: the counter that the reader raised.
  @safe
  struct Token {
    fileprivate let counter: UnsafeMutablePointer<Atomic<Int>>
  }

  /// Stripes a generation. Pass `enter` a number below it, the same thread the same one.
  static let stripes = 16
  private static let counters = 2 * stripes
  /// Two cache lines: the processor fetches them in pairs.
  private static let stride = 128

  /// The counters, generation after generation, then the number of the current generation.
  private let memory: UnsafeMutableRawPointer

  private let lock = Lock()
  // Guarded by `lock`.
  private var retired: [AnyObject] = []
  private var batch: [AnyObject] = []
  /// A bit for each counter that was not seen at zero since the batch was closed.
  private var pending: UInt64 = 0

  init() {
    let bytes = (EpochDomain.counters + 1) * EpochDomain.stride
    unsafe memory = UnsafeMutableRawPointer.allocate(
      byteCount: bytes, alignment: EpochDomain.stride)
    for i in 0...EpochDomain.counters {
      unsafe (memory + i * EpochDomain.stride).initializeMemory(
        as: Atomic<Int>.self, to: Atomic(0))
    }
  }

  deinit {
    for i in 0..<EpochDomain.counters {
      let readers = unsafe counter(i).pointee.load(ordering: .acquiring)
      precondition(readers == 0, "a reader is inside")
    }
    unsafe memory.deallocate()
  }

  @inline(__always)
  private func counter(_ i: Int) -> UnsafeMutablePointer<Atomic<Int>> {
    unsafe (memory + i &* EpochDomain.stride).assumingMemoryBound(to: Atomic<Int>.self)
  }

  /// Begins a reader's stay: what it loads from an ``EpochPointer`` from now on lives until it
  /// exits.
  @inline(__always)
  func enter(_ stripe: Int) -> Token {
    let generation = unsafe counter(EpochDomain.counters).pointee.load(ordering: .relaxed)
    let mine = unsafe counter(
      generation & 1 &* EpochDomain.stripes &+ stripe & (EpochDomain.stripes &- 1))
    unsafe mine.pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
    return unsafe Token(counter: mine)
  }

  /// Ends it.
  @inline(__always)
  func exit(_ token: Token) {
    unsafe token.counter.pointee.wrappingSubtract(1, ordering: .releasing)
  }

  /// Keeps `object`, which no pointer leads to any more, until no reader can hold it.
  func retire(_ object: AnyObject) {
    lock.withLock { retired.append(object) }
  }

  /// Objects retired and not freed yet.
  var retiredCount: Int { lock.withLock { retired.count + batch.count } }

  /// Frees what no reader can hold any more. Never waits for a reader. Returns how many objects are
  /// left.
  ///
  /// A whole batch takes at most a few calls after its last reader has left. Call it after
  /// retiring, and in the background while objects are left.
  @discardableResult
  func reclaim() -> Int {
    // Freed when this goes, after the lock: a memtable is many pages.
    var free: [AnyObject] = []
    let left = lock.withLock {
      // A batch may be freed and the next one closed and freed at once, where there are no readers.
      for _ in 0..<2 {
        if batch.isEmpty {
          if retired.isEmpty { break }
          swap(&batch, &retired)
          pending = (1 << UInt64(EpochDomain.counters)) - 1
        }
        look()
        if pending == 0 {
          free.append(contentsOf: batch)
          batch.removeAll(keepingCapacity: true)
        }
      }
      return batch.count + retired.count
    }
    extendLifetime(free)
    return left
  }

  /// Notes which counters are at zero, and leaves the current generation once the other has
  /// drained.
  private func look() {
    let current = unsafe counter(EpochDomain.counters)
    let ofOneGeneration: UInt64 = (1 << UInt64(EpochDomain.stripes)) - 1
    for round in 0..<2 {
      for i in 0..<EpochDomain.counters where pending & 1 << UInt64(i) != 0 {
        if unsafe counter(i).pointee.load(ordering: .sequentiallyConsistent) == 0 {
          pending &= ~(1 << UInt64(i))
        }
      }
      if round == 1 { return }
      let generation = unsafe current.pointee.load(ordering: .relaxed) & 1
      let other = 1 - generation
      let isOtherDrained =
        pending & ofOneGeneration << UInt64(other * EpochDomain.stripes) == 0
      if pending == 0 || !isOtherDrained { return }
      unsafe current.pointee.store(other, ordering: .sequentiallyConsistent)
    }
  }
}

/// A pointer to a shared object that readers follow without retaining it, inside an
/// ``EpochDomain``.
///
/// Owns one reference to the object it leads to. Thread-safe.
@safe
final class EpochPointer<Object: AnyObject>: @unchecked Sendable {
  private let address: Atomic<UInt>

  init(_ object: Object?) {
    address = Atomic(EpochPointer.retained(object))
  }

  private static func retained(_ object: Object?) -> UInt {
    guard let object else { return 0 }
    return unsafe UInt(bitPattern: Unmanaged.passRetained(object).toOpaque())
  }

  deinit { unsafe current?.release() }

  @inline(__always)
  private var current: Unmanaged<Object>? {
    guard let pointer = unsafe UnsafeRawPointer(
      bitPattern: address.load(ordering: .sequentiallyConsistent))
    else { return nil }
    return unsafe Unmanaged.fromOpaque(pointer)
  }

  /// The object, which lives at least until the reader exits. To use it for longer, retain it
  /// first.
  @inline(__always)
  func load(within token: EpochDomain.Token) -> Unmanaged<Object>? { unsafe current }

  /// The object, retained, for those who may wait: enters and exits the domain.
  func strong(in domain: EpochDomain, stripe: Int) -> Object? {
    let token = domain.enter(stripe)
    defer { domain.exit(token) }
    return unsafe current?.takeUnretainedValue()
  }

  /// Leads to `new` from now on, and retires the object it led to.
  func swap(_ new: Object?, retiringIn domain: EpochDomain) {
    let old = address.exchange(EpochPointer.retained(new), ordering: .sequentiallyConsistent)
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: old) else { return }
    let object: Unmanaged<Object> = unsafe Unmanaged.fromOpaque(pointer)
    unsafe domain.retire(object.takeRetainedValue())
  }
}
