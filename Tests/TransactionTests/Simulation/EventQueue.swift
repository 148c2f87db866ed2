/// What is still to happen in a simulation, in the order of its time, and of its making within one
/// moment: so one seed gives one order.
struct EventQueue {
  private struct Entry {
    var time: UInt64
    var number: UInt64
    var action: () -> Void

    func precedes(_ other: Entry) -> Bool {
      time != other.time ? time < other.time : number < other.number
    }
  }

  /// Microseconds of true time, which no node can see.
  private(set) var now: UInt64 = 0
  private var heap: [Entry] = []
  private var count: UInt64 = 0

  var nextTime: UInt64? { heap.first?.time }

  mutating func schedule(after microseconds: UInt64, _ action: @escaping () -> Void) {
    count += 1
    heap.append(Entry(time: now + microseconds, number: count, action: action))
    var index = heap.count - 1
    while index > 0, heap[index].precedes(heap[(index - 1) / 2]) {
      heap.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  /// Takes the next event out and goes to its time.
  mutating func next() -> (() -> Void)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      sink()
    }
    now = first.time
    return first.action
  }

  /// Lets time pass in which nothing happens.
  mutating func advance(to time: UInt64) { now = max(now, time) }

  private mutating func sink() {
    var index = 0
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2]
      where child < heap.count && heap[child].precedes(heap[least]) {
        least = child
      }
      if least == index { return }
      heap.swapAt(index, least)
      index = least
    }
  }
}
