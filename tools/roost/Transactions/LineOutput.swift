import RoostEnvironment
import SystemPackage

/// Standard output, a whole line at a time, from any thread: for those who must know what was
/// acknowledged when the process is killed.
final class LineOutput: Sendable {
  static let standard = LineOutput()
  private let lock = Lock()

  /// - Throws: ``BrokenPipe``, ``Failure``.
  func line(_ text: String) throws {
    let bytes = Array((text + "\n").utf8)
    do {
      _ = try lock.withLock { try FileDescriptor.standardOutput.writeAll(bytes) }
    } catch let error as Errno {
      if error == .brokenPipe { throw BrokenPipe() }
      throw Failure(error, "write to", "standard output")
    }
  }
}
