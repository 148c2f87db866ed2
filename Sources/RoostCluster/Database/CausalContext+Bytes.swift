public import RoostCausality

// Contexts as programs keep them, send them and hand them back: sealed tokens of their payload.

extension CausalContext {
  /// The context as bytes, to be kept or sent; some ten bytes and ten to eighteen more a store that
  /// wrote the key.
  public var bytes: [UInt8] {
    var payload: [UInt8] = []
    encode(into: &payload)
    return SealedToken.seal(.context, payload)
  }

  /// The context that ``bytes`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(bytes: [UInt8]) throws(DatabaseError) {
    let payload = try SealedToken.open(.context, bytes)
    do throws(CausalityError) { try self.init(decoding: payload.rawSpan) } catch {
      throw DatabaseError(
        error.code == .newerFormat ? .newerFormat : .damagedToken, "a context token: \(error)")
    }
  }

  /// The context as text of letters, digits, dashes and underscores (base64 for URLs, RFC 4648).
  public var text: String { Base64.encode(bytes) }

  /// The context that ``text`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(text: String) throws(DatabaseError) {
    guard let bytes = Base64.decode(text) else {
      throw DatabaseError(.damagedToken, "a context token's text is no base64")
    }
    try self.init(bytes: bytes)
  }
}
