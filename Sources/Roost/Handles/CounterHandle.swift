import RoostCausality
import RoostCluster
public import RoostStorage

/// A counter that goes up and down, incremented at any replica: concurrent increments add up.
///
/// A delete that races an increment leaves the racing store's whole total.
public struct CounterHandle<Key: ByteKey & Sendable>: Sendable {
  let place: StatePlace<Key>

  /// What all increments add up to; 0 where the key is absent.
  ///
  /// - Throws: `.wrongKind`, `.counterOverflow` (the sum of all stores does not fit 64 bits), and as
  ///   ``Keyspace/get(_:)``.
  public func value() async throws -> Int64 {
    let counter = try await place.read(PNCounter.self)
    return try causally { () throws(CausalityError) in try counter.value() }
  }

  /// Counts up, or down where `amount` is negative. 0 makes the counter where it is missing.
  ///
  /// After an `.indeterminate` failure it may or may not have counted.
  ///
  /// - Throws: `.counterOverflow` (nothing was counted), `.wrongKind`, and as
  ///   ``Keyspace/put(_:_:context:timeToLive:_:)``.
  public func increment(by amount: Int64 = 1, _ durability: Durability? = nil) async throws {
    try await place.change(.increment(amount), durability)
  }
}

/// A counter that only goes up; see ``CounterHandle``.
public struct GrowOnlyCounterHandle<Key: ByteKey & Sendable>: Sendable {
  let place: StatePlace<Key>

  /// What all increments add up to; 0 where the key is absent.
  ///
  /// - Throws: as ``CounterHandle/value()``.
  public func value() async throws -> UInt64 {
    let counter = try await place.read(GCounter.self)
    return try causally { () throws(CausalityError) in try counter.value() }
  }

  /// Counts up.
  ///
  /// - Throws: as ``CounterHandle/increment(by:_:)``.
  public func increment(by amount: UInt64 = 1, _ durability: Durability? = nil) async throws {
    try await place.change(.countUp(amount), durability)
  }
}
