/// Stores nothing and answers at once, but reads every byte it is given and hands out values to be read: what
/// it takes is what the driver itself costs.
final class NullEngine: Engine, @unchecked Sendable {
  private let count: UInt64
  private let values = ValuePool()
  /// Keeps the optimiser from dropping what is read. Threads may race on it: its value means nothing.
  private let sink = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)

  static var stores: Bool { false }

  init(directory: String, settings: Settings) {
    count = settings.count
    sink.initialize(to: 0)
  }

  deinit { sink.deallocate() }

  @inline(never)
  func put(_ key: Bytes, _ value: Bytes) {
    sink.pointee = consume(key.start, key.count) &+ consume(value.start, value.count)
  }

  func putSynced(_ key: Bytes, _ value: Bytes) { put(key, value) }
  @inline(never) func delete(_ key: Bytes) { sink.pointee = consume(key.start, key.count) }

  @inline(__always)
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) {
    for i in 0..<count { put(key(i), value(i)) }
  }

  @inline(never)
  func get(_ key: Bytes) -> UInt64? {
    let number = numberOfKey(key.start)
    guard number < count else { return nil }
    let value = values(number)
    return consume(value.start, value.count)
  }

  func settle() {}
  func close() {}
  func cursor() -> Cursor { Cursor(count: count, values: values) }

  struct Cursor: EngineCursor, ~Copyable {
    private let count: UInt64
    private let values: ValuePool
    private var position: UInt64 = 0

    init(count: UInt64, values: ValuePool) {
      self.count = count
      self.values = values
    }

    @inline(never)
    mutating func seek(_ key: Bytes) -> Bool {
      position = numberOfKey(key.start)
      return position < count
    }
    mutating func first() -> Bool {
      position = 0
      return count > 0
    }
    mutating func last() -> Bool {
      position = count &- 1
      return count > 0
    }
    @inline(never)
    mutating func next() -> Bool {
      position &+= 1
      return position < count
    }
    @inline(never)
    mutating func previous() -> Bool {
      position &-= 1
      return position < count
    }
    var keyNumber: UInt64 { position }
    var valueSum: UInt64 {
      let value = values(position)
      return consume(value.start, value.count)
    }
  }
}
