import Foundation

/// The files of the repository that these tests are built from.
enum Repository {
  /// The repository's root: two folders above this file's.
  static let root: String = {
    var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    parts.removeLast(3)
    return parts.joined(separator: "/")
  }()

  /// A file of the repository, its path relative to the root.
  struct File: Sendable, CustomStringConvertible {
    let path: String
    let text: String

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var description: String { path }
  }

  /// All files below `folder` whose name ends in `suffix`, in order of their paths, without build
  /// folders.
  static func files(in folder: String, suffix: String) -> [File] {
    guard let walk = FileManager.default.enumerator(atPath: "\(root)/\(folder)") else { return [] }
    var paths: [String] = []
    for case let path as String in walk {
      if path.split(separator: "/").contains(where: { $0.hasPrefix(".build") }) {
        walk.skipDescendants()
      } else if path.hasSuffix(suffix) {
        paths.append(folder.isEmpty ? path : "\(folder)/\(path)")
      }
    }
    return paths.sorted().compactMap(file)
  }

  /// One file, nil where there is none.
  static func file(_ path: String) -> File? {
    guard let data = FileManager.default.contents(atPath: "\(root)/\(path)") else { return nil }
    return File(path: path, text: String(decoding: data, as: UTF8.self))
  }

  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: "\(root)/\(path)")
  }
}
