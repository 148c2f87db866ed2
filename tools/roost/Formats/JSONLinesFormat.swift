/// Reads lines of `{"key": …, "value": …}`. Empty lines are passed over.
struct JSONLinesReader: RecordReader {
  let input: Input
  private var line = 0

  init(_ input: Input) { self.input = input }

  mutating func next() throws -> (key: [UInt8], value: [UInt8])? {
    while let text = try input.readLine() {
      line += 1
      if text.allSatisfy(JSONRecordParser.isSpace) { continue }
      var parser = JSONRecordParser(text)
      do throws(JSONRecordParser.Problem) { return try parser.record() } catch {
        throw BadRecord(place: "line \(line), byte \(error.offset + 1)", message: error.message)
      }
    }
    return nil
  }
}

/// Writes lines of `{"key": …, "value": …}`: what `scan --json` prints.
struct JSONLinesWriter: RecordWriter {
  let output: Output
  private static let beforeKey = Array("{\"key\":".utf8)
  private static let beforeValue = Array(",\"value\":".utf8)
  private static let end = Array("}\n".utf8)

  func write(key: RawSpan, value: RawSpan) throws {
    output.buffer.append(contentsOf: Self.beforeKey)
    JSONText.append(key, to: &output.buffer)
    output.buffer.append(contentsOf: Self.beforeValue)
    JSONText.append(value, to: &output.buffer)
    output.buffer.append(contentsOf: Self.end)
    try output.flushIfFull()
  }

  /// A line with the key alone.
  func write(key: RawSpan) throws {
    output.buffer.append(contentsOf: Self.beforeKey)
    JSONText.append(key, to: &output.buffer)
    output.buffer.append(contentsOf: Self.end)
    try output.flushIfFull()
  }

  func finish() throws { try output.flush() }
}

/// Reads one record. Strict: it takes JSON of this one shape and refuses the rest, saying where.
struct JSONRecordParser {
  struct Problem: Error {
    var offset: Int
    var message: String
  }

  private let text: [UInt8]
  private var at = 0

  init(_ text: [UInt8]) { self.text = text }

  static func isSpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
  }

  mutating func record() throws(Problem) -> (key: [UInt8], value: [UInt8]) {
    var key: [UInt8]?
    var value: [UInt8]?
    try members { (parser, name, offset) throws(Problem) in
      switch name {
      case "key" where key == nil: key = try parser.bytes()
      case "value" where value == nil: value = try parser.bytes()
      case "key", "value":
        throw Problem(offset: offset, message: "the member \"\(name)\" comes twice")
      default: throw Problem(offset: offset, message: "unknown member \"\(name)\"")
      }
    }
    skipSpace()
    if at < text.count { throw problem("more text behind the record") }
    guard let key else { throw problem("the record has no \"key\"") }
    guard let value else { throw problem("the record has no \"value\"") }
    return (key, value)
  }

  /// A string, or an object with the hexadecimal digits of any bytes.
  private mutating func bytes() throws(Problem) -> [UInt8] {
    skipSpace()
    if peek == UInt8(ascii: "\"") { return try string() }
    guard peek == UInt8(ascii: "{") else { throw problem("a string or {\"hex\": …} belongs here") }
    var result: [UInt8]?
    try members { (parser, name, offset) throws(Problem) in
      guard name == "hex", result == nil else {
        throw Problem(offset: offset, message: "only one member, \"hex\", belongs here")
      }
      parser.skipSpace()
      let start = parser.at
      guard let bytes = Hexadecimal.bytes(try parser.string()) else {
        throw Problem(offset: start, message: "not an even number of hexadecimal digits")
      }
      result = bytes
    }
    guard let result else { throw problem("the member \"hex\" is missing") }
    return result
  }

  /// An object; `member` reads each member's value.
  private mutating func members(
    _ member: (inout Self, _ name: String, _ offset: Int) throws(Problem) -> Void
  ) throws(Problem) {
    try expect("{")
    skipSpace()
    if peek == UInt8(ascii: "}") {
      at += 1
      return
    }
    while true {
      skipSpace()
      let offset = at
      guard peek == UInt8(ascii: "\"") else { throw problem("a member's name belongs here") }
      let name = String(decoding: try string(), as: UTF8.self)
      try expect(":")
      try member(&self, name, offset)
      skipSpace()
      if peek == UInt8(ascii: ",") {
        at += 1
      } else {
        return try expect("}")
      }
    }
  }

  /// A string that begins here, as UTF-8.
  private mutating func string() throws(Problem) -> [UInt8] {
    try expect("\"")
    var result: [UInt8] = []
    while at < text.count {
      let byte = text[at]
      switch byte {
      case UInt8(ascii: "\""):
        at += 1
        return result
      case UInt8(ascii: "\\"): try escape(&result)
      case 0..<0x20: throw problem("a control character in a string; write \\u00HH")
      case 0x20..<0x80:
        result.append(byte)
        at += 1
      default:
        let scalar = unsafe text.withUnsafeBytes { unsafe UTF8Scalar($0, at: at) }
        guard let scalar else { throw problem("not valid UTF-8; write such bytes as {\"hex\": …}") }
        result.append(contentsOf: text[at..<(at + scalar.byteCount)])
        at += scalar.byteCount
      }
    }
    throw problem("the string does not end")
  }

  private mutating func escape(_ result: inout [UInt8]) throws(Problem) {
    let start = at
    guard at + 1 < text.count else { throw problem("the string does not end") }
    let kind = text[at + 1]
    at += 2
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(kind)
    case UInt8(ascii: "n"): result.append(0x0A)
    case UInt8(ascii: "r"): result.append(0x0D)
    case UInt8(ascii: "t"): result.append(0x09)
    case UInt8(ascii: "b"): result.append(0x08)
    case UInt8(ascii: "f"): result.append(0x0C)
    case UInt8(ascii: "u"):
      var value = try fourDigits(start)
      if (0xD800...0xDBFF).contains(value), at + 1 < text.count, text[at] == UInt8(ascii: "\\"),
        text[at + 1] == UInt8(ascii: "u")
      {
        at += 2
        let low = try fourDigits(start)
        guard (0xDC00...0xDFFF).contains(low) else {
          throw Problem(offset: start, message: "half of a surrogate pair")
        }
        value = 0x1_0000 + (value - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(value) else {
        throw Problem(offset: start, message: "half of a surrogate pair")
      }
      result.append(contentsOf: String(scalar).utf8)
    default: throw Problem(offset: start, message: "unknown escape in a string")
    }
  }

  private mutating func fourDigits(_ start: Int) throws(Problem) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard at < text.count, let digit = Hexadecimal.value(text[at]) else {
        throw Problem(offset: start, message: "\\u needs four hexadecimal digits")
      }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }

  private var peek: UInt8? { at < text.count ? text[at] : nil }

  private mutating func skipSpace() {
    while let byte = peek, Self.isSpace(byte) { at += 1 }
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(Problem) {
    skipSpace()
    guard peek == UInt8(ascii: character) else {
      throw problem(at < text.count ? "`\(character)` belongs here" : "the line ends too early")
    }
    at += 1
  }

  private func problem(_ message: String) -> Problem { Problem(offset: at, message: message) }
}
