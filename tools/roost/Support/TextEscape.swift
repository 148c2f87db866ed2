// Bytes as text, unambiguously:
//
//   text    := piece*
//   piece   := printable character of valid UTF-8, but no backslash
//            | `\\` backslash | `\n` newline | `\t` tab | `\r` carriage return
//            | `\x` H H                                      any one byte, two hexadecimal digits
//
// Written as `\xHH`: bytes that are no valid UTF-8, control characters (C0, DEL, C1), line and
// paragraph separators, controls of writing direction, and the byte-order mark: all that would not
// show, or change how the rest shows. Read back, each form gives the bytes it stands for, whether a
// writer would have chosen it or not.

/// Keys and values as people read and type them.
enum TextEscape {
  /// Appends the text of `bytes`. O(n).
  static func append(_ bytes: RawSpan, to output: inout [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe append($0, to: &output) }
  }

  static func append(_ bytes: [UInt8], to output: inout [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe append($0, to: &output) }
  }

  static func text(_ bytes: [UInt8]) -> String {
    var output: [UInt8] = []
    append(bytes, to: &output)
    return String(decoding: output, as: UTF8.self)
  }

  private static func append(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    var plain = 0  // Where the bytes that go out as they are begin.
    var i = 0
    while i < bytes.count {
      let byte = unsafe bytes[i]
      if byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\\") {
        i += 1
        continue
      }
      if byte >= 0x80, let scalar = unsafe UTF8Scalar(bytes, at: i), isPrintable(scalar.value) {
        i += scalar.byteCount
        continue
      }
      unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[plain..<i]))
      let count = byte >= 0x80 ? unsafe UTF8Scalar(bytes, at: i)?.byteCount ?? 1 : 1
      for k in 0..<count { unsafe appendEscape(bytes[i + k], to: &output) }
      i += count
      plain = i
    }
    unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[plain...]))
  }

  private static func appendEscape(_ byte: UInt8, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\\"))
    switch byte {
    case UInt8(ascii: "\\"): output.append(byte)
    case UInt8(ascii: "\n"): output.append(UInt8(ascii: "n"))
    case UInt8(ascii: "\t"): output.append(UInt8(ascii: "t"))
    case UInt8(ascii: "\r"): output.append(UInt8(ascii: "r"))
    default:
      output.append(UInt8(ascii: "x"))
      Hexadecimal.append(byte, to: &output)
    }
  }

  /// For scalars from U+0080 on.
  private static func isPrintable(_ value: UInt32) -> Bool {
    switch value {
    case 0x80...0x9F, 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: false
    default: true
    }
  }

  /// What is wrong with an escaped text, and at which of its bytes.
  struct Problem: Error, CustomStringConvertible {
    var offset: Int
    var description: String
  }

  /// The bytes that `text` stands for.
  ///
  /// - Throws: ``Problem`` for a backslash that begins none of the forms above.
  static func bytes(_ text: some Collection<UInt8>) throws(Problem) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(text.count)
    var rest = text[...]
    var offset = 0
    while let byte = rest.popFirst() {
      offset += 1
      guard byte == UInt8(ascii: "\\") else {
        output.append(byte)
        continue
      }
      func problem(_ seen: [UInt8]) -> Problem {
        let text =
          seen.isEmpty ? "a lone backslash at the end" : "unknown escape \\\(TextEscape.text(seen))"
        return Problem(
          offset: offset - 1, description: "\(text): write \\\\ for a backslash, \\xHH for a byte")
      }
      guard let kind = rest.popFirst() else { throw problem([]) }
      switch kind {
      case UInt8(ascii: "\\"): output.append(kind)
      case UInt8(ascii: "n"): output.append(UInt8(ascii: "\n"))
      case UInt8(ascii: "t"): output.append(UInt8(ascii: "\t"))
      case UInt8(ascii: "r"): output.append(UInt8(ascii: "\r"))
      case UInt8(ascii: "x"):
        let digits = Array(rest.prefix(2))
        guard digits.count == 2, let high = Hexadecimal.value(digits[0]),
          let low = Hexadecimal.value(digits[1])
        else { throw problem([kind] + digits) }
        output.append(high << 4 | low)
        rest = rest.dropFirst(2)
        offset += 2
      default: throw problem([kind])
      }
      offset += 1
    }
    return output
  }
}

/// One scalar of valid UTF-8: no overlong form, no surrogate, nothing above U+10FFFF.
struct UTF8Scalar {
  var value: UInt32
  var byteCount: Int

  /// `nil` where no valid scalar begins at `index`.
  init?(_ bytes: UnsafeRawBufferPointer, at index: Int) {
    let first = unsafe bytes[index]
    let minimum: UInt32
    switch first {
    case 0..<0x80:
      value = UInt32(first)
      byteCount = 1
      return
    case 0xC2...0xDF: (value, byteCount, minimum) = (UInt32(first & 0x1F), 2, 0x80)
    case 0xE0...0xEF: (value, byteCount, minimum) = (UInt32(first & 0x0F), 3, 0x800)
    case 0xF0...0xF4: (value, byteCount, minimum) = (UInt32(first & 0x07), 4, 0x1_0000)
    default: return nil
    }
    guard index + byteCount <= bytes.count else { return nil }
    for k in 1..<byteCount {
      let next = unsafe bytes[index + k]
      guard next & 0xC0 == 0x80 else { return nil }
      value = value << 6 | UInt32(next & 0x3F)
    }
    if value < minimum || value > 0x10_FFFF || (0xD800...0xDFFF).contains(value) { return nil }
  }
}

/// Two lower-case hexadecimal digits a byte; either case is read.
enum Hexadecimal {
  private static let digits = Array("0123456789abcdef".utf8)

  @inline(__always)
  static func append(_ byte: UInt8, to output: inout [UInt8]) {
    output.append(digits[Int(byte >> 4)])
    output.append(digits[Int(byte & 0xF)])
  }

  static func append(_ bytes: RawSpan, to output: inout [UInt8]) {
    unsafe bytes.withUnsafeBytes { raw in
      for i in 0..<raw.count { unsafe append(raw[i], to: &output) }
    }
  }

  static func text(_ bytes: [UInt8]) -> String {
    var output: [UInt8] = []
    for byte in bytes { append(byte, to: &output) }
    return String(decoding: output, as: UTF8.self)
  }

  /// The 16 digits of a word.
  static func append(_ word: UInt64, to output: inout [UInt8]) {
    for shift in stride(from: 56, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: word >> UInt64(shift)), to: &output)
    }
  }

  static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// The bytes of an even number of digits; `nil` where it is something else.
  static func bytes(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count.isMultiple(of: 2) else { return nil }
    var output: [UInt8] = []
    output.reserveCapacity(text.count / 2)
    var high: UInt8?
    for digit in text {
      guard let value = value(digit) else { return nil }
      if let first = high {
        output.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return output
  }
}
