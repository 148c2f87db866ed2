/// splitmix64's finaliser: a permutation of the 64-bit numbers that looks random.
@inline(__always)
func mix(_ number: UInt64) -> UInt64 {
  var z = number
  z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
  return z ^ (z >> 31)
}

/// A run of bytes that someone else keeps alive and leaves alone, also while a task that uses it waits.
struct Bytes: @unchecked Sendable {
  let start: UnsafeRawPointer
  let count: Int

  @inline(__always)
  var characters: UnsafePointer<CChar> { start.assumingMemoryBound(to: CChar.self) }
}

/// Reads all bytes of a value: what a benchmark's loop does with what it gets, so that no engine is paid
/// for bytes it did not deliver. The sum is compared with the expected one after the clock has stopped.
@inline(__always)
func consume(_ start: UnsafeRawPointer, _ count: Int) -> UInt64 {
  var sum: UInt64 = UInt64(truncatingIfNeeded: count)
  var offset = 0
  while offset &+ 8 <= count {
    sum &+= start.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    offset &+= 8
  }
  while offset < count {
    sum &+= UInt64(start.load(fromByteOffset: offset, as: UInt8.self))
    offset &+= 1
  }
  return sum
}

/// One key, written in place again and again: an 8-byte big-endian number and eight times '0'.
///
/// Not thread-safe: each thread has its own.
struct KeyBuffer: ~Copyable {
  static let count = 16
  private let start: UnsafeMutableRawPointer

  /// - Parameter absent: end the key in '1's: such keys lie between those of a store and are never put.
  init(absent: Bool = false) {
    start = .allocate(byteCount: Self.count, alignment: 8)
    let filler: UInt8 = absent ? UInt8(ascii: "1") : UInt8(ascii: "0")
    start.initializeMemory(as: UInt8.self, repeating: filler, count: Self.count)
  }

  deinit { start.deallocate() }

  @inline(__always)
  func callAsFunction(_ number: UInt64) -> Bytes {
    start.storeBytes(of: number.bigEndian, as: UInt64.self)
    return Bytes(start: UnsafeRawPointer(start), count: Self.count)
  }
}

/// The values: 100 bytes each, half compressible (50 random printable bytes, repeated).
///
/// Which one belongs to a key follows from the key's number and from how often it was put, so every read
/// can be checked. Immutable once made, hence safe to share among threads.
final class ValuePool: @unchecked Sendable {
  static let valueBytes = 100
  private static let slots: UInt64 = 1 << 14

  private let start: UnsafeMutableRawPointer
  private let sums: UnsafeMutablePointer<UInt64>

  init() {
    let count = Int(Self.slots)
    start = .allocate(byteCount: count * Self.valueBytes, alignment: 8)
    sums = .allocate(capacity: count)
    var state: UInt64 = 0x526F_6F73_7421
    for slot in 0..<count {
      let base = start + slot * Self.valueBytes
      for position in 0..<(Self.valueBytes / 2) {
        state &+= 0x9E37_79B9_7F4A_7C15
        let printable = UInt8(32 + mix(state) % 95)
        base.storeBytes(of: printable, toByteOffset: position, as: UInt8.self)
        base.storeBytes(of: printable, toByteOffset: position + Self.valueBytes / 2, as: UInt8.self)
      }
      sums[slot] = consume(base, Self.valueBytes)
    }
  }

  deinit {
    start.deallocate()
    sums.deallocate()
  }

  @inline(__always)
  private func slot(_ number: UInt64, _ generation: UInt64) -> Int {
    Int(truncatingIfNeeded: (number &+ generation &* 7919) & (Self.slots &- 1))
  }

  @inline(__always)
  func callAsFunction(_ number: UInt64, generation: UInt64 = 0) -> Bytes {
    Bytes(
      start: UnsafeRawPointer(start + slot(number, generation) &* Self.valueBytes),
      count: Self.valueBytes)
  }

  /// What ``consume(_:_:)`` gives for that value.
  func sum(_ number: UInt64, generation: UInt64 = 0) -> UInt64 { sums[slot(number, generation)] }
}

/// What a store must hold: which key numbers are there, and which were put a second time.
struct Model {
  struct Totals: Equatable {
    var count: UInt64 = 0
    var keys: UInt64 = 0
    var values: UInt64 = 0
  }

  let count: UInt64
  private var present: [UInt64]
  private var second: [UInt64]

  init(count: UInt64) {
    self.count = count
    present = Array(repeating: 0, count: Int(count / 64 + 1))
    second = present
  }

  mutating func put(_ number: UInt64, generation: UInt64 = 0) {
    let (word, bit) = (Int(number / 64), UInt64(1) << (number % 64))
    present[word] |= bit
    if generation == 0 { second[word] &= ~bit } else { second[word] |= bit }
  }

  func contains(_ number: UInt64) -> Bool { present[Int(number / 64)] & (1 << (number % 64)) != 0 }

  func generation(_ number: UInt64) -> UInt64 { second[Int(number / 64)] >> (number % 64) & 1 }

  func totals(_ values: ValuePool) -> Totals {
    var totals = Totals()
    for number in 0..<count where contains(number) {
      totals.count += 1
      totals.keys &+= number
      totals.values &+= values.sum(number, generation: generation(number))
    }
    return totals
  }

  /// The keys that `fillrandom` puts.
  static func filledAtRandom(_ count: UInt64) -> Model {
    var model = Model(count: count)
    for i in 0..<count { model.put(mix(i) % count) }
    return model
  }
}
