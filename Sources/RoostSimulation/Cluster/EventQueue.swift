/// What happens in a simulated cluster, as its trace tells it. A plain value.
struct EventLabel: Sendable {
  enum Kind: UInt8, Sendable {
    case work, request, answer, timeout, heartbeat, beat, tick, call, step, disconnect, alarm
  }

  var kind: Kind
  /// The number of the host that it comes from, and of the one that it happens at.
  var from: Int
  var to: Int
  /// What else tells it from others: the lane of a job, the checksum of a message.
  var detail: UInt64 = 0
}

/// What is to happen, in order of time; of two at one time the one that was planned first. A binary heap.
struct EventQueue {
  struct Event {
    /// Of the master clock, in nanoseconds.
    var time: UInt64
    var number: UInt64
    var label: EventLabel
    /// Of the message that it brings.
    var byteCount: Int
    var action: @Sendable () -> Void

    func isBefore(_ other: Event) -> Bool {
      time != other.time ? time < other.time : number < other.number
    }
  }

  private var heap: [Event] = []
  private var nextNumber: UInt64 = 0
  /// Of the messages in it.
  private(set) var byteCount = 0

  var count: Int { heap.count }
  var nextTime: UInt64? { heap.first?.time }

  /// - Complexity: O(log n).
  mutating func plan(
    at time: UInt64, _ label: EventLabel, byteCount: Int = 0, _ action: @escaping @Sendable () -> Void
  ) {
    nextNumber += 1
    self.byteCount += byteCount
    heap.append(
      Event(time: time, number: nextNumber, label: label, byteCount: byteCount, action: action))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].isBefore(heap[parent]) else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// Takes the next one out.
  ///
  /// - Complexity: O(log n).
  mutating func next() -> Event? {
    guard let last = heap.popLast() else { return nil }
    guard let first = heap.first else {
      byteCount -= last.byteCount
      return last
    }
    byteCount -= first.byteCount
    heap[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < heap.count && heap[child].isBefore(heap[least]) { least = child }
      if least == parent { break }
      heap.swapAt(least, parent)
      parent = least
    }
    return first
  }

  mutating func removeAll() {
    heap = []
    byteCount = 0
  }
}

/// A running FNV-1a checksum of 64 bits: over the events of a simulation, or the bytes of a message.
struct TraceHash {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(byte: UInt8) { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }

  mutating func add(_ word: UInt64) {
    for shift in stride(from: 0 as UInt64, to: 64, by: 8) {
      add(byte: UInt8(truncatingIfNeeded: word >> shift))
    }
  }

  mutating func add(_ bytes: [UInt8]) { for byte in bytes { add(byte: byte) } }

  mutating func add(_ label: EventLabel, at time: UInt64) {
    add(time)
    add(byte: label.kind.rawValue)
    add(byte: UInt8(truncatingIfNeeded: label.from))
    add(byte: UInt8(truncatingIfNeeded: label.to))
    add(label.detail)
  }
}
