import ArgumentParser
import RoostStorage
import SystemPackage

/// `roost export`: writes the records of a tree to a file.
struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a tree to a file.",
    discussion: """
      One moment of the tree, in key order.

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
  @OptionGroup var bytes: BytesOptions
  @Flag(help: "Replace the file where it exists.") var force = false

  func run() throws {
    let range = try self.range.range(bytes)
    let format = format ?? RecordFormat(path: file) ?? .tsv
    guard let file, file != "-" else { return try export(range, format, to: .standard) }
    try withStore(directory.directory) { store in
      let tree = try store.requireTree(self.tree.tree)
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
      try write(tree, range, format, to: Output(descriptor, file))
    }
  }

  private func export(_ range: KeyRange, _ format: RecordFormat, to output: Output) throws {
    try withStore(directory.directory) { store in
      try write(store.requireTree(self.tree.tree), range, format, to: output)
    }
  }

  private func write(_ tree: Tree, _ range: KeyRange, _ format: RecordFormat, to output: Output)
    throws
  {
    var progress = Progress()
    var count = 0
    var cursor = try tree.cursor(range, nil)
    defer { progress.clear() }
    switch format {
    case .tsv: try copy(&cursor, TSVWriter(output: output), &count, &progress)
    case .jsonl: try copy(&cursor, JSONLinesWriter(output: output), &count, &progress)
    case .binary: try copy(&cursor, BinaryWriter(output), &count, &progress)
    }
  }

  private func copy(
    _ cursor: inout Cursor, _ writer: some RecordWriter, _ count: inout Int,
    _ progress: inout Progress
  ) throws {
    var writer = writer
    while try cursor.next() {
      try writer.write(key: cursor.key, value: cursor.value)
      count += 1
      if count & 0xFFF == 0 { progress.show("\(Format.count(count)) records") }
    }
    try writer.finish()
  }
}
