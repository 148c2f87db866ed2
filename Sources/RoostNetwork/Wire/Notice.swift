import RoostCluster

// notice := code varint | handled u8 | text lengthPrefixed, UTF-8, at most 1,024 bytes
//
// Behind the text there may be more, from later versions.

/// A reason as it goes over the wire, in a goodbye or in place of an answer.
struct Notice: Hashable, Sendable {
  var code: UInt64
  /// 0 where it is certain that what was asked was not begun, and never will be; else 1.
  var mayHaveArrived: Bool
  var text: String

  static let longestText = 1_024

  /// The codes, each with what the side that reads it makes of it. Numbers are never given out anew.
  private static let codes: [(number: UInt64, code: TransportError.Code)] = [
    (1, .failed), (2, .overloaded), (3, .deadlineExceeded), (4, .unreachable), (5, .tooLarge),
    (6, .wrongCluster), (7, .wrongDatabase), (8, .wrongVersion), (9, .wrongNode), (10, .clockOutOfBound),
    (11, .rubbish), (12, .silent), (13, .closed), (14, .cancelled),
  ]

  init(_ error: TransportError) {
    code = Notice.codes.first { $0.code == error.code }?.number ?? 1
    mayHaveArrived = error.mayHaveArrived
    text = error.message
  }

  init(decoding body: [UInt8]) throws(TransportError) {
    do throws(DatabaseError) {
      var reader = FieldReader(body, "a notice")
      code = try reader.readVarint()
      mayHaveArrived = try reader.readByte() != 0
      text = try reader.readText()
    } catch {
      throw TransportError(.rubbish, error.message)
    }
    guard text.utf8.count <= Notice.longestText else {
      throw TransportError(.rubbish, "a notice of \(text.utf8.count) bytes")
    }
  }

  var encoded: [UInt8] {
    var writer = FieldWriter()
    writer.write(varint: code)
    writer.write(byte: mayHaveArrived ? 1 : 0)
    var text = text
    while text.utf8.count > Notice.longestText { text = String(text.dropLast(text.count / 8 + 1)) }
    writer.write(text: text)
    return writer.bytes
  }

  /// What the side that reads it tells its caller. Of codes that it does not know it knows the text.
  var error: TransportError {
    let known = Notice.codes.first { $0.number == code }?.code ?? TransportError.Code.failed
    return TransportError(known, text, mayHaveArrived: mayHaveArrived)
  }
}
