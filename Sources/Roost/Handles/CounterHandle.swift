import RoostCausality
import RoostCluster
import RoostStorage

/// A counter that goes up and down, incremented at any replica: concurrent increments add up.
///
/// A delete that races an increment leaves the racing store's whole total.
public struct CounterHandle<Key: ByteKey & Sendable>: Sendable {
  let keyspace: Keyspace
  public let key: Key

  /// What all increments add up to; 0 where the key is absent.
  ///
  /// - Throws: `.wrongKind`, `.counterOverflow` (the sum of all stores does not fit 64 bits), and as
  ///   ``Keyspace/get(_:)``.
  public func value() async throws -> Int64 {
    let counter = try key.withKeyBytes { key throws(DatabaseError) in
      try keyspace.core.state(key, PNCounter.self)
    }
    return try causally { () throws(CausalityError) in try counter.value() }
  }

  /// Counts up, or down where `amount` is negative. 0 makes the counter where it is missing.
  ///
  /// After an `.indeterminate` failure it may or may not have counted.
  ///
  /// - Throws: `.counterOverflow` (nothing was counted), `.wrongKind`, and as
  ///   ``Keyspace/put(_:_:context:timeToLive:_:)``.
  public func increment(by amount: Int64 = 1, _ durability: Durability? = nil) async throws {
    let core = keyspace.core
    try await keyspace.write(key, durability) { key throws(DatabaseError) in
      try core.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: amount, dot: stamp.dot)
      }
    }
  }
}

/// A counter that only goes up; see ``CounterHandle``.
public struct GrowOnlyCounterHandle<Key: ByteKey & Sendable>: Sendable {
  let keyspace: Keyspace
  public let key: Key

  /// What all increments add up to; 0 where the key is absent.
  ///
  /// - Throws: as ``CounterHandle/value()``.
  public func value() async throws -> UInt64 {
    let counter = try key.withKeyBytes { key throws(DatabaseError) in
      try keyspace.core.state(key, GCounter.self)
    }
    return try causally { () throws(CausalityError) in try counter.value() }
  }

  /// Counts up.
  ///
  /// - Throws: as ``CounterHandle/increment(by:_:)``.
  public func increment(by amount: UInt64 = 1, _ durability: Durability? = nil) async throws {
    let core = keyspace.core
    try await keyspace.write(key, durability) { key throws(DatabaseError) in
      try core.change(key, GCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: amount, dot: stamp.dot)
      }
    }
  }
}
