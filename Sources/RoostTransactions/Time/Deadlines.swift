import RoostCausality

/// When to look after what: one time a key, and the earliest of them quickly.
///
/// A binary heap whose entries may be out of date: a key's time is what the dictionary says. A time that
/// moves back, as most do, leaves the key's entry where it is; it is moved once it is the first. Bounded by
/// about twice the keys that have a time.
struct Deadlines<Key: Hashable & Sendable>: Sendable {
  private struct Entry: Sendable {
    var time: UInt64
    var key: Key
  }

  private struct Due: Sendable {
    var time: UInt64
    /// The time of the entry that stands for the key; not after its own.
    var entered: UInt64
  }

  private var dues: [Key: Due] = [:]
  private var heap: [Entry] = []

  /// - Parameter time: monotonic milliseconds; `nil` for none any more.
  mutating func set(_ key: Key, _ time: UInt64?) {
    guard let time else {
      dues[key] = nil
      return bound()
    }
    if let index = dues.index(forKey: key) {
      if dues.values[index].entered <= time {
        dues.values[index].time = time
        return
      }
      dues.values[index] = Due(time: time, entered: time)
    } else {
      dues[key] = Due(time: time, entered: time)
    }
    push(Entry(time: time, key: key))
    bound()
  }

  var earliest: UInt64? {
    mutating get {
      while let first = heap.first {
        guard let index = dues.index(forKey: first.key), dues.values[index].entered == first.time else {
          pop()
          continue
        }
        let time = dues.values[index].time
        if time == first.time { return time }
        dues.values[index].entered = time
        pop()
        push(Entry(time: time, key: first.key))
      }
      return nil
    }
  }

  /// A key whose time has come; it has none any more.
  mutating func next(at now: UInt64) -> Key? {
    guard let earliest, earliest <= now else { return nil }
    let key = heap[0].key
    pop()
    dues[key] = nil
    return key
  }

  private mutating func bound() {
    if heap.count <= 2 * dues.count + 64 { return }
    // From the heap, not from the dictionary, whose order is another in each run.
    var seen: Set<Key> = []
    let current = heap.filter { dues[$0.key]?.entered == $0.time && seen.insert($0.key).inserted }
    heap.removeAll(keepingCapacity: true)
    for entry in current { push(entry) }
  }

  private mutating func push(_ entry: Entry) {
    heap.append(entry)
    var index = heap.count - 1
    while index > 0, heap[index].time < heap[(index - 1) / 2].time {
      heap.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  private mutating func pop() {
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    var index = 0
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2]
      where child < heap.count && heap[child].time < heap[least].time {
        least = child
      }
      if least == index { return }
      heap.swapAt(index, least)
      index = least
    }
  }
}

extension ProtocolTimes {
  /// What a retry waits after one that waited this long.
  func nextRetry(after milliseconds: UInt64) -> UInt64 {
    min(max(milliseconds, 1) &* 2, max(longestRetryMilliseconds, firstRetryMilliseconds))
  }

  /// Whether a commit at this time may be seen: every clock has passed it.
  func hasPassed(_ timestamp: Timestamp, at now: Instant) -> Bool {
    if now.timestamp <= timestamp { return false }
    return clockBoundMilliseconds == 0
      || now.physicalMilliseconds > timestamp.milliseconds &+ clockBoundMilliseconds
  }

  /// When, on the monotonic clock, to look whether it has passed.
  func passing(_ timestamp: Timestamp, at now: Instant) -> UInt64 {
    let target = timestamp.milliseconds &+ clockBoundMilliseconds &+ 1
    let wait = target > now.physicalMilliseconds ? target - now.physicalMilliseconds : 1
    return now.monotonicMilliseconds &+ wait
  }

  /// Whether a transaction began so long ago that it must be over: nobody keeps in memory whether it
  /// was aborted, so nothing new may be done for it.
  func isOver(_ transaction: TransactionID, at now: Instant) -> Bool {
    transaction.start.milliseconds &+ 2 &* durationMilliseconds &+ clockBoundMilliseconds
      < now.timestamp.milliseconds
  }

  /// Whether outcomes of transactions that began then may have been dropped.
  func isForgotten(_ transaction: TransactionID, at now: Instant) -> Bool {
    transaction.start.milliseconds &+ outcomeRetentionMilliseconds < now.timestamp.milliseconds
  }

  /// Whether a message shows the sender's clock further ahead of ours than clocks may be apart. One
  /// that seems behind may only have taken long to arrive.
  func isAhead(_ envelope: Envelope, at now: Instant, percent: UInt64 = 100) -> Bool {
    guard clockBoundMilliseconds > 0 else { return false }
    let here = now.physicalMilliseconds
    guard envelope.physicalMilliseconds > here else { return false }
    let apart = envelope.physicalMilliseconds - here
    // What is beyond the bound first: the product of any number that a message has may overflow.
    if apart > clockBoundMilliseconds { return true }
    return percent < 100 && apart &* 100 >= clockBoundMilliseconds &* percent
  }
}
