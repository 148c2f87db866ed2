public import RoostCausality
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
  /// After an `.indeterminate` failure it may or may not have counted: see
  /// ``increment(by:operation:_:)``.
  ///
  /// - Throws: `.counterOverflow` (nothing was counted), `.wrongKind`, and as
  ///   ``Keyspace/put(_:_:context:timeToLive:_:)``.
  public func increment(by amount: Int64 = 1, _ durability: Durability? = nil) async throws {
    try await place.change(.increment(amount), durability)
  }

  /// Counts up, or down where `amount` is negative, once, however often it is called with one id: so after
  /// an `.indeterminate` failure, or any other, the same call can be made again.
  ///
  /// ```swift
  /// let operation = database.newOperation()
  /// try await likes.increment(operation: operation)    // and again, until it throws nothing
  /// ```
  ///
  /// An attempt is taken until five minutes after the id was made, at any replica; one that comes later is
  /// refused, unless it is recognised. Attempts that replicas took without reaching each other are counted
  /// once as soon as their states have met. Two cases are left: attempts in two databases that exchange
  /// states, of which each forgets the id for itself; and an attempt that a store lost in a crash before its
  /// sync, of which nothing but a hint is left that is handed over after the id was forgotten.
  ///
  /// A delete that sees only one of several attempts leaves the others, as one that races an increment does.
  ///
  /// - Parameters:
  ///   - amount: the same in each attempt.
  ///   - operation: made by ``Database/newOperation()``, once for all attempts; another process may go on
  ///     with it, by its text.
  /// - Throws: `.operationExpired` (the id is older, and not recognised: it may have counted, or not; read
  ///   the counter), `.clockOutOfBound` (it lies in the future), `.busy` (the counter remembers 4,096 such
  ///   increments, and cannot forget any yet), and as ``increment(by:_:)``.
  /// - Complexity: reads the key from its other replicas first; until they are forgotten the increments stand
  ///   in the record, some 30 bytes each.
  public func increment(
    by amount: Int64 = 1, operation: OperationID, _ durability: Durability? = nil
  ) async throws {
    try await place.count(amount, once: operation, durability)
  }
}

extension Database {
  /// An id for an increment that is begun now; see ``CounterHandle/increment(by:operation:_:)``.
  public func newOperation() -> OperationID { core.shared.newOperation() }
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
