// Bytes in JSON:
//
//   bytes := string                  where they are valid UTF-8: its characters
//          | {"hex": string}         where they are not: two hexadecimal digits a byte
//
// So every run of bytes has one form, and comes back from it as it was.

/// Puts JSON together, on one line, front to back. What it is given is well-formed or a bug here.
struct JSONWriter {
  var bytes: [UInt8] = []
  /// Whether a comma belongs before the next member.
  private var needsComma = false

  var text: String { String(decoding: bytes, as: UTF8.self) }

  mutating func beginObject() { begin("{") }
  mutating func endObject() { end("}") }
  mutating func beginArray() { begin("[") }
  mutating func endArray() { end("]") }

  mutating func name(_ name: StaticString) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    bytes.append(contentsOf: "\(name)\":".utf8)
    needsComma = false
  }

  mutating func value(_ text: String) {
    separate()
    let copy = Array(text.utf8)
    unsafe JSONText.append(copy.span.bytes, to: &bytes)
  }

  mutating func value(_ number: some BinaryInteger) {
    separate()
    bytes.append(contentsOf: "\(number)".utf8)
  }

  /// A finite number.
  mutating func value(_ number: Double) {
    separate()
    bytes.append(contentsOf: "\(number)".utf8)
  }

  mutating func value(_ flag: Bool) {
    separate()
    bytes.append(contentsOf: (flag ? "true" : "false").utf8)
  }

  mutating func valueNull() {
    separate()
    bytes.append(contentsOf: "null".utf8)
  }

  /// Bytes of the store.
  mutating func value(data: [UInt8]) {
    separate()
    unsafe JSONText.append(data.span.bytes, to: &bytes)
  }

  mutating func member(_ name: StaticString, _ text: String) {
    self.name(name)
    value(text)
  }

  mutating func member(_ name: StaticString, _ number: some BinaryInteger) {
    self.name(name)
    value(number)
  }

  mutating func member(_ name: StaticString, _ number: Double) {
    self.name(name)
    value(number)
  }

  mutating func member(_ name: StaticString, _ flag: Bool) {
    self.name(name)
    value(flag)
  }

  mutating func member(_ name: StaticString, data: [UInt8]) {
    self.name(name)
    value(data: data)
  }

  /// A member whose name is known only now.
  mutating func member(dynamic name: String, _ number: some BinaryInteger) {
    value(name)
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
    value(number)
  }

  private mutating func begin(_ bracket: String) {
    separate()
    bytes.append(contentsOf: bracket.utf8)
    needsComma = false
  }

  private mutating func end(_ bracket: String) {
    bytes.append(contentsOf: bracket.utf8)
    needsComma = true
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
  }
}

enum JSONText {
  /// Appends bytes as JSON: a string, or an object with their hexadecimal digits.
  static func append(_ bytes: RawSpan, to output: inout [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe append($0, to: &output) }
  }

  private static func append(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    let mark = output.count
    output.append(UInt8(ascii: "\""))
    var plain = 0
    var i = 0
    while i < bytes.count {
      let byte = unsafe bytes[i]
      if byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") {
        i += 1
        continue
      }
      if byte >= 0x80 {
        guard let scalar = unsafe UTF8Scalar(bytes, at: i) else {
          output.removeLast(output.count - mark)
          unsafe appendHexadecimal(bytes, to: &output)
          return
        }
        i += scalar.byteCount
        continue
      }
      unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[plain..<i]))
      appendEscape(byte, to: &output)
      i += 1
      plain = i
    }
    unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[plain...]))
    output.append(UInt8(ascii: "\""))
  }

  private static func appendHexadecimal(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    output.append(contentsOf: "{\"hex\":\"".utf8)
    for i in 0..<bytes.count { unsafe Hexadecimal.append(bytes[i], to: &output) }
    output.append(contentsOf: "\"}".utf8)
  }

  private static func appendEscape(_ byte: UInt8, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\\"))
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): output.append(byte)
    case 0x0A: output.append(UInt8(ascii: "n"))
    case 0x0D: output.append(UInt8(ascii: "r"))
    case 0x09: output.append(UInt8(ascii: "t"))
    default:
      output.append(contentsOf: "u00".utf8)
      Hexadecimal.append(byte, to: &output)
    }
  }
}
