import Foundation
import SystemPackage

/// The program that the kill tests start and kill: it is built beside the tests.
public enum ChildProgram {
  public struct Missing: Error {}

  public static func path() throws -> String {
    for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
      let path = FilePath(argument).removingLastComponent().appending("KillChild").string
      if FileManager.default.isExecutableFile(atPath: path) { return path }
    }
    throw Missing()
  }

  /// Runs it until it has written so many lines, and kills it.
  ///
  /// - Returns: its whole lines, those included that it wrote before the kill reached it, and whether
  ///   it was the kill that ended it.
  public static func runAndKill(
    _ arguments: [String], after lineCount: Int
  ) throws -> (lines: [String], wasKilled: Bool) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try path())
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
    kill(process.processIdentifier, SIGKILL)
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
