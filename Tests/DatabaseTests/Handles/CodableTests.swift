import Roost
import RoostSimulation
import Testing

/// Values of the program's own types, and contexts as bytes.
// Budget: 2 s
@Suite struct CodableTests {
  private struct Song: Codable, Equatable {
    var title: String
    var artist: String
    var seconds: Int
  }

  /// A codec of the program's own: what an integer is, in ones.
  private struct TallyCodec: Codec {
    struct NoTally: Error {}
    func encode<Value: Encodable>(_ value: Value) throws -> [UInt8] {
      guard let number = value as? Int else { throw NoTally() }
      return [UInt8](repeating: UInt8(ascii: "|"), count: number)
    }
    func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
      guard let value = bytes.count as? Value else { throw NoTally() }
      return value
    }
  }

  private func songs() async throws -> Keyspace {
    try await Databases.open().keyspace("songs", .eventual)
  }

  @Test func `a value comes back as it was put`() async throws {
    let songs = try await songs()
    let song = Song(title: "So What", artist: "Miles Davis", seconds: 562)
    try await songs.put("s:1", value: song)
    #expect(try await songs.get("s:1", as: Song.self) == song)
    #expect(try await songs.get("s:2", as: Song.self) == nil)
    // Sorted keys: equal values are equal bytes.
    #expect(
      try await songs.get("s:1").text == #"{"artist":"Miles Davis","seconds":562,"title":"So What"}"#)
    try await songs.put("n", value: 7)
    try await songs.put("t", value: "text")
    try await songs.put("t", "text", context: try await songs.get("t").context)
    #expect(try await songs.get("n", as: Int.self) == 7)
    // A String without the label is its bytes; with it, JSON.
    #expect(try await songs.get("t").text == "text")
    try await songs.register("r").assign(value: song)
    #expect(try await songs.register("r").value(as: Song.self) == song)
    #expect(try await songs.map("m").register("r").value(as: Song.self) == nil)
    try await songs.map("m").register("r").assign(value: [1, 2])
    #expect(try await songs.map("m").register("r").value(as: [Int].self) == [1, 2])
  }

  @Test func `siblings are an array of values`() async throws {
    let songs = try await songs()
    try await songs.put("n", value: 1)
    try await songs.put("n", value: 2)
    let error = await databaseError { _ = try await songs.get("n", as: Int.self) }
    #expect(error?.code == .severalValues)
    #expect(error?.message.contains("2 concurrent values") == true)
    let read = try await songs.get("n")
    #expect(try read.values(as: Int.self).sorted() == [1, 2])
    let context = try await songs.put("n", value: 3, context: read.context)
    #expect(try await songs.get("n", as: Int.self) == 3)
    try await songs.put("n", value: 4, ifUnchangedSince: context)
    #expect(await code { try await songs.put("n", value: 5, ifUnchangedSince: context) } == .conditionFailed)
    #expect(try await songs.get("n", as: Int.self) == 4)
  }

  @Test func `bytes that are no such value are an error that says why`() async throws {
    let songs = try await songs()
    try await songs.put("s", "{\"title\": 3}")
    let error = await databaseError { _ = try await songs.get("s", as: Song.self) }
    #expect(error?.code == .codec)
    #expect(error?.message.contains("Song") == true)
    #expect(error?.message.contains("title") == true)
    let read = try await songs.get("s")
    #expect(await code { _ = try read.values(as: Int.self) } == .codec)
    try await songs.register("r").assign("no JSON")
    #expect(await code { _ = try await songs.register("r").value(as: Int.self) } == .codec)
    #expect(await code { try await songs.put("s", value: Double.nan) } == .codec)
  }

  @Test func `a program may bring its own codec`() async throws {
    var songs = try await songs()
    songs.codec = TallyCodec()
    try await songs.put("n", value: 3)
    #expect(try await songs.get("n").text == "|||")
    #expect(try await songs.get("n", as: Int.self) == 3)
    #expect(try await songs.get("n").values(as: Int.self, TallyCodec()) == [3])
    let error = await databaseError { try await songs.put("n", value: "x") }
    #expect(error?.code == .codec)
    #expect(error?.message.contains("NoTally") == true)
  }

  @Test func `a context survives as bytes and as text`() async throws {
    let songs = try await songs()
    try await songs.put("a", "1")
    try await songs.put("a", "2")
    let own = try await songs.put("a", "3")
    for context in [try await songs.get("a").context, try await songs.get("b").context, own] {
      #expect(try CausalContext(bytes: context.bytes) == context)
      #expect(try CausalContext(text: context.text) == context)
      #expect(context.text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) })
    }
    let context = try CausalContext(bytes: try await songs.get("a").context.bytes)
    try await songs.put("a", "merged", context: context)
    #expect(try await songs.get("a").text == "merged")
  }

  @Test func `a damaged context is refused`() async throws {
    let songs = try await songs()
    try await songs.put("a", "1")
    try await songs.put("a", "2")
    let own = try await songs.put("a", "3")
    let bytes = own.bytes
    for index in bytes.indices {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << UInt8(bit)
        #expect(await code { _ = try CausalContext(bytes: damaged) } == .damagedToken)
      }
      #expect(await code { _ = try CausalContext(bytes: Array(bytes.prefix(index))) } == .damagedToken)
    }
    #expect(await code { _ = try CausalContext(bytes: bytes + [0]) } == .damagedToken)
    // A whole token of another kind, and a sealed payload that is no context.
    let others = [SealedToken.seal(.scan, []), SealedToken.seal(.context, [1, 2, 3])]
    for other in others {
      #expect(await code { _ = try CausalContext(bytes: other) } == .damagedToken)
    }
    #expect(await code { _ = try CausalContext(bytes: SealedToken.seal(.context, [9])) } == .newerFormat)
    for text in ["", "?", own.text + "A", String(own.text.dropLast()), own.text + "="] {
      #expect(await code { _ = try CausalContext(text: text) } == .damagedToken)
    }
  }

  @Test func `base64 is the one of the standard`() {
    // RFC 4648, section 10, unpadded; and the two characters in which the alphabet for URLs differs.
    let cases = [
      ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
      ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
    ]
    for (plain, encoded) in cases {
      #expect(Base64.encode(Array(plain.utf8)) == encoded)
      #expect(Base64.decode(encoded) == Array(plain.utf8))
    }
    #expect(Base64.encode([0xFB, 0xFF]) == "-_8")
    for bad in ["Z", "Zh", "Zm9", "+_8", "Zg=="] { #expect(Base64.decode(bad) == nil) }
  }
}
