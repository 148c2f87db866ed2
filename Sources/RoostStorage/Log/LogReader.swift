import RoostEnvironment
import SystemPackage

/// Reads the frames of one log file, front to back.
///
/// The file is read through a window that grows to the largest frame. Views of payloads stay valid
/// until the next call. Damage is a value, never a trap: whatever the bytes are, reading ends.
///
/// Not thread-safe.
final class LogReader {
  /// A frame whose checksum, length and kind are right.
  struct Frame {
    var offset: Int
    var kind: LogFrame.Kind
    /// Valid until the reader's next call.
    var payload: ByteView

    /// Where the next frame begins.
    var end: Int { offset + LogFrame.byteCount(payload: payload.count) }
  }

  enum Step {
    case frame(Frame)
    /// No frame begins here: the file ends, or the header is zeros.
    case end(offset: Int)
    /// A header that is not zeros, of no valid frame.
    case damaged(offset: Int)
  }

  let path: FilePath
  let header: LogHeader
  /// What is wrong with the header, where it was taken at its word all the same.
  let headerProblem: StoreError?
  /// Bytes of the file.
  let byteCount: Int
  /// Where the next frame is looked for.
  private(set) var offset = LogHeader.byteCount

  private let file: any File
  private var window = ByteBuffer(capacity: 16)
  private var windowStart = 0
  private static let windowBytes = 256 << 10

  /// Opens a log file and reads its header.
  ///
  /// - Parameter isTrusting: whether a damaged header is taken at its word. If its salt is right, so are
  ///   the checksums of the frames.
  /// - Throws: `.missingFile`, `.corruption`, `.newerFormat`, `.io`, `.tooManyFiles`.
  init(
    _ fileSystem: any FileSystem, _ path: FilePath, trustingHeader isTrusting: Bool = false
  ) throws(StoreError) {
    self.path = path
    file = try doing("open a log") { () throws(FileSystemError) in try fileSystem.open(path, .read)
    }
    let file = self.file
    byteCount = Int(
      clamping: try doing("read a log's size") { () throws(FileSystemError) in try file.size() })
    var start = ByteBuffer(capacity: LogHeader.byteCount)
    try doing("read a log") { () throws(FileSystemError) in
      try start.append(upTo: LogHeader.byteCount) { (span) throws(FileSystemError) in
        try file.read(into: &span, at: 0)
      }
    }
    do throws(StoreError) {
      header = try LogHeader.decode(start.view, file: path.string)
      headerProblem = nil
    } catch {
      guard isTrusting, let claimed = LogHeader(unchecked: start.view) else { throw error }
      header = claimed
      headerProblem = error
    }
    file.advise(.sequential)
  }

  /// The frame at `offset`, and moves behind it; where there is none, says why and stays.
  ///
  /// - Throws: `.io`; `.corruption` for a frame whose checksum is right and whose contents no
  ///   writer makes.
  func next() throws(StoreError) -> Step {
    guard let head = try bytes(at: offset, LogFrame.headerBytes) else {
      return try isZero(from: offset) ? .end(offset: offset) : .damaged(offset: offset)
    }
    let word = head.loadUInt64(at: 8)
    if word == 0, head.loadUInt64(at: 0) == 0 { return .end(offset: offset) }
    guard let payload = try payload(at: offset) else { return .damaged(offset: offset) }
    guard let kind = Self.kind(word), Self.isWellFormed(kind, payload.count) else {
      throw .corruption(
        "a frame of no known kind or shape", file: path.string, offset: Int64(offset))
    }
    let frame = Frame(offset: offset, kind: kind, payload: payload)
    offset = frame.end
    return .frame(frame)
  }

  /// The next valid frame at or behind `start`, at whatever multiple of 8, that `wanted` accepts by
  /// its kind; moves behind it. For what lies beyond damage.
  ///
  /// - Parameter effort: bytes to checksum at most, so that bytes made to look like many frames
  ///   cannot make this take quadratic time; marks are always checked. Lowered by what was spent.
  /// - Complexity: O(bytes to the end of the file + `effort`).
  func findFrame(
    from start: Int, effort: inout Int, _ wanted: (LogFrame.Kind) -> Bool
  ) throws(StoreError) -> Frame? {
    var at = max(start, LogHeader.byteCount)
    while let head = try bytes(at: at, LogFrame.headerBytes) {
      let word = head.loadUInt64(at: 8)
      if let kind = Self.kind(word), wanted(kind) {
        let length = Int(word & 0xFFFF_FFFF)
        if Self.isWellFormed(kind, length), kind != .record || length <= effort {
          if kind == .record { effort -= length }
          if let payload = try payload(at: at) {
            let frame = Frame(offset: at, kind: kind, payload: payload)
            offset = frame.end
            return frame
          }
        }
      }
      at += LogFrame.alignment
    }
    return nil
  }

  /// Where the last byte that is not zero ends, at or behind `start` and before `end`.
  func contentEnd(from start: Int, to end: Int? = nil) throws(StoreError) -> Int {
    let end = end ?? byteCount
    var last = start
    var at = start
    while at < end {
      let count = min(Self.windowBytes, end - at)
      guard let chunk = try bytes(at: at, count) else { break }
      if let i = (0..<count).last(where: { chunk[$0] != 0 }) { last = at + i + 1 }
      at += count
    }
    return last
  }

  /// What the header at `start` says, right or wrong.
  func claim(at start: Int) throws(StoreError) -> (kind: UInt8, length: UInt32)? {
    guard let head = try bytes(at: start, LogFrame.headerBytes) else { return nil }
    return (head[12], head.loadUInt32(at: 8))
  }

  /// Looks for the next frame at `start`.
  func rewind(to start: Int) { offset = start }

  /// What a mark frame states.
  static func mark(_ frame: Frame) -> LogPosition {
    LogPosition(
      log: frame.payload.loadUInt64(at: 0), offset: Int(clamping: frame.payload.loadUInt64(at: 8)))
  }

  // MARK: -

  private static func kind(_ word: UInt64) -> LogFrame.Kind? {
    LogFrame.Kind(rawValue: UInt32(truncatingIfNeeded: word >> 32))
  }

  private static func isWellFormed(_ kind: LogFrame.Kind, _ length: Int) -> Bool {
    switch kind {
    case .record: true
    case .mark: length == LogFrame.markPayloadBytes
    case .end: length == LogFrame.endPayloadBytes
    }
  }

  /// The payload of the frame at `start`, if its length lies in the file and its checksum is right.
  private func payload(at start: Int) throws(StoreError) -> ByteView? {
    guard let head = try bytes(at: start, LogFrame.headerBytes) else { return nil }
    let length = Int(head.loadUInt32(at: 8))
    guard let frame = try bytes(at: start, LogFrame.headerBytes + length) else { return nil }
    let sum = LogFrame.checksum(frame.dropFirst(8), at: start, salt: header.salt)
    return sum == frame.loadUInt64(at: 0) ? frame.dropFirst(LogFrame.headerBytes) : nil
  }

  private func isZero(from start: Int) throws(StoreError) -> Bool {
    try contentEnd(from: start) == start
  }

  /// `count` bytes at `start`, or `nil` where the file is too short.
  private func bytes(at start: Int, _ count: Int) throws(StoreError) -> ByteView? {
    guard count <= byteCount - start else { return nil }
    if start < windowStart || start + count > windowStart + window.count {
      let wanted = min(max(count, Self.windowBytes), byteCount - start)
      window.removeAll()
      let file = self.file
      try doing("read a log") { () throws(FileSystemError) in
        try window.append(upTo: wanted) { (span) throws(FileSystemError) in
          try file.read(into: &span, at: Int64(start))
        }
      }
      windowStart = start
      // Cut short by someone else since it was opened: the bytes are not there.
      guard window.count >= count else { return nil }
    }
    return window.view.slice(start - windowStart, start - windowStart + count)
  }
}
