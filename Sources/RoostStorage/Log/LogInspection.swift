import RoostEnvironment
import SystemPackage

/// Everything that stands in a log file, the damaged parts too, for people to look at.
package enum LogInspection {
  /// One stretch of the file. The stretches follow each other without gaps from the header's end to
  /// the file's end.
  package struct Part: Sendable {
    package enum Content: Sendable, Equatable {
      /// A valid frame. Its payload begins 16 bytes in.
      case record
      /// States that this log up to an offset, and all older logs, had been synced.
      case mark(log: UInt64, offset: UInt64)
      /// The log goes on in another.
      case end(next: UInt64)
      /// Bytes of no valid frame: damage, or what an earlier use of the file left.
      case invalid
      /// Zeros.
      case unused
    }

    package var offset: Int64
    package var byteCount: Int64
    package var content: Content
    /// A valid frame's payload.
    package var payload: [UInt8] = []
    /// What the frame header says that stands where an invalid stretch begins.
    package var claimedKind: UInt8?
    package var claimedLength: UInt32?
  }

  /// A log file's header.
  package struct Header: Sendable {
    /// 1 write-ahead log, 2 manifest, 3 coordinator log.
    package var purpose: UInt32
    package var number: UInt64
    package var salt: UInt64
    package var identity: UInt128
    package var byteCount: Int64
    /// What is wrong with it. The other members are then what it says, right or wrong.
    package var problem: StoreError?

    fileprivate init(_ reader: LogReader) {
      let header = reader.header
      purpose = header.purpose.rawValue
      number = header.number
      salt = header.salt
      identity = header.identity
      byteCount = Int64(reader.byteCount)
      problem = reader.headerProblem
    }
  }

  /// Reads a log file's header alone.
  ///
  /// - Throws: `.corruption` where the file is shorter than a header; `.missingFile`, `.io`.
  package static func header(
    _ fileSystem: any FileSystem, _ path: FilePath
  ) throws(StoreError) -> Header {
    Header(try LogReader(fileSystem, path, trustingHeader: true))
  }

  /// Reads a log file's header and hands every part of the file to `body`, front to back.
  ///
  /// Behind bytes that are no frame it looks for the next frame at every multiple of 8. A damaged header
  /// is taken at its word: where its salt is damaged, no frame is valid.
  ///
  /// - Throws: `.corruption` where the file is shorter than a header; `.missingFile`, `.io`; what
  ///   `body` throws.
  /// - Complexity: O(size of the file).
  @discardableResult
  package static func read(
    _ fileSystem: any FileSystem, _ path: FilePath, _ body: (Part) throws -> Void
  ) throws -> Header {
    let reader = try LogReader(fileSystem, path, trustingHeader: true)
    var at = LogHeader.byteCount
    while at < reader.byteCount {
      reader.rewind(to: at)
      if case .frame(let frame)? = try? reader.next() {
        try body(part(frame))
        at = frame.end
        continue
      }
      var effort = 4 * reader.byteCount
      // The found frame is read again at its turn: its view does not last.
      let next = try reader.findFrame(from: at + 8, effort: &effort) { _ in true }?.offset
      let end = next ?? reader.byteCount
      let content = min(end, (try reader.contentEnd(from: at, to: end) + 7) & ~7)
      if content > at {
        let claim = try reader.claim(at: at)
        try body(
          Part(
            offset: Int64(at), byteCount: Int64(content - at), content: .invalid,
            claimedKind: claim?.kind, claimedLength: claim?.length))
      }
      if end > content {
        try body(Part(offset: Int64(content), byteCount: Int64(end - content), content: .unused))
      }
      at = end
    }
    return Header(reader)
  }

  private static func part(_ frame: LogReader.Frame) -> Part {
    let content: Part.Content =
      switch frame.kind {
      case .record: .record
      case .mark:
        .mark(log: frame.payload.loadUInt64(at: 0), offset: frame.payload.loadUInt64(at: 8))
      case .end: .end(next: frame.payload.loadUInt64(at: 0))
      }
    return Part(
      offset: Int64(frame.offset), byteCount: Int64(frame.end - frame.offset), content: content,
      payload: frame.payload.array)
  }
}
