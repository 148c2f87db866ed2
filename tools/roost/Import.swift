import ArgumentParser
import RoostStorage

/// `roost import`: writes the records of a file to a tree.
struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a file to a tree.",
    discussion: """
      Creates the store and the tree where they are missing. Records replace those of
      the same key. They are written in batches, each of them all or nothing; where the
      input is bad, what came before it has been written, and the error says how much.

      EXAMPLES
        roost import ./db people.tsv
        roost import ./db --format jsonl < people.jsonl
        roost export ./old --format binary | roost import ./new --format binary

      \(RecordFormat.help)
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The file; standard input where it is missing or -.", completion: .file())
  var file: String?
  @Option(help: "tsv, jsonl or binary.") var format: RecordFormat?
  @Option(help: "Records a batch, at most.") var batch = 1000
  @OptionGroup var tree: TreeOption
  @Flag(help: "Make all of it survive power loss before returning.") var sync = false

  /// A batch is closed at so many bytes, however few records it has.
  private static let batchBytes = 4 << 20

  func validate() throws {
    if batch < 1 { throw ValidationError("--batch must be at least 1.") }
  }

  func run() throws {
    try DatabaseDirectory.requirePlain(directory.directory)
    let input = try Input(file)
    let format = format ?? RecordFormat(path: file) ?? .tsv
    // Before the store is created: a wrong format leaves nothing behind.
    var reader: any RecordReader
    do { reader = try Self.reader(format, input) } catch let bad as BadRecord {
      throw Failure(.badInput, "\(input.name), \(bad.place): \(bad.message); nothing was imported")
    }
    var progress = Progress()
    let start = ContinuousClock.now
    let count = try withStore(directory.directory, creates: true) { store in
      let tree = try store.tree(self.tree.tree)
      let count = try write(&reader, to: tree, of: store, input, &progress)
      if sync { try store.sync() }
      return count
    }
    progress.clear()
    if Terminal.isError {
      let time = start.duration(to: .now)
      Complaint.line("\(Format.count(count, "record")) imported in \(Format.duration(time))")
    }
  }

  static func reader(_ format: RecordFormat, _ input: Input) throws -> any RecordReader {
    switch format {
    case .tsv: TSVReader(input)
    case .jsonl: JSONLinesReader(input)
    case .binary: try BinaryReader(input)
    }
  }

  private func write(
    _ reader: inout any RecordReader, to tree: Tree, of store: Store, _ input: Input,
    _ progress: inout Progress
  ) throws -> Int {
    var written = 0
    var pending = WriteBatch()
    func commit(_ batch: inout WriteBatch) throws {
      try store.commit(batch)
      written += batch.count
      batch.removeAll()
    }
    do {
      while let record = try reader.next() {
        if record.key.isEmpty || record.key.count > BinaryFormat.maxKeyBytes {
          let size = record.key.isEmpty ? "is empty" : "has \(record.key.count) bytes"
          throw BadRecord(
            place: "record \(written + pending.count + 1)",
            message: "the key \(size); a key has 1 to \(BinaryFormat.maxKeyBytes)")
        }
        pending.put(record.key, record.value, in: tree)
        if pending.count >= batch || pending.byteCount >= Self.batchBytes {
          try commit(&pending)
          progress.show(Self.progress(written, input))
        }
      }
      try commit(&pending)
    } catch let bad as BadRecord {
      try commit(&pending)
      progress.clear()
      throw Failure(
        .badInput,
        "\(input.name), \(bad.place): \(bad.message); \(Format.count(written, "record")) "
          + "before it imported"
      )
    } catch let error as StoreError {
      progress.clear()
      let failure = Failure(error)
      throw Failure(
        failure.status, "\(failure.message); \(Format.count(written, "record")) imported")
    }
    return written
  }

  private static func progress(_ written: Int, _ input: Input) -> String {
    var text = "\(Format.count(written)) records, \(Format.bytes(input.offset))"
    if let all = input.byteCount, all > 0 { text += ", \(input.offset * 100 / all) %" }
    return text
  }
}
