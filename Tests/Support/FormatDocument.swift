import Foundation
import SystemPackage

/// FORMAT.md and its worked examples, which tests hold against what is written and read.
///
/// An example stands between `<!-- bytes: NAME -->` and the end of the code block behind it. Its
/// lines are `offset  bytes in hexadecimal  meaning`, set apart by two spaces or more; a line without an
/// offset and bytes goes on with the meaning.
public enum FormatDocument {
  /// What an example does wrong: a line whose offset does not count the bytes before it, a byte that is none,
  /// or an example that is not there.
  public struct BadExample: Error {
    public let line: String
  }

  public static func text() throws -> String {
    try String(contentsOfFile: repositoryRoot + "/FORMAT.md", encoding: .utf8)
  }

  /// The bytes of an example.
  public static func example(_ name: String) throws -> [UInt8] {
    let lines = try text().split(separator: "\n", omittingEmptySubsequences: false)
    guard let marker = lines.firstIndex(of: "<!-- bytes: \(name) -->"),
      let fence = lines[marker...].firstIndex(where: { $0.hasPrefix("```") })
    else { throw BadExample(line: name) }
    return try bytes(lines[(fence + 1)...].prefix { !$0.hasPrefix("```") }.map(String.init))
  }

  /// The bytes of an example's lines, whose offsets must count them.
  public static func bytes(_ lines: [String]) throws -> [UInt8] {
    var result: [UInt8] = []
    for line in lines {
      let columns = line.split(separator: /\ {2,}/)
      guard columns.count >= 2, let offset = Int(columns[0].filter { $0 != " " }) else { continue }
      guard offset == result.count else { throw BadExample(line: line) }
      for pair in columns[1].split(separator: " ") {
        guard pair.utf8.count == 2, let byte = UInt8(pair, radix: 16) else { throw BadExample(line: line) }
        result.append(byte)
      }
    }
    return result
  }
}

/// The folder that holds Package.swift.
public let repositoryRoot: String = {
  var path = FilePath(#filePath)
  for _ in 0..<3 { path.removeLastComponent() }
  return path.string
}()
