import Glibc
import SystemPackage

/// What stands at the other end of the standard streams.
enum Terminal {
  static let isInput = isatty(STDIN_FILENO) == 1
  static let isOutput = isatty(STDOUT_FILENO) == 1
  static let isError = isatty(STDERR_FILENO) == 1
}

/// A line on standard error that is written over as work goes on; nothing where that is no
/// terminal.
struct Progress {
  private var last = ContinuousClock.now
  private var width = 0

  init() {}

  /// Shows the text, ten times a second at most.
  mutating func show(_ text: @autoclosure () -> String) {
    guard Terminal.isError, last.duration(to: .now) > .milliseconds(100) else { return }
    last = .now
    let line = text()
    put("\r" + line + String(repeating: " ", count: max(0, width - line.count)))
    width = line.count
  }

  /// Wipes the line.
  mutating func clear() {
    guard width > 0 else { return }
    put("\r" + String(repeating: " ", count: width) + "\r")
    width = 0
  }

  private func put(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll(Array(text.utf8))
  }
}
