import PeerProtocols
import Testing

@Suite struct RESPTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aCommandIsAListOfStrings() {
    var encoded: [UInt8] = []
    RESP.encode([bytes("SET"), bytes("k"), [0, 13, 10]], into: &encoded)
    RESP.encode([bytes("WAIT")], into: &encoded)
    #expect(
      encoded == bytes("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\0\r\n\r\n") + bytes("*1\r\n$4\r\nWAIT\r\n"))
  }

  static let replies: [(String, RESP.Value)] = [
    ("+OK\r\n", .text("OK")),
    ("-ERR no\r\n", .error("ERR no")),
    (":-42\r\n", .number(-42)),
    ("$5\r\na\r\nbc\r\n", .bytes(Array("a\r\nbc".utf8))),
    ("$0\r\n\r\n", .bytes([])),
    ("$-1\r\n", .absent),
    ("*-1\r\n", .absent),
    ("*0\r\n", .list([])),
    ("*3\r\n:1\r\n*1\r\n$1\r\nx\r\n+y\r\n", .list([.number(1), .list([.bytes([120])]), .text("y")])),
  ]

  /// Each reply is read where it stands, and every beginning of it asks for more.
  @Test(arguments: replies)
  func aReplyIsReadOnceAllOfItIsThere(text: String, value: RESP.Value) throws {
    let all = bytes("+first\r\n" + text + "+next\r\n")
    let reply = try #require(try RESP.parse(all, at: 8))
    #expect(reply.value == value)
    #expect(reply.end == 8 + text.utf8.count)
    for count in 0..<text.utf8.count {
      #expect(try RESP.parse(Array(bytes(text).prefix(count))) == nil, "\(count) bytes of \(text)")
    }
  }

  @Test(arguments: [
    "?\r\n", ":x\r\n", "$-2\r\n", "$99999999999\r\n", "$1\r\nabc\r\n", "+a\rb\r\n",
    String(repeating: "*1\r\n", count: 20),
  ])
  func whatIsNoReplyIsRefused(text: String) {
    #expect(throws: RESP.Malformed.self) { _ = try RESP.parse(bytes(text)) }
  }
}

@Suite struct HTTPTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aRequestHasItsLength() {
    var encoded: [UInt8] = []
    HTTP.encode("POST", "/v3/kv/put", host: "127.0.0.1:1", body: bytes("{}"), into: &encoded)
    #expect(
      String(decoding: encoded, as: UTF8.self)
        == "POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\n"
        + "Content-Length: 2\r\n\r\n{}")
  }

  @Test(arguments: [
    ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 5\r\n\r\nhello", 200, "hello"),
    ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    (
      "HTTP/1.1 400 Bad Request\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "5\r\nhello\r\nb;ext=1\r\n, benchmark\r\n0\r\nX: y\r\n\r\n", 400, "hello, benchmark"
    ),
  ])
  func anAnswerIsReadOnceAllOfItIsThere(text: String, status: Int, body: String) throws {
    let answer = try #require(try HTTP.parse(bytes(text + "HTTP/1.1 ")))
    #expect(answer.response == HTTP.Response(status: status, body: bytes(body)))
    #expect(answer.end == text.utf8.count)
    for count in 0..<text.utf8.count {
      #expect(try HTTP.parse(Array(bytes(text).prefix(count))) == nil, "\(count) bytes")
    }
  }

  @Test(arguments: [
    "+OK\r\n", "HTTP/1.1 x\r\n", "HTTP/1.1 200 OK\nA: b\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  ])
  func whatIsNoAnswerIsRefused(text: String) {
    #expect(throws: HTTP.Malformed.self) { _ = try HTTP.parse(bytes(text)) }
  }
}

@Suite struct EtcdJSONTests {
  @Test func base64IsThatOfTheStandard() {
    for (plain, text) in [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
      ("foobar", "Zm9vYmFy"),
    ] {
      #expect(Base64.encode(Array(plain.utf8)) == Array(text.utf8))
      #expect(Base64.decode(Array(text.utf8)) == Array(plain.utf8))
    }
    let all = (UInt8(0)...255).map { $0 }
    #expect(Base64.decode(Base64.encode(all)) == all)
    for wrong in ["Zg=", "Zg==Zg==Z", "=Zg=", "Z===", "Zm9v!A=="] {
      #expect(Base64.decode(Array(wrong.utf8)) == nil, "\(wrong)")
    }
  }

  @Test func bodiesAreAsTheGatewayHasThem() {
    let (key, value) = (Array("foo".utf8), Array("bar".utf8))
    #expect(EtcdJSON.put(key, value) == Array(#"{"key":"Zm9v","value":"YmFy"}"#.utf8))
    #expect(EtcdJSON.get(key) == Array(#"{"key":"Zm9v"}"#.utf8))
    let found = #"{"header":{},"kvs":[{"key":"Zm9v","version":"1","value":"YmFy"}],"count":"1"}"#
    #expect(EtcdJSON.value(in: Array(found.utf8)) == value)
    #expect(EtcdJSON.value(in: Array(#"{"header":{"revision":"2"}}"#.utf8)) == nil)
  }
}
