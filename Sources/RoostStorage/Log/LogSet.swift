import RoostEnvironment
import Synchronization
import SystemPackage

/// The write-ahead log's segments: those that hold records still needed, the next ones made ready
/// in the background, and retired ones to be used again. Thread-safe.
final class LogSet: @unchecked Sendable {
  private static let readyLimit = 1
  /// Retired segments that wait to be used again: as many as a flush retires at once. ``trim()``
  /// lets go of them.
  private static let spareLimit = 4

  private let fileSystem: any FileSystem
  private let time: any TimeSource
  private let directory: FilePath
  private let randomness: any Randomness
  private let identity: FileIdentity
  private let capacity: Int
  private let access: StoreOptions.LogAccess
  private let memory: MemoryCharge
  private let mappedLimit: Int
  private let allocateNumber: () -> UInt64

  private let lock = Lock()
  private let changed: Condition
  private var live: [LogSegment] = []
  private var ready: [LogSegment] = []
  private var spare: [LogSegment] = []
  private var isPreparing = false
  private var isEnded = false

  /// The log in which the commit that is being written began: no log from here on may be dropped,
  /// because the memtables do not know of its records yet.
  private let floor = Atomic<UInt64>(0)

  /// - Parameters:
  ///   - memory: what the mapped pages are charged to.
  ///   - mappedLimit: bytes past which a new segment is written by calls, so that the log cannot
  ///     take the budget from the memtables.
  init(
    _ fileSystem: any FileSystem, _ directory: FilePath, _ time: any TimeSource,
    _ randomness: any Randomness, identity: FileIdentity, capacity: Int,
    access: StoreOptions.LogAccess, memory: MemoryCharge, mappedLimit: Int,
    allocateNumber: @escaping () -> UInt64
  ) {
    self.fileSystem = fileSystem
    self.time = time
    self.directory = directory
    self.randomness = randomness
    self.identity = identity
    self.capacity = capacity
    self.access = access
    self.memory = memory
    self.mappedLimit = mappedLimit
    self.allocateNumber = allocateNumber
    changed = Condition(lock)
  }

  /// The commit leader says in which log its group begins. Memtables know of all records of earlier
  /// groups by then.
  @inline(__always)
  func beginGroup(_ number: UInt64) {
    if floor.load(ordering: .relaxed) != number { floor.store(number, ordering: .releasing) }
  }

  /// Whether the segment that is being written is about to be full, as the commit leader found it
  /// before the last group.
  var isEnding: Bool {
    get { ending.load(ordering: .relaxed) }
    set { ending.store(newValue, ordering: .relaxed) }
  }
  private let ending = Atomic<Bool>(false)

  /// Segments that were begun since a writer last asked for a sync.
  private let unsyncedSegments = Atomic<Int>(0)
  /// From so many on, the next one is faulted in for writing (``LogSegment``): then its first sync is
  /// nearly always a flush's, which finds it full.
  private static let rarelySynced = 2

  /// The commit leader says that a writer asked for a sync.
  @inline(__always)
  func noteSync() {
    if unsyncedSegments.load(ordering: .relaxed) != 0 { unsyncedSegments.store(0, ordering: .relaxed) }
  }

  var floorNumber: UInt64 { floor.load(ordering: .acquiring) }

  /// Bytes of segments that hold records still needed.
  var liveBytes: Int { lock.withLock { live.reduce(0) { $0 + $1.capacity } } }

  var liveCount: Int { lock.withLock { live.count } }

  var oldestNumber: UInt64? { lock.withLock { live.first?.number } }

  /// Whether a job that prepares a segment waits to run. Apart from `isPreparing`: nobody may wait
  /// for a job that another one keeps from running.
  private let isQueued = Atomic<Bool>(false)

  /// Whether the caller is to have the segment after the current one made ready: asked once until
  /// the job runs.
  @inline(__always)
  func claimPreparing() -> Bool {
    if isQueued.load(ordering: .relaxed) { return false }
    return claimPreparingSlowly()
  }

  @inline(never)
  private func claimPreparingSlowly() -> Bool {
    guard lock.withLock({ !isPreparing && !isEnded && ready.count < Self.readyLimit }) else {
      return false
    }
    return !isQueued.exchange(true, ordering: .acquiringAndReleasing)
  }

  // MARK: - Making segments

  /// A new segment, not yet named by the manifest.
  ///
  /// - Parameter small: a first segment of at most 1 MiB, so that opening a store is quick.
  func make(minimumCapacity: Int, small: Bool = false) throws(StoreError) -> LogSegment {
    let standard = small ? min(capacity, 1 << 20) : capacity
    if minimumCapacity > standard {
      // A record too large for a standard segment has one of its own, written by calls: zeroing it
      // first would write everything twice.
      return try create((minimumCapacity + 4095) & ~4095, .calls, nil)
    }
    let (recycled, mapped) = lock.withLock {
      let mapped = mappedBytes
      return (small ? nil : spare.popLast(), mapped)
    }
    return try create(standard, mapped + standard <= mappedLimit ? access : .calls, recycled)
  }

  /// With the lock held.
  private var mappedBytes: Int {
    func sum(_ segments: [LogSegment]) -> Int {
      segments.reduce(0) { $0 + ($1.mapping?.byteCount ?? 0) }
    }
    return sum(live) + sum(ready) + sum(spare)
  }

  /// With the lock held, after a change.
  private func chargeMapped() { memory.setLog(mappedBytes) }

  private func create(
    _ bytes: Int, _ access: StoreOptions.LogAccess, _ recycled: LogSegment?
  ) throws(StoreError) -> LogSegment {
    do throws(StoreError) {
      return try LogSegment.create(
        fileSystem, directory, number: allocateNumber(), salt: randomness.next(),
        identity: identity.word, capacity: bytes, access: access, recycling: recycled,
        faultingAhead: unsyncedSegments.load(ordering: .relaxed) >= Self.rarelySynced)
    } catch {
      // It has left the set, under its old name unless it was renamed already.
      if let recycled { try? fileSystem.remove(recycled.path) }
      throw error
    }
  }

  /// Makes one segment ready. Runs in the background; where it fails, the writer that needs the
  /// segment tries again and gets the error.
  func prepare() {
    isQueued.store(false, ordering: .releasing)
    let begin = lock.withLock {
      if isPreparing || isEnded || ready.count >= Self.readyLimit { return false }
      isPreparing = true
      return true
    }
    guard begin else { return }
    unmapEnded()
    let segment = try? make(minimumCapacity: 0)
    let unwanted: LogSegment? = lock.withLock {
      isPreparing = false
      changed.broadcast()
      guard let segment else { return nil }
      // Numbers rise in the order of use; one that was overtaken by an oversized segment is of no
      // use.
      if isEnded || segment.number < (live.last?.number ?? 0) { return segment }
      ready.append(segment)
      chargeMapped()
      return nil
    }
    if let unwanted { discard(unwanted) }
  }

  /// Unmaps the segments that nobody writes any more.
  private func unmapEnded() {
    for segment in lock.withLock({ live }) { segment.unmapIfEnded() }
    lock.withLock { chargeMapped() }
  }

  /// The segment to go on in, for the commit leader. It must be named by the manifest, then
  /// ``adopt(_:)``ed.
  func next(
    minimumCapacity: Int, deadline: UInt64
  ) throws(StoreError) -> LogSegment {
    lock.lock()
    while isPreparing, ready.isEmpty {
      if !time.wait(on: changed, untilMonotonicNanoseconds: deadline), isPreparing, ready.isEmpty {
        lock.unlock()
        throw StoreError(.deadlineExceeded, "waited for a log segment to be made ready")
      }
    }
    if let first = ready.first, first.capacity >= minimumCapacity {
      ready.removeFirst()
      lock.unlock()
      return first
    }
    let overtaken = ready
    ready = []
    lock.unlock()
    for segment in overtaken { discard(segment) }
    return try make(minimumCapacity: minimumCapacity)
  }

  /// Records a segment as live: the manifest names it.
  func adopt(_ segment: LogSegment) {
    isEnding = false
    unsyncedSegments.wrappingAdd(1, ordering: .relaxed)
    let overtaken: [LogSegment] = lock.withLock {
      live.append(segment)
      // Made ready while an oversized segment was: numbers rise in the order of use.
      let overtaken = ready.filter { $0.number < segment.number }
      ready.removeAll { $0.number < segment.number }
      chargeMapped()
      return overtaken
    }
    for segment in overtaken { discard(segment) }
  }

  /// Removes a segment that holds nothing needed. Its file is closed when its last holder lets go:
  /// the writer may be about to sync it.
  func discard(_ segment: LogSegment) {
    try? fileSystem.remove(segment.path)
  }

  // MARK: - Using and retiring

  /// Makes all records that have been handed to the system durable, without the commit leader: what
  /// a flush needs before its edit is installed (rule 1).
  func syncAll() throws(StoreError) {
    let segments = lock.withLock { live.filter { !$0.isSynced.load(ordering: .acquiring) } }
    for segment in segments { try segment.sync() }
    unmapEnded()
  }

  /// Retires the segments below `number`, after the edit that says so is durable.
  func drop(below number: UInt64) {
    let retired: [LogSegment] = lock.withLock {
      var rest: [LogSegment] = []
      for segment in live where segment.number < number {
        if segment.capacity == capacity, spare.count < Self.spareLimit, !isEnded {
          segment.unmap()
          spare.append(segment)
        } else {
          rest.append(segment)
        }
      }
      live.removeAll { $0.number < number }
      chargeMapped()
      return rest
    }
    for segment in retired { discard(segment) }
  }

  /// Lets go of segments that were kept for later: the store is at rest.
  func trim() {
    let unused: [LogSegment] = lock.withLock {
      defer {
        spare = []
        ready = []
        chargeMapped()
      }
      return spare + ready
    }
    for segment in unused { discard(segment) }
  }

  /// Lets go of everything that holds no records.
  func close() {
    let unused: [LogSegment] = lock.withLock {
      isEnded = true
      let unused = ready + spare
      ready = []
      spare = []
      return unused
    }
    for segment in unused { discard(segment) }
    for segment in lock.withLock({ live }) { segment.file.close() }
  }
}
