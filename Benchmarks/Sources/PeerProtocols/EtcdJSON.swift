/// The bodies of etcd's gateway for a put and a get of one key: JSON with keys and values in base64, written
/// and searched by hand, so that a client's time is not a JSON library's.
public enum EtcdJSON {
  /// Of `/v3/kv/put`.
  public static func put(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
    Array("{\"key\":\"".utf8) + Base64.encode(key) + Array("\",\"value\":\"".utf8) + Base64.encode(value)
      + Array("\"}".utf8)
  }

  /// Of `/v3/kv/range`: one key, linearizable.
  public static func get(_ key: [UInt8]) -> [UInt8] {
    Array("{\"key\":\"".utf8) + Base64.encode(key) + Array("\"}".utf8)
  }

  /// The value in the answer to a get of one key; `nil` where the key is absent. etcd leaves an empty value
  /// out: it is not told from that.
  public static func value(in answer: [UInt8]) -> [UInt8]? {
    let name = Array("\"value\":\"".utf8)
    guard let start = answer.firstRange(of: name)?.upperBound,
      let end = answer[start...].firstIndex(of: UInt8(ascii: "\""))
    else { return nil }
    return Base64.decode(answer[start..<end])
  }
}

/// RFC 4648's base64, with padding.
public enum Base64 {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  /// What each byte stands for; 255 for none.
  private static let meaning: [UInt8] = {
    var meaning = [UInt8](repeating: 255, count: 256)
    for (number, byte) in alphabet.enumerated() { meaning[Int(byte)] = UInt8(number) }
    return meaning
  }()

  public static func encode(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let left = min(3, bytes.count - start)
      var word: UInt32 = 0
      for place in 0..<3 { word = word << 8 | (place < left ? UInt32(bytes[start + place]) : 0) }
      for place in 0..<4 {
        text.append(
          place <= left ? alphabet[Int(word >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
      }
    }
    return text
  }

  /// - Returns: `nil` for what is no base64.
  public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    var (word, digits, padding) = (UInt32(0), 0, 0)
    for byte in text {
      if byte == UInt8(ascii: "=") {
        padding += 1
        word <<= 6
      } else {
        let digit = meaning[Int(byte)]
        guard digit != 255, padding == 0 else { return nil }
        word = word << 6 | UInt32(digit)
      }
      digits += 1
      guard digits == 4 else { continue }
      guard padding <= 2 else { return nil }
      for place in 0..<(3 - padding) {
        bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(16 - 8 * place)))
      }
      (word, digits) = (0, 0)
    }
    return bytes
  }
}
