import RoostEnvironment

/// Where the log goes on when a segment is full: called by the log writer, under the commit leader.
final class LogRoller: @unchecked Sendable {
  private let log: LogSet
  private let time: any TimeSource
  private let deadline: UInt64
  private weak var store: Store?

  init(_ log: LogSet, _ time: any TimeSource, _ deadline: UInt64) {
    self.log = log
    self.time = time
    self.deadline = deadline
  }

  func attach(_ store: Store) { self.store = store }

  /// A segment that the manifest names, before anything in it is acknowledged.
  func next(minimumCapacity: Int) throws(StoreError) -> LogSegment {
    guard let store else { throw StoreError(.closed, "the store is closed") }
    let segment = try log.next(
      minimumCapacity: minimumCapacity, deadline: time.monotonicNanoseconds &+ deadline)
    // Where this throws, the next try makes another.
    try store.installing.withLock { () throws(StoreError) in
      let record = LogRecord(number: segment.number, salt: segment.salt, capacity: segment.capacity)
      try store.commitEdits(
        [.nextFileNumber(store.fileNumbers.load()), .logAdded(record)], segment)
    }
    log.adopt(segment)
    if log.liveBytes > store.options.logLimitBytes { store.pressure.setLogFull() }
    return segment
  }
}
