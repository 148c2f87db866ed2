/// Swift source with the words of people taken out: comments and the contents of string literals
/// become spaces, line breaks stay. What is left is code, so that a rule about code does not
/// stumble over prose.
///
/// Knows line and nested block comments, string literals of one and of several lines, and raw ones;
/// an interpolation counts as part of its string. Knows no regular-expression literals.
func codeOnly(_ source: String) -> String {
  let bytes = Array(source.utf8)
  var result: [UInt8] = []
  result.reserveCapacity(bytes.count)
  var index = 0

  func starts(_ text: StaticString, at position: Int) -> Bool {
    let wanted = text.withUTF8Buffer { unsafe Array($0) }
    return position + wanted.count <= bytes.count
      && bytes[position..<(position + wanted.count)].elementsEqual(wanted)
  }
  /// Replaces so many bytes by spaces.
  func blank(_ count: Int) {
    for byte in bytes[index..<min(index + count, bytes.count)] {
      result.append(byte == UInt8(ascii: "\n") ? byte : UInt8(ascii: " "))
    }
    index = min(index + count, bytes.count)
  }

  while index < bytes.count {
    if starts("//", at: index) {
      while index < bytes.count && bytes[index] != UInt8(ascii: "\n") { blank(1) }
    } else if starts("/*", at: index) {
      var depth = 0
      repeat {
        if starts("/*", at: index) {
          depth += 1
          blank(2)
        } else if starts("*/", at: index) {
          depth -= 1
          blank(2)
        } else {
          blank(1)
        }
      } while depth > 0 && index < bytes.count
    } else if let literal = stringStart(bytes, index) {
      blank(literal.pounds + literal.quotes)
      while index < bytes.count {
        if stringEnds(bytes, index, literal) {
          blank(literal.quotes + literal.pounds)
          break
        }
        // In a raw string a backslash escapes only with as many pounds.
        let escapes = literal.pounds == 0 && bytes[index] == UInt8(ascii: "\\")
        blank(escapes ? 2 : 1)
      }
    } else {
      result.append(bytes[index])
      index += 1
    }
  }
  return String(decoding: result, as: UTF8.self)
}

/// A literal's delimiters: `#`s before the quotes, and 1 or 3 quotes.
private struct Delimiters {
  var pounds: Int
  var quotes: Int
}

private func stringStart(_ bytes: [UInt8], _ index: Int) -> Delimiters? {
  var position = index
  while position < bytes.count && bytes[position] == UInt8(ascii: "#") { position += 1 }
  let quote = UInt8(ascii: "\"")
  guard position < bytes.count, bytes[position] == quote else { return nil }
  let three = position + 2 < bytes.count && bytes[position + 1] == quote && bytes[position + 2] == quote
  return Delimiters(pounds: position - index, quotes: three ? 3 : 1)
}

private func stringEnds(_ bytes: [UInt8], _ index: Int, _ literal: Delimiters) -> Bool {
  let end = index + literal.quotes + literal.pounds
  guard end <= bytes.count else { return false }
  return bytes[index..<(index + literal.quotes)].allSatisfy { $0 == UInt8(ascii: "\"") }
    && bytes[(index + literal.quotes)..<end].allSatisfy { $0 == UInt8(ascii: "#") }
}
