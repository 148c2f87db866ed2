import RoostCausality
import RoostCluster
public import RoostStorage

/// A value of which the last writer wins, by hybrid logical time.
///
/// Unlike a plain value of a keyspace that keeps siblings it always reads as one, and it can be a
/// field of a map.
public struct RegisterHandle<Key: ByteKey & Sendable>: Sendable {
  let place: StatePlace<Key>

  /// The value; `nil` where nothing was assigned.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/get(_:)``.
  public func value() async throws -> [UInt8]? { try await place.read(LWWRegister.self).value }

  /// The value as text; bytes that are not UTF-8 show as U+FFFD.
  ///
  /// - Throws: as ``value()``.
  public func text() async throws -> String? {
    try await place.read(LWWRegister.self).value.map { String(decoding: $0, as: UTF8.self) }
  }

  /// The value, decoded by the keyspace's codec; `nil` where nothing was assigned.
  ///
  /// - Throws: `.codec` (the bytes are no such value), and as ``value()``.
  public func value<Value: Decodable>(as type: Value.Type) async throws -> Value? {
    guard let bytes = try await place.read(LWWRegister.self).value else { return nil }
    return try place.keyspace.codec.decoded(type, bytes)
  }

  /// Assigns a value, in the place of what is there.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/put(_:_:context:timeToLive:_:)``.
  public func assign(
    _ value: some ByteValue & Sendable, _ durability: Durability? = nil
  ) async throws {
    try await assign(bytes: bytes(of: value), durability)
  }

  /// Assigns a value that the keyspace's codec encodes.
  ///
  /// - Throws: `.codec`, and as ``assign(_:_:)``.
  public func assign(value: some Encodable, _ durability: Durability? = nil) async throws {
    try await assign(bytes: try place.keyspace.codec.encoded(value), durability)
  }

  /// Takes the value away, as if nothing had been assigned.
  ///
  /// - Throws: as ``assign(_:_:)``.
  public func clear(_ durability: Durability? = nil) async throws {
    try await place.change(.clear, durability)
  }

  private func assign(bytes: [UInt8], _ durability: Durability?) async throws {
    try await place.change(.assign(bytes), durability)
  }
}
