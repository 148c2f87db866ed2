/// As much of HTTP/1.1 as a benchmark's client needs: requests with a body, and answers with a length or in
/// chunks, over a connection that stays.
public enum HTTP {
  /// An answer.
  public struct Response: Equatable, Sendable {
    public var status: Int
    public var body: [UInt8]

    public init(status: Int, body: [UInt8]) {
      self.status = status
      self.body = body
    }
  }

  /// Bytes that are no answer.
  public struct Malformed: Error, CustomStringConvertible, Equatable {
    public let description: String
  }

  private static let longestHead = 64 << 10
  private static let longestBody = 64 << 20

  /// Appends a request.
  public static func encode(
    _ method: String, _ path: String, host: String, body: [UInt8], into bytes: inout [UInt8]
  ) {
    let head =
      "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nContent-Type: application/json\r\n"
      + "Content-Length: \(body.count)\r\n\r\n"
    bytes += Array(head.utf8)
    bytes += body
  }

  /// Reads the answer that `bytes` begin with.
  ///
  /// - Returns: the answer and where it ends; `nil` where not all of it is there yet.
  public static func parse(_ bytes: [UInt8]) throws(Malformed) -> (response: Response, end: Int)? {
    guard let first = try line(bytes, 0) else { return nil }
    let words = first.text.split(separator: " ", maxSplits: 2)
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
      throw Malformed(description: "`\(first.text)` is no answer")
    }
    var (next, length, isChunked) = (first.next, 0, false)
    while true {
      guard let header = try line(bytes, next) else { return nil }
      next = header.next
      if header.text.isEmpty { break }
      guard next <= longestHead else { throw Malformed(description: "a head without an end") }
      let parts = header.text.split(separator: ":", maxSplits: 1)
      let value = parts.count > 1 ? parts[1].drop(while: { $0 == " " }) : ""
      switch parts.first?.lowercased() {
      case "content-length":
        guard let count = Int(value), (0...longestBody).contains(count) else {
          throw Malformed(description: "a length of `\(value)`")
        }
        length = count
      case "transfer-encoding": isChunked = value.lowercased() == "chunked"
      default: break
      }
    }
    if isChunked {
      guard let (body, end) = try chunks(bytes, next) else { return nil }
      return (Response(status: status, body: body), end)
    }
    guard bytes.count >= next + length else { return nil }
    return (Response(status: status, body: Array(bytes[next..<(next + length)])), next + length)
  }

  private static func chunks(_ bytes: [UInt8], _ start: Int) throws(Malformed) -> ([UInt8], Int)? {
    var (body, next) = ([UInt8](), start)
    while true {
      guard let size = try line(bytes, next) else { return nil }
      let digits = size.text.prefix { $0 != ";" }
      guard let count = Int(digits, radix: 16), count >= 0, body.count + count <= longestBody else {
        throw Malformed(description: "a chunk of `\(size.text)`")
      }
      next = size.next
      if count == 0 { break }
      guard bytes.count >= next + count + 2 else { return nil }
      body += bytes[next..<(next + count)]
      next += count + 2
    }
    // What follows the chunks is of no interest.
    while true {
      guard let trailer = try line(bytes, next) else { return nil }
      next = trailer.next
      if trailer.text.isEmpty { return (body, next) }
    }
  }

  private static func line(_ bytes: [UInt8], _ start: Int) throws(Malformed) -> (text: String, next: Int)? {
    guard start < bytes.count, let end = bytes[start...].firstIndex(of: 10) else {
      if bytes.count - start > longestHead { throw Malformed(description: "a line without an end") }
      return nil
    }
    guard end > start, bytes[end - 1] == 13 else { throw Malformed(description: "half of a line's end") }
    return (String(decoding: bytes[start..<(end - 1)], as: UTF8.self), end + 1)
  }
}
