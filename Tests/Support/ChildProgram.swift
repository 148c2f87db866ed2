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

  /// Runs it until it has written so many lines, and kills it: see
  /// ``KilledProcess/run(_:_:after:)``.
  public static func runAndKill(
    _ arguments: [String], after lineCount: Int
  ) throws -> (lines: [String], wasKilled: Bool) {
    try KilledProcess.run(try path(), arguments, after: lineCount)
  }
}
