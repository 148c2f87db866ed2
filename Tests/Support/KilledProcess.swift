import Foundation

/// A program that is killed in the middle of its work.
public enum KilledProcess {
  /// Runs a program until it has written so many lines, and kills it with SIGKILL.
  ///
  /// - Returns: its whole lines, those included that it wrote before the kill reached it, and whether
  ///   it was the kill that ended it: not where it ended by itself before.
  public static func run(
    _ executable: String, _ arguments: [String], after lineCount: Int
  ) throws -> (lines: [String], wasKilled: Bool) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    var text = Data()
    var lines = 0
    while lines < lineCount {
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { break }
      lines += more.count { $0 == UInt8(ascii: "\n") }
      text.append(more)
    }
    if lines >= lineCount { kill(process.processIdentifier, SIGKILL) }
    text.append(output.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    let wasKilled =
      process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL
    // A last line may be cut off; what is whole was said.
    let all = String(decoding: text, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    return (all, wasKilled)
  }
}
