import Foundation
public import SystemPackage

/// A new, empty directory of the real file system, removed with all it holds when this is released.
public final class TemporaryDirectory: Sendable {
  public let path: FilePath

  /// - Parameter parent: where to make it; the system's place for temporary files where `nil`.
  public init(in parent: String? = nil) throws {
    let parent = parent ?? FileManager.default.temporaryDirectory.path
    let path = parent + "/roost-test-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    self.path = FilePath(path)
  }

  /// One on the disk that the checkout is on, also where temporary files are kept in memory: for tests
  /// of what a disk does.
  public static func onDisk() throws -> TemporaryDirectory {
    let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    return try TemporaryDirectory(in: root.appending(".build/tests").string)
  }

  deinit { try? FileManager.default.removeItem(atPath: path.string) }

  public func appending(_ name: String) -> FilePath { path.appending(name) }
}
