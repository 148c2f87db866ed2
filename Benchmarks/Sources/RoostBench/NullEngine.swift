/// Stores nothing and answers at once: what it takes is what the driver itself costs.
final class NullEngine: Engine {
  private let count: UInt64

  static var stores: Bool { false }

  init(directory: String, settings: Settings) { count = settings.count }

  @inline(never) func put(_ key: Bytes, _ value: Bytes) {}
  @inline(never) func putSynced(_ key: Bytes, _ value: Bytes) {}
  @inline(never) func delete(_ key: Bytes) {}

  @inline(__always)
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) {
    for i in 0..<count { put(key(i), value(i)) }
  }

  @inline(never) func get(_ key: Bytes) -> UInt64? { consume(key.start, key.count) }
  func settle() {}
  func close() {}
  func cursor() -> Cursor { Cursor(count: count) }

  struct Cursor: EngineCursor, ~Copyable {
    private let count: UInt64
    private var position: UInt64 = 0

    init(count: UInt64) { self.count = count }

    @inline(never) mutating func seek(_ key: Bytes) -> Bool {
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
    @inline(never) mutating func next() -> Bool {
      position &+= 1
      return position < count
    }
    @inline(never) mutating func previous() -> Bool {
      position &-= 1
      return position < count
    }
    var keyNumber: UInt64 { position }
    var valueSum: UInt64 { 1 }
  }
}
