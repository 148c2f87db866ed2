import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCommand

/// Keys and values as text: each form comes back as the bytes it was made of.
// Budget: 1 s
@Suite struct TextTests {
  @Test func `every byte comes back from its escape`() throws {
    for byte in UInt8.min ... .max {
      let text = TextEscape.text([byte])
      #expect(try TextEscape.bytes(text.utf8) == [byte])
      #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
      #expect(try TextEscape.bytes("\\x\(Hexadecimal.text([byte]))".utf8) == [byte])
    }
  }

  @Test(arguments: [
    ("plain text", "plain text"), ("héllo ☃ 🐦", "héllo ☃ 🐦"), ("a\\b", "a\\\\b"),
    ("\n\t\r\0\u{7F}", "\\n\\t\\r\\x00\\x7f"), ("\u{85}", "\\xc2\\x85"),
    ("\u{202E}x", "\\xe2\\x80\\xaex"),
    ("\u{FEFF}", "\\xef\\xbb\\xbf"), ("\u{2028}", "\\xe2\\x80\\xa8"), ("", ""),
  ])
  func `text is shown so`(text: String, shown: String) {
    #expect(TextEscape.text(Array(text.utf8)) == shown)
  }

  /// Overlong, surrogate, above U+10FFFF, cut short, a lone continuation.
  @Test(
    arguments: [
      [0xC0, 0x80], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x98],
      [0x80], [0xFF],
      [0xF0, 0x80, 0x80, 0x80],
    ] as [[UInt8]])
  func `bytes that are no UTF-8 are escaped one by one`(bytes: [UInt8]) {
    #expect(TextEscape.text(bytes) == bytes.map { "\\x" + Hexadecimal.text([$0]) }.joined())
  }

  @Test(arguments: ["\\", "a\\", "\\q", "\\x", "\\x1", "\\xg0", "\\0", "\\u0041", "\\X41"])
  func `other escapes are refused`(text: String) {
    let problem = #expect(throws: TextEscape.Problem.self) { try TextEscape.bytes(text.utf8) }
    #expect(problem?.offset == (text.hasPrefix("a") ? 1 : 0))
  }

  @Test func `random bytes come back from every form`() throws {
    try withSeeds("random bytes come back from every form", count: 300) { seed, random in
      let bytes = mixed(&random)
      #expect(try TextEscape.bytes(TextEscape.text(bytes).utf8) == bytes, "seed \(seed)")
      #expect(Hexadecimal.bytes(Hexadecimal.text(bytes).utf8) == bytes, "seed \(seed)")
      var json = JSONWriter()
      json.beginObject()
      json.member("key", data: bytes)
      json.member("value", data: bytes.reversed())
      json.endObject()
      #expect(String(validating: json.bytes, as: UTF8.self) != nil, "seed \(seed)")
      var parser = JSONRecordParser(json.bytes)
      let record = try parser.record()
      #expect(record.key == bytes && record.value == bytes.reversed(), "seed \(seed)")
    }
  }

  /// Valid text, control characters and rubbish, mixed.
  private func mixed(_ random: inout SplitMix64) -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 0..<random.below(30) {
      switch random.below(4) {
      case 0: bytes += Array("aé☃🐦\\\"".utf8)
      case 1: bytes += random.bytes(random.below(4))
      case 2: bytes.append(UInt8(random.below(0x20)))
      default: bytes += Array(String(Unicode.Scalar(UInt32(random.below(0xD800)))!).utf8)
      }
    }
    return bytes
  }

  @Test(arguments: [
    "", "{", "[]", "{}", "{\"key\":\"a\"}", "{\"value\":\"a\"}", "{\"key\":\"a\",\"value\":1}",
    "{\"key\":\"a\",\"value\":\"b\"} x", "{\"key\":\"a\",\"key\":\"a\",\"value\":\"b\"}",
    "{\"key\":\"a\",\"value\":\"b\",}", "{\"key\":\"a\",\"value\":{\"hex\":\"0\"}}",
    "{\"key\":\"a\",\"value\":{\"hex\":\"zz\"}}", "{\"key\":\"a\",\"value\":{}}",
    "{\"key\":\"a\",\"value\":{\"hex\":\"00\",\"hex\":\"00\"}}",
    "{\"key\":\"\\ud800\",\"value\":\"\"}",
    "{\"key\":\"\\ud800\\u0041\",\"value\":\"\"}", "{\"key\":\"\\u12\",\"value\":\"\"}",
    "{\"key\":\"\\q\",\"value\":\"\"}", "{\"key\":\"a", "{\"key\":\"a\\", "{\"other\":\"a\"}",
    "{\"key\" \"a\"}",
  ])
  func `JSON of another shape is refused`(text: String) {
    #expect(throws: JSONRecordParser.Problem.self) {
      var parser = JSONRecordParser(Array(text.utf8))
      _ = try parser.record()
    }
  }

  @Test func `JSON with spaces and escapes is read`() throws {
    let text =
      " { \"value\" : \"\\u00e9\\ud83d\\udc26\\/\\b\\f\" , \"key\" : {\"hex\": \"FFab\"} } \r"
    var parser = JSONRecordParser(Array(text.utf8))
    let record = try parser.record()
    #expect(record.key == [0xFF, 0xAB])
    #expect(record.value == Array("é🐦/\u{8}\u{C}".utf8))
  }

  @Test func `numbers are shown so`() {
    #expect(
      Format.count(34_924) == "34,924" && Format.count(999) == "999"
        && Format.count(-1000) == "-1,000")
    #expect(
      Format.bytes(1023) == "1023 B" && Format.bytes(1536) == "1.5 KiB"
        && Format.bytes(200 << 20) == "200 MiB")
    #expect(Format.duration(nanoseconds: 1_250_000_000) == "1.25 s")
    #expect(Format.duration(nanoseconds: 40_000_000) == "40 ms")
    #expect(
      Format.count(1, "table") == "1 table" && Format.count(0, "entry", "entries") == "0 entries")
  }

  /// The numbers that others compute from the same index.
  @Test func `generated keys are splitmix64`() {
    #expect(GeneratedRecords.mixed(0) == 0xE220_A839_7B1D_CDAF)
    var records = GeneratedRecords(valueBytes: 33, seed: 1)
    records.move(to: 0)
    #expect(records.key == Array("e220a8397b1dcdaf".utf8))
    #expect(
      records.value.count == 33 && records.value.suffix(16) == Array("e220a8397b1dcdaf".utf8)[...])
    let value = records.value
    records.move(to: 1)
    #expect(records.value != value)
    records.move(to: 0)
    #expect(records.value == value)
    var others = GeneratedRecords(valueBytes: 33, seed: 2)
    others.move(to: 0)
    #expect(others.value != value && others.key == records.key)
  }
}
