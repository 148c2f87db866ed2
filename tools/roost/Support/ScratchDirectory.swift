import Glibc
import RoostEnvironment
import SystemPackage

/// A new directory in the system's place for temporary files, removed with all it holds by
/// ``remove()`` or when released.
final class ScratchDirectory {
  let path: FilePath
  private let fileSystem = Environment.posix().fileSystem
  private var isRemoved = false

  /// - Throws: ``Failure``.
  init() throws {
    let parent = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/roost-tour-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
      throw Failure(Errno(rawValue: errno), "create a directory in", parent)
    }
    path = FilePath(
      String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
  }

  deinit { remove() }

  func appending(_ name: String) -> String { path.appending(name).string }

  /// Best effort: what cannot be removed stays, in a place that the system empties.
  func remove() {
    if isRemoved { return }
    isRemoved = true
    remove(path)
  }

  private func remove(_ directory: FilePath) {
    for name in (try? fileSystem.entries(of: directory)) ?? [] {
      let path = directory.appending(name)
      if (try? fileSystem.info(of: path))?.isDirectory == true {
        remove(path)
      } else {
        try? fileSystem.remove(path)
      }
    }
    _ = unsafe directory.withPlatformString { unsafe rmdir($0) }
  }
}
