import Foundation

/// How much a randomised suite does: `tools/test` asks for `full`, `tools/test --quick` and a bare
/// `swift test` for `quick` (`ROOST_TEST_SIZE` in the environment).
public enum TestSize {
  public static let isFull = ProcessInfo.processInfo.environment["ROOST_TEST_SIZE"] == "full"

  /// The first number in a quick run, the second in a full one.
  public static func of(quick: Int, full: Int) -> Int { isFull ? full : quick }
}
