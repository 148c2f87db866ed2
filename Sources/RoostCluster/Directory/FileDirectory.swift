public import RoostEnvironment
import RoostStorage

/// A cluster's directory in a file that all nodes of one machine can reach.
///
/// - Each change reads the file, and replaces it as a whole, under a lock between processes; readers take no
///   lock. So a node that dies in the middle of a change leaves the state before it or after it.
/// - Others' changes are found by looking at the file every now and then.
/// - Leases end by the machine's wall clock: one that jumps ahead ends them early, which costs their holders
///   a new introduction, and nothing more.
/// - Not for a network's file systems, whose locks and renames may not hold what is said here.
///
/// Thread-safe.
public final class FileDirectory: ClusterDirectory, @unchecked Sendable {
  /// How it waits.
  public struct Options: Sendable {
    /// How often the file is looked at for those who watch: 1 ms to an hour.
    public var pollInterval: Duration = .milliseconds(200)
    /// How long a change waits for those of other processes: 1 ms to an hour.
    public var lockDeadline: Duration = .seconds(10)

    public init() {}
  }

  private static let fileName = "DIRECTORY"
  private static let temporaryName = "DIRECTORY.tmp"
  private static let lockName = "LOCK"
  /// Between two tries to get the lock, in nanoseconds.
  private static let lockPause: UInt64 = 2_000_000

  private let file: ReplacedFile
  private let time: any TimeSource
  private let timers: Timers
  private let pollNanoseconds: UInt64
  private let lockNanoseconds: UInt64
  private let observers = DirectoryObservers()
  /// Of this process's threads one changes the file at a time.
  private let lock = Lock()
  private let unlocked: Condition
  // Guarded by `lock`.
  private var isChanging = false
  private let pollLock = Lock()
  // Guarded by `pollLock`.
  private var isPolling = false
  private var isClosed = false

  /// Opens a directory's folder, and makes it where it is missing.
  ///
  /// - Parameters:
  ///   - path: a folder that holds nothing else.
  ///   - environment: files, time, and a worker that looks at the file.
  /// - Throws: ``DatabaseError`` with `.invalidOption`, `.corruption`, `.newerFormat`, `.storage`.
  public init(
    at path: String, _ options: Options = Options(), environment: Environment
  ) throws(DatabaseError) {
    for (name, value) in [("pollInterval", options.pollInterval), ("lockDeadline", options.lockDeadline)] {
      guard (.milliseconds(1) ... .seconds(3_600)).contains(value) else {
        throw DatabaseError(.invalidOption, "directory.\(name) is \(value), must be 1 ms to an hour")
      }
    }
    file = ReplacedFile(
      path, name: Self.fileName, temporaryName: Self.temporaryName, environment.fileSystem)
    time = environment.time
    pollNanoseconds = Self.nanoseconds(options.pollInterval)
    lockNanoseconds = Self.nanoseconds(options.lockDeadline)
    unlocked = Condition(lock)
    timers = Timers(environment.time, environment.makeWorkers())
    do throws(DatabaseError) {
      try storing("the cluster's directory could not be made") { [file] () throws(StoreError) in
        try file.makeDirectory()
      }
      _ = try read()
    } catch {
      timers.stop()
      timers.shutdown()
      throw error
    }
  }

  deinit {
    // Perhaps on the timers' own thread, which cannot wait for itself; it ends with them.
    timers.stop()
  }

  /// Ends all watches, and waits for the thread behind them: not to be called by an observer. Calls that
  /// come later still read and write.
  public func close() {
    let isFirst = pollLock.withLock {
      defer { isClosed = true }
      return !isClosed
    }
    guard isFirst else { return }
    timers.stop()
    timers.shutdown()
  }

  // MARK: - ClusterDirectory

  public func record(_ name: String) throws(DatabaseError) -> DirectoryRecord? {
    try DirectoryState.check(name: name)
    return try read().record(name, at: now)
  }

  public func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord] {
    try read().records(prefix: prefix, at: now)
  }

  public func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease? = nil
  ) throws(DatabaseError) -> UInt64? {
    try change { (state, now) throws(DatabaseError) in
      try state.compareAndSet(name, version: version, value, lease: lease, at: now)
    }
  }

  public func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease {
    try change { (state, now) throws(DatabaseError) in try state.grant(duration, at: now) }
  }

  public func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool {
    try change { (state, now) throws(DatabaseError) in state.renew(lease, at: now) }
  }

  public func revoke(_ lease: DirectoryLease) throws(DatabaseError) {
    try change { (state, _) throws(DatabaseError) in _ = state.revoke(lease) }
  }

  public func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch {
    let watch = observers.add(prefix: prefix, observer)
    tell()
    schedulePoll()
    return watch
  }

  // MARK: - The parts

  private var now: UInt64 { time.wallClockNanoseconds / 1_000_000 }

  private func read() throws(DatabaseError) -> DirectoryState {
    let bytes = try storing("the cluster's directory could not be read") { () throws(StoreError) in
      try file.read(limit: DirectoryState.largestFile)
    }
    guard let bytes else { return DirectoryState() }
    return try DirectoryState(decoding: bytes, "the cluster's directory \(file.path)")
  }

  private func change<R>(
    _ body: (inout DirectoryState, UInt64) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R {
    let deadline = time.monotonicNanoseconds &+ lockNanoseconds
    try beginChange(until: deadline)
    let result: R
    do throws(DatabaseError) {
      result = try changeAlone(until: deadline, body)
    } catch {
      endChange()
      throw error
    }
    endChange()
    tell()
    return result
  }

  private func changeAlone<R>(
    until deadline: UInt64, _ body: (inout DirectoryState, UInt64) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R {
    let held = try lockFile(until: deadline)
    defer { held.unlock() }
    let old = try read()
    var new = old
    let result = try body(&new, now)
    guard new != old else { return result }
    do throws(StoreError) { try file.replace(new.encoded()) } catch {
      guard error.code == .outcomeUnknown else {
        throw DatabaseError(error, "the cluster's directory could not be written")
      }
      throw DatabaseError(
        .indeterminate, "a change of the cluster's directory may have been made or not", cause: error)
    }
    return result
  }

  private func beginChange(until deadline: UInt64) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in
      while isChanging {
        if !time.wait(on: unlocked, untilMonotonicNanoseconds: deadline), isChanging { throw tooLate() }
      }
      isChanging = true
    }
  }

  private func endChange() {
    lock.withLock {
      isChanging = false
      unlocked.signal()
    }
  }

  private func lockFile(until deadline: UInt64) throws(DatabaseError) -> any FileLock {
    while true {
      let held = try storing("the cluster's directory could not be locked") { () throws(StoreError) in
        try file.lock(Self.lockName)
      }
      if let held { return held }
      let now = time.monotonicNanoseconds
      guard now < deadline else { throw tooLate() }
      // Another process has it, which cannot wake anybody here.
      let pause = min(deadline, now &+ Self.lockPause)
      lock.withLock { _ = time.wait(on: unlocked, untilMonotonicNanoseconds: pause) }
    }
  }

  private func tooLate() -> DatabaseError {
    DatabaseError(.deadlineExceeded, "waited for another's change of the cluster's directory \(file.path)")
  }

  private func tell() {
    if observers.isEmpty { return }
    // What cannot be read now is looked at again soon.
    observers.tell { prefix in try? records(prefix: prefix) }
  }

  private func schedulePoll() {
    let mustSchedule = pollLock.withLock {
      if isClosed || isPolling { return false }
      isPolling = true
      return true
    }
    if mustSchedule { scheduleNext() }
  }

  private func scheduleNext() {
    timers.schedule(atMonotonicNanoseconds: time.monotonicNanoseconds &+ pollNanoseconds) { [weak self] in
      self?.poll()
    }
  }

  private func poll() {
    let goesOn = pollLock.withLock {
      isPolling = !isClosed && !observers.isEmpty
      return isPolling
    }
    guard goesOn else { return }
    tell()
    scheduleNext()
  }

  private static func nanoseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
  }
}
