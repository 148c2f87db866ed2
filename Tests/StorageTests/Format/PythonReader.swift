import Foundation
import SystemPackage
import TestSupport

@testable import RoostStorage

/// `tools/format-reader.py`: reads a store by FORMAT.md alone.
enum PythonReader {
  struct Outcome {
    var lines: [Substring]
    var status: Int32
    var complaint: String
  }

  static let isAvailable: Bool = {
    (try? run(["python3", "-c", "import sys; sys.exit(sys.version_info < (3, 6))"]).status) == 0
  }()

  static func read(_ directory: FilePath) throws -> Outcome {
    try run(["python3", repositoryRoot + "/tools/format-reader.py", directory.string])
  }

  private static func run(_ command: [String]) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    let directory = NSTemporaryDirectory() + "/roost-reader-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    // Files take any amount without anybody reading at the other end.
    func sink(_ name: String) throws -> FileHandle {
      _ = FileManager.default.createFile(atPath: directory + "/" + name, contents: nil)
      return try FileHandle(forWritingTo: URL(fileURLWithPath: directory + "/" + name))
    }
    process.standardOutput = try sink("out")
    process.standardError = try sink("err")
    try process.run()
    process.waitUntilExit()
    func text(_ name: String) throws -> String {
      try String(contentsOfFile: directory + "/" + name, encoding: .utf8)
    }
    return Outcome(
      lines: try text("out").split(separator: "\n"), status: process.terminationStatus,
      complaint: try text("err"))
  }
}

extension Store {
  /// Every live key and value, as `format-reader.py` prints them: trees in the order of their ids.
  func allLines() throws -> [Substring] {
    var lines: [Substring] = []
    for tree in stateLock.withLock({ trees.values.sorted { $0.id < $1.id } }) {
      var cursor = try Tree(self, tree).cursor()
      while try cursor.next() {
        let (key, value) = (hex(cursor.keyBytes), hex(cursor.valueBytes))
        lines.append("{\"tree\": \"\(tree.name)\", \"key\": \"\(key)\", \"value\": \"\(value)\"}")
      }
    }
    return lines
  }
}

private func hex(_ bytes: [UInt8]) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
