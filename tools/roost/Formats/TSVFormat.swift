/// Reads lines of key, tab, value.
struct TSVReader: RecordReader {
  let input: Input
  private var line = 0

  init(_ input: Input) { self.input = input }

  mutating func next() throws -> (key: [UInt8], value: [UInt8])? {
    guard let text = try input.readLine() else { return nil }
    line += 1
    guard let tab = text.firstIndex(of: UInt8(ascii: "\t")) else {
      throw bad("no tab between key and value")
    }
    // A writer escapes it, so this is a file with another system's line ends.
    if text.last == UInt8(ascii: "\r") {
      throw bad(
        "the line ends with CR LF; lines end with LF, and a carriage return in a value is \\r")
    }
    if text[(tab + 1)...].contains(UInt8(ascii: "\t")) {
      throw bad("more than one tab; a tab in a key or value is \\t")
    }
    return (try unescape(text[..<tab], at: 0), try unescape(text[(tab + 1)...], at: tab + 1))
  }

  private func unescape(_ text: ArraySlice<UInt8>, at column: Int) throws -> [UInt8] {
    do throws(TextEscape.Problem) { return try TextEscape.bytes(text) } catch {
      throw BadRecord(
        place: "line \(line), byte \(column + error.offset + 1)", message: error.description)
    }
  }

  private func bad(_ message: String) -> BadRecord {
    BadRecord(place: "line \(line)", message: message)
  }
}

/// Writes lines of key, tab, value.
struct TSVWriter: RecordWriter {
  let output: Output

  func write(key: RawSpan, value: RawSpan) throws {
    TextEscape.append(key, to: &output.buffer)
    output.buffer.append(UInt8(ascii: "\t"))
    TextEscape.append(value, to: &output.buffer)
    output.buffer.append(UInt8(ascii: "\n"))
    try output.flushIfFull()
  }

  func finish() throws { try output.flush() }
}
