/// Moments and the numbers that they belong to, the soonest first: a binary heap. What is struck off stays in
/// it until its moment, or until there is more of that than of the rest.
///
/// A value of one thread. Adding and taking are O(log n).
struct DeadlineQueue {
  private struct Entry {
    var time: UInt64
    var number: UInt64
  }

  private var heap: [Entry] = []

  var count: Int { heap.count }

  /// The soonest, which may have been struck off.
  var first: UInt64? { heap.first?.time }

  mutating func add(_ number: UInt64, at time: UInt64) {
    heap.append(Entry(time: time, number: number))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if heap[parent].time <= heap[child].time { break }
      heap.swapAt(parent, child)
      child = parent
    }
  }

  /// Takes the soonest, if it is due.
  mutating func take(until now: UInt64) -> UInt64? {
    guard let top = heap.first, top.time <= now else { return nil }
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    sink(0)
    return top.number
  }

  /// Drops what was struck off, where that is most of it.
  ///
  /// - Parameter live: how many are not struck off.
  mutating func tidy(live: Int, _ isLive: (UInt64) -> Bool) {
    if heap.count < 64 || heap.count < live * 2 { return }
    heap = heap.filter { isLive($0.number) }
    for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(index) }
  }

  private mutating func sink(_ start: Int) {
    var parent = start
    while true {
      var least = parent
      for child in [parent * 2 + 1, parent * 2 + 2]
      where child < heap.count && heap[child].time < heap[least].time { least = child }
      if least == parent { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
