import ArgumentParser
import Roost
import RoostCluster
import RoostStorage
import SystemPackage

/// `roost export`: writes the records of a tree to a file.
struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a tree to a file.",
    discussion: """
      One moment of the tree, in key order. Of a database a keyspace is written, each key as
      a scan comes to it; a key with siblings or a typed value ends the export, and times to
      live are not kept (`roost exchange` hands over all of it).

      EXAMPLES
        roost export ./db people.tsv
        roost export ./db --format jsonl | jq .value
        roost export ./db --prefix u: users.roost

      \(RecordFormat.help)
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The file; standard output where it is missing or -.", completion: .file())
  var file: String?
  @Option(help: "tsv, jsonl or binary.") var format: RecordFormat?
  @OptionGroup var range: RangeOptions
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @OptionGroup var bytes: BytesOptions
  @Flag(help: "Replace the file where it exists.") var force = false

  func run() throws {
    let range = try self.range.range(bytes)
    let format = format ?? RecordFormat(path: file) ?? .tsv
    // A tree that is named is a tree, of this one store.
    if tree.tree == "default", try DatabaseDirectory.isDatabase(directory.directory) {
      return try withDatabase(directory.directory) { database in
        let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
        try withOutput { output in
          try write(format, to: output) { write in
            try keyspace.forEach(range) { key, record in
              let value = try keyspace.soleValue(record, of: bytes.text(key))
              try unsafe write(key.span.bytes, value.span.bytes)
            }
          }
        }
      }
    }
    try withStore(directory.directory) { store in
      let tree = try store.requireTree(self.tree.tree)
      try withOutput { output in
        try write(format, to: output) { write in
          var cursor = try tree.cursor(range, nil)
          while try cursor.next() { try write(cursor.key, cursor.value) }
        }
      }
    }
  }

  /// Runs `body` with where the records go.
  private func withOutput(_ body: (Output) throws -> Void) throws {
    guard let file, file != "-" else { return try body(.standard) }
    let descriptor: FileDescriptor
    do {
      descriptor = unsafe try FileDescriptor.open(
        file, .writeOnly, options: force ? [.create, .truncate] : [.create, .exclusiveCreate],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch let error as Errno {
      if error == .fileExists {
        throw Failure.usage("\(file) exists already; --force replaces it")
      }
      throw Failure(error, "create", file)
    }
    defer { try? descriptor.close() }
    try body(Output(descriptor, file))
  }

  /// Writes what `records` hands to its argument.
  private func write(
    _ format: RecordFormat, to output: Output,
    _ records: ((RawSpan, RawSpan) throws -> Void) throws -> Void
  ) throws {
    var progress = Progress()
    var count = 0
    defer { progress.clear() }
    var writer = try Self.writer(format, output)
    try records { key, value in
      try writer.write(key: key, value: value)
      count += 1
      if count & 0xFFF == 0 { progress.show("\(Format.count(count)) records") }
    }
    try writer.finish()
  }

  private static func writer(
    _ format: RecordFormat, _ output: Output
  ) throws -> any RecordWriter {
    switch format {
    case .tsv: TSVWriter(output: output)
    case .jsonl: JSONLinesWriter(output: output)
    case .binary: try BinaryWriter(output)
    }
  }
}
