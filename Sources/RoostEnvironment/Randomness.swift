import Synchronization

/// The system's unpredictable bits.
public final class SystemRandomness: Randomness {
  public init() {}

  public func next() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }
}

/// The SplitMix64 generator: the same seed gives the same numbers, everywhere and for ever.
///
/// Not thread-safe; ``SeededRandomness`` is.
public struct SplitMix64: RandomNumberGenerator, Sendable {
  @usableFromInline var state: UInt64

  @inlinable
  public init(seed: UInt64) { state = seed }

  @inlinable
  public mutating func next() -> UInt64 {
    state &+= Self.increment
    return Self.mix(state)
  }

  @usableFromInline static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

  @inlinable
  static func mix(_ state: UInt64) -> UInt64 {
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// ``SplitMix64`` that threads may share. One thread alone draws the same numbers again for the
/// same seed; several draw the same numbers between them, in whatever order they come.
public final class SeededRandomness: Randomness {
  private let state: Atomic<UInt64>

  public init(seed: UInt64) { state = Atomic(seed) }

  public func next() -> UInt64 {
    let (_, state) = state.wrappingAdd(SplitMix64.increment, ordering: .relaxed)
    return SplitMix64.mix(state)
  }
}
