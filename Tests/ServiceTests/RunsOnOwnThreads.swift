import TestSupport
import Testing

/// Runs tests that go by the machine's clock on threads of their own: see `OwnThreads`.
struct RunsOnOwnThreads: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil else { return try await function() }
    try await OwnThreads.run(function)
  }
}

extension Trait where Self == RunsOnOwnThreads {
  static var ownThreads: RunsOnOwnThreads { RunsOnOwnThreads() }
}
