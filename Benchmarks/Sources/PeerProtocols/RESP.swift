/// As much of Redis's protocol (RESP, version 2) as a benchmark needs: commands, and replies of any kind.
public enum RESP {
  /// A reply.
  public enum Value: Equatable, Sendable {
    /// `+`
    case text(String)
    /// `-`
    case error(String)
    /// `:`
    case number(Int64)
    /// `$`
    case bytes([UInt8])
    /// `$-1`, `*-1`
    case absent
    /// `*`
    case list([Value])
  }

  /// Bytes that are no reply.
  public struct Malformed: Error, CustomStringConvertible, Equatable {
    public let description: String
  }

  /// The longest string and list that is taken for one.
  private static let longest: Int64 = 512 << 20
  private static let deepest = 8

  /// Appends a command: its name and its arguments.
  public static func encode(_ words: [[UInt8]], into bytes: inout [UInt8]) {
    bytes += Array("*\(words.count)\r\n".utf8)
    for word in words {
      bytes += Array("$\(word.count)\r\n".utf8)
      bytes += word
      bytes += [13, 10]
    }
  }

  /// Reads the reply that begins at `position`.
  ///
  /// - Returns: the reply and where it ends; `nil` where not all of it is there yet.
  public static func parse(
    _ bytes: [UInt8], at position: Int = 0
  ) throws(Malformed) -> (value: Value, end: Int)? {
    try parse(bytes, at: position, depth: 0)
  }

  private static func parse(
    _ bytes: [UInt8], at position: Int, depth: Int
  ) throws(Malformed) -> (value: Value, end: Int)? {
    guard depth <= deepest else { throw Malformed(description: "lists in lists") }
    guard position < bytes.count, let line = try line(bytes, position + 1) else { return nil }
    let text = bytes[(position + 1)..<line.end]
    switch bytes[position] {
    case UInt8(ascii: "+"): return (.text(String(decoding: text, as: UTF8.self)), line.next)
    case UInt8(ascii: "-"): return (.error(String(decoding: text, as: UTF8.self)), line.next)
    case UInt8(ascii: ":"): return (.number(try number(text)), line.next)
    case UInt8(ascii: "$"):
      let count = try length(text)
      guard let count else { return (.absent, line.next) }
      guard bytes.count >= line.next + count + 2 else { return nil }
      let end = line.next + count
      guard bytes[end] == 13, bytes[end + 1] == 10 else {
        throw Malformed(description: "a string that does not end where it should")
      }
      return (.bytes(Array(bytes[line.next..<end])), end + 2)
    case UInt8(ascii: "*"):
      guard let count = try length(text) else { return (.absent, line.next) }
      var (values, next) = ([Value](), line.next)
      for _ in 0..<count {
        guard let item = try parse(bytes, at: next, depth: depth + 1) else { return nil }
        values.append(item.value)
        next = item.end
      }
      return (.list(values), next)
    case let other: throw Malformed(description: "a reply that begins with the byte \(other)")
    }
  }

  /// The end of the line that begins at `start`, and the beginning of what is behind it.
  private static func line(_ bytes: [UInt8], _ start: Int) throws(Malformed) -> (end: Int, next: Int)? {
    guard let end = bytes[start...].firstIndex(of: 13), end + 1 < bytes.count else {
      if bytes.count - start > 64 << 10 { throw Malformed(description: "a line without an end") }
      return nil
    }
    guard bytes[end + 1] == 10 else { throw Malformed(description: "half of a line's end") }
    return (end, end + 2)
  }

  private static func number(_ text: ArraySlice<UInt8>) throws(Malformed) -> Int64 {
    let text = String(decoding: text, as: UTF8.self)
    guard let number = Int64(text) else { throw Malformed(description: "`\(text)` is no number") }
    return number
  }

  private static func length(_ text: ArraySlice<UInt8>) throws(Malformed) -> Int? {
    let count = try number(text)
    if count == -1 { return nil }
    guard (0...longest).contains(count) else { throw Malformed(description: "a length of \(count)") }
    return Int(count)
  }
}
