import RoostEnvironment
import TestSupport
import Testing

/// What a test has made, kept until the test is over: an optimised build lets go of a node right behind its
/// last mention, while others still talk to it. Thread-safe.
final class KeptAlive: @unchecked Sendable {
  @TaskLocal static var current: KeptAlive?

  private let lock = Lock()
  // Guarded by `lock`.
  private var objects: [any Ending] = []

  /// Keeps something for the test that runs now.
  static func keep(_ object: any Ending) {
    guard let current else { preconditionFailure("the suite lacks the trait .endsNodes") }
    current.lock.withLock { current.objects.append(object) }
  }

  fileprivate func end() {
    let all = lock.withLock {
      defer { objects = [] }
      return objects
    }
    for object in all { object.end() }
  }
}

/// What ends with its test.
protocol Ending: AnyObject, Sendable {
  func end()
}

/// Ends what a test has made, once it is over; and runs it on threads of its own, since it waits for sockets.
struct EndsNodes: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil else { return try await function() }
    let kept = KeptAlive()
    defer { kept.end() }
    try await KeptAlive.$current.withValue(kept) { try await OwnThreads.run(function) }
  }
}

extension Trait where Self == EndsNodes {
  static var endsNodes: EndsNodes { EndsNodes() }
}
