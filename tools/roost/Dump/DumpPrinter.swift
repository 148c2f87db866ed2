import RoostStorage

/// Prints what dumps find, as text or as JSON lines, and counts what is damaged. Used by one
/// thread.
final class DumpPrinter {
  let json: Bool
  let hex: Bool
  /// Whether entries are wanted.
  let entries: Bool
  /// The one block or frame that is wanted.
  let block: Int?
  private var problems = 0
  /// How the tool is to end, by what was found.
  private(set) var status = ExitStatus.success
  private let output = Output.standard
  private static let longest = 96

  init(json: Bool, hex: Bool, entries: Bool, block: Int?) {
    self.json = json
    self.hex = hex
    self.entries = entries
    self.block = block
  }

  /// One thing found: a line of text, or a JSON object with its type and members.
  func item(
    _ type: String, _ text: @autoclosure () -> String, _ members: (inout JSONWriter) -> Void
  ) throws {
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("type", type)
      members(&writer)
      writer.endObject()
      output.buffer.append(contentsOf: writer.bytes)
      try output.line()
    } else {
      try output.line(text())
    }
  }

  /// A line for people alone.
  func text(_ text: @autoclosure () -> String = "") throws {
    if !json { try output.line(text()) }
  }

  /// Something damaged.
  func problem(_ error: StoreError, indent: String = "") throws {
    problems += 1
    if error.code == .newerFormat, status == .success { status = .newerFormat }
    if error.code != .newerFormat { status = .damage }
    try item("problem", "\(indent)DAMAGED  \(Failure.line(error))") { json in
      json.member("code", error.code.description)
      json.member("message", error.message)
      if let file = error.file { json.member("file", file) }
      if let offset = error.offset { json.member("offset", offset) }
    }
  }

  func problem(_ message: String, file: String, offset: Int64? = nil, indent: String = "") throws {
    try problem(StoreError(.corruption, message, file: file, offset: offset), indent: indent)
  }

  /// Sets one file off from the next.
  func rule() throws { try text("\n" + String(repeating: "─", count: 72)) }

  /// Bytes for a line of text, cut short where they are long.
  func short(_ bytes: [UInt8]) -> String {
    guard bytes.count > Self.longest else { return whole(bytes) }
    var shown = bytes.prefix(Self.longest)
    // Not within a character.
    if !hex { while let last = shown.last, last & 0xC0 == 0x80 { shown.removeLast() } }
    if !hex, let last = shown.last, last >= 0xC0 { shown.removeLast() }
    return whole(Array(shown)) + "… (\(Format.count(bytes.count)) bytes)"
  }

  private func whole(_ bytes: [UInt8]) -> String {
    hex ? Hexadecimal.text(bytes) : TextEscape.text(bytes)
  }

  /// The last line.
  func finish() throws {
    if problems > 0 { try text("\n\(Format.count(problems, "problem")) found") }
    try output.flush()
  }
}
