public import RoostCausality
public import RoostCluster
public import RoostStorage

// `Codable` values. They are told from bytes and text by the argument's label, because String and
// [UInt8] are both.

extension Keyspace {
  /// Writes a value that the keyspace's ``codec`` encodes; else as
  /// ``put(_:_:context:timeToLive:_:)``.
  ///
  /// - Throws: `.codec`, and as there.
  @discardableResult
  public func put(
    _ key: some ByteKey & Sendable, value: some Encodable, context: CausalContext? = nil,
    timeToLive: Duration? = nil, _ durability: Durability? = nil
  ) async throws -> CausalContext {
    try await put(
      key, try codec.encoded(value), context: context, timeToLive: timeToLive, durability)
  }

  /// Writes a value that the keyspace's ``codec`` encodes, if nothing was written to the key since
  /// `context` was read; else as ``put(_:_:ifUnchangedSince:timeToLive:_:)``.
  ///
  /// - Throws: `.codec`, and as there.
  @discardableResult
  public func put(
    _ key: some ByteKey & Sendable, value: some Encodable, ifUnchangedSince context: CausalContext,
    timeToLive: Duration? = nil, _ durability: Durability? = nil
  ) async throws -> CausalContext {
    try await put(
      key, try codec.encoded(value), ifUnchangedSince: context, timeToLive: timeToLive, durability)
  }

  /// Reads a key's one value, decoded by the keyspace's ``codec``.
  ///
  /// - Returns: `nil` where the key has no value.
  /// - Throws: `.codec` (the bytes are no such value); `.severalValues` (concurrent writes left
  ///   siblings: ``Read/values(as:_:)`` of a ``get(_:)`` shows them all); and as ``get(_:)``.
  public func get<Value: Decodable>(
    _ key: some ByteKey & Sendable, as type: Value.Type
  ) async throws -> Value? {
    let siblings = try await get(key).siblings
    if siblings.count > 1 {
      throw DatabaseError(
        .severalValues,
        "the key holds \(siblings.count) concurrent values: read them all, and write one with the "
          + "context of that read")
    }
    return try siblings.first.map { sibling throws(DatabaseError) in
      try codec.decoded(type, sibling.value)
    }
  }
}

extension Read {
  /// All values, decoded: several where concurrent writes left siblings.
  ///
  /// - Parameter codec: what the values were encoded with.
  /// - Throws: ``DatabaseError`` with code `.codec` where one of them is no such value.
  public func values<Value: Decodable>(
    as type: Value.Type, _ codec: any Codec = .json
  ) throws(DatabaseError) -> [Value] {
    var decoded: [Value] = []
    for sibling in siblings { decoded.append(try codec.decoded(type, sibling.value)) }
    return decoded
  }
}
