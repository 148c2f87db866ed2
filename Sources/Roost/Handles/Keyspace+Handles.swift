import RoostStorage

// The typed handles: a key and what it is used as. Making one costs nothing and touches nothing.

extension Keyspace {
  /// The key as a counter that goes up and down.
  public func counter<Key: ByteKey & Sendable>(_ key: Key) -> CounterHandle<Key> {
    CounterHandle(keyspace: self, key: key)
  }

  /// The key as a counter that only goes up.
  public func growOnlyCounter<Key: ByteKey & Sendable>(_ key: Key) -> GrowOnlyCounterHandle<Key> {
    GrowOnlyCounterHandle(keyspace: self, key: key)
  }
}
