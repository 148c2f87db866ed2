import SystemPackage

/// Standard output or a file, through a buffer: a scan of millions of entries makes few system
/// calls.
///
/// Invariant: what was written before stands in the file or in `buffer`, in order. Whoever appends
/// to `buffer` calls ``flushIfFull()`` now and then. Used by one thread.
final class Output: @unchecked Sendable {
  static let standard = Output(.standardOutput, "standard output")

  var buffer: [UInt8] = []
  private let descriptor: FileDescriptor
  private let name: String
  private static let bufferBytes = 64 << 10

  init(_ descriptor: FileDescriptor, _ name: String) {
    self.descriptor = descriptor
    self.name = name
    buffer.reserveCapacity(2 * Self.bufferBytes)
  }

  /// - Throws: ``BrokenPipe``; ``Failure`` where the file cannot be written.
  func write(_ text: String) throws {
    buffer.append(contentsOf: text.utf8)
    try flushIfFull()
  }

  func line(_ text: String = "") throws {
    buffer.append(contentsOf: text.utf8)
    buffer.append(UInt8(ascii: "\n"))
    try flushIfFull()
  }

  /// - Parameter json: whole, on one line.
  func line(_ json: JSONWriter) throws {
    buffer.append(contentsOf: json.bytes)
    buffer.append(UInt8(ascii: "\n"))
    try flushIfFull()
  }

  @inline(__always)
  func flushIfFull() throws {
    if buffer.count >= Self.bufferBytes { try flush() }
  }

  func flush() throws {
    guard !buffer.isEmpty else { return }
    defer { buffer.removeAll(keepingCapacity: true) }
    do {
      try descriptor.writeAll(buffer)
    } catch let error as Errno {
      if error == .brokenPipe { throw BrokenPipe() }
      throw Failure(error, "write to", name)
    }
  }
}

/// Standard error, a line at a time, unbuffered. Failing to write there is no reason to fail.
enum Complaint {
  static func line(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll(Array("roost: \(text)\n".utf8))
  }
}
