public import RoostStorage

// The typed handles: a key and what it is used as. Making one costs nothing and touches nothing.

extension Keyspace {
  /// The key as a counter that goes up and down.
  public func counter<Key: ByteKey & Sendable>(_ key: Key) -> CounterHandle<Key> {
    CounterHandle(place: place(key))
  }

  /// The key as a counter that only goes up.
  public func growOnlyCounter<Key: ByteKey & Sendable>(_ key: Key) -> GrowOnlyCounterHandle<Key> {
    GrowOnlyCounterHandle(place: place(key))
  }

  /// The key as a register: one value, of which the last writer wins.
  public func register<Key: ByteKey & Sendable>(_ key: Key) -> RegisterHandle<Key> {
    RegisterHandle(place: place(key))
  }

  /// The key as a flag.
  public func flag<Key: ByteKey & Sendable>(_ key: Key) -> FlagHandle<Key> {
    FlagHandle(place: place(key))
  }

  /// The key as a set of byte strings.
  public func set<Key: ByteKey & Sendable>(_ key: Key) -> SetHandle<Key> {
    SetHandle(place: place(key))
  }

  /// The key as a map of named fields.
  public func map<Key: ByteKey & Sendable>(_ key: Key) -> MapHandle<Key> {
    MapHandle(keyspace: self, key: key)
  }

  private func place<Key: ByteKey & Sendable>(_ key: Key) -> StatePlace<Key> {
    StatePlace(keyspace: self, key: key, field: nil)
  }
}
