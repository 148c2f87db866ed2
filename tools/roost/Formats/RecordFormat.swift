import ArgumentParser

/// How `import` and `export` lay out records.
enum RecordFormat: String, ExpressibleByArgument, CaseIterable {
  case tsv
  case jsonl
  case binary

  /// The format that a file's name tells.
  init?(path: String?) {
    guard let path, let dot = path.lastIndex(of: ".") else { return nil }
    switch path[path.index(after: dot)...] {
    case "tsv", "txt": self = .tsv
    case "jsonl", "ndjson", "json": self = .jsonl
    case "roost", "bin": self = .binary
    default: return nil
    }
  }

  static let help = """
    FORMATS
      tsv     a line a record: KEY <tab> VALUE, escaped as everywhere in roost:
              \\\\ \\n \\t \\r, and \\xHH for any other byte that is not printable
      jsonl   a line a record: {"key":"…","value":"…"}; bytes that are not
              UTF-8 as {"hex":"00ff"}
      binary  Roost's own: any bytes, compact, checksummed; a file that was cut
              short or changed is noticed

    Without --format the file's name decides (.tsv .jsonl .roost), else it is tsv.
    """
}

/// What is wrong with a file to be imported, and where in it.
struct BadRecord: Error {
  /// `line 17`, `offset 4096`.
  var place: String
  var message: String
}

/// Hands out the records of a file, front to back.
protocol RecordReader {
  /// - Returns: `nil` at the end.
  /// - Throws: ``BadRecord``; ``Failure`` where the file cannot be read.
  mutating func next() throws -> (key: [UInt8], value: [UInt8])?
}

/// Writes records to a file. ``finish()`` comes last, and once.
protocol RecordWriter {
  mutating func write(key: RawSpan, value: RawSpan) throws
  mutating func finish() throws
}
