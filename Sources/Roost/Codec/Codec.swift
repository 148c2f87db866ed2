import RoostCluster

/// Turns `Codable` values into the bytes that a keyspace stores, and back.
///
/// A keyspace's is ``Keyspace/codec``, JSON unless another is set. Nothing on disk says which one
/// wrote a value: whoever reads must use the same.
public protocol Codec: Sendable {
  /// - Throws: anything; callers see `.codec` with its text.
  func encode<Value: Encodable>(_ value: Value) throws -> [UInt8]

  /// - Throws: anything; callers see `.codec` with its text.
  func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value
}

extension Codec where Self == JSONCodec {
  /// JSON with sorted keys.
  public static var json: JSONCodec { JSONCodec() }
}

extension Codec {
  func encoded(_ value: some Encodable) throws(DatabaseError) -> [UInt8] {
    do { return try encode(value) } catch {
      throw DatabaseError(.codec, "a value of \(type(of: value)) could not be encoded: \(error)")
    }
  }

  func decoded<Value: Decodable>(
    _ type: Value.Type, _ bytes: [UInt8]
  ) throws(DatabaseError) -> Value {
    do { return try decode(type, from: bytes) } catch {
      throw DatabaseError(
        .codec, "\(bytes.count) bytes could not be decoded as \(type): \(error)")
    }
  }
}
