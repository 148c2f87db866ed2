import ArgumentParser
import Roost
import RoostCluster
import RoostStorage

/// `roost import`: writes the records of a file to a tree.
struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a file to a tree.",
    discussion: """
      Creates the store and the tree where they are missing. Records replace those of
      the same key. They are written in batches, each of them all or nothing; where the
      input is bad, what came before it has been written, and the error says how much.

      In a database each record replaces what its key holds, one by one.

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
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Make all of it survive power loss before returning.") var sync = false

  /// A batch is closed at so many bytes, however few records it has.
  private static let batchBytes = 4 << 20

  func validate() throws {
    if batch < 1 { throw ValidationError("--batch must be at least 1.") }
  }

  func run() throws {
    let isDatabase = try DatabaseDirectory.isDatabase(directory.directory, tree)
    let input = try Input(file)
    let format = format ?? RecordFormat(path: file) ?? .tsv
    // Before the store is created: a wrong format leaves nothing behind.
    var reader: any RecordReader
    do { reader = try Self.reader(format, input) } catch let bad as BadRecord {
      throw Failure(.badInput, "\(input.name), \(bad.place): \(bad.message); nothing was imported")
    }
    var progress = Progress()
    let start = ContinuousClock.now
    let count =
      isDatabase
      ? try importToKeyspace(&reader, input, &progress) : try importToTree(&reader, input, &progress)
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

  private func importToTree(
    _ reader: inout any RecordReader, _ input: Input, _ progress: inout Progress
  ) throws -> Int {
    try withStore(directory.directory, creates: true) { store in
      let tree = try store.tree(self.tree.tree)
      var pending = WriteBatch()
      let count = try copy(&reader, input, &progress, limit: BinaryFormat.maxKeyBytes) { record in
        if let record { pending.put(record.key, record.value, in: tree) }
        let isFull = pending.count >= batch || pending.byteCount >= Self.batchBytes
        guard record == nil || isFull else { return false }
        try store.commit(pending)
        pending.removeAll()
        return true
      }
      if sync { try store.sync() }
      return count
    }
  }

  private func importToKeyspace(
    _ reader: inout any RecordReader, _ input: Input, _ progress: inout Progress
  ) throws -> Int {
    try withDatabase(directory.directory) { database in
      let keyspace = try database.madeKeyspace(self.keyspace)
      let count = try copy(&reader, input, &progress, limit: StoredKey.longestKey) { record in
        if let record { try keyspace.replace(record.key, record.value) }
        return true
      }
      if sync { try database.syncAll() }
      return count
    }
  }

  /// Hands the records to `write`, and at the end `nil`.
  ///
  /// - Parameters:
  ///   - limit: most bytes of a key.
  ///   - write: returns whether all that it was handed is written.
  /// - Returns: how many records were written.
  private func copy(
    _ reader: inout any RecordReader, _ input: Input, _ progress: inout Progress, limit: Int,
    _ write: ((key: [UInt8], value: [UInt8])?) throws -> Bool
  ) throws -> Int {
    var written = 0
    var pending = 0
    do {
      while let record = try reader.next() {
        if record.key.isEmpty || record.key.count > limit {
          let size = record.key.isEmpty ? "is empty" : "has \(record.key.count) bytes"
          throw BadRecord(
            place: "record \(written + pending + 1)",
            message: "the key \(size); a key has 1 to \(limit)")
        }
        pending += 1
        guard try write(record) else { continue }
        written += pending
        pending = 0
        progress.show(Self.progress(written, input))
      }
      _ = try write(nil)
      return written + pending
    } catch let bad as BadRecord {
      _ = try write(nil)
      progress.clear()
      throw Failure(
        .badInput,
        "\(input.name), \(bad.place): \(bad.message); "
          + "\(Format.count(written + pending, "record")) before it imported"
      )
    } catch let error as StoreError {
      throw failed(Failure(error), written, &progress)
    } catch let error as DatabaseError {
      throw failed(Failure(error), written, &progress)
    }
  }

  private func failed(_ failure: Failure, _ written: Int, _ progress: inout Progress) -> Failure {
    progress.clear()
    return Failure(
      failure.status, "\(failure.message); \(Format.count(written, "record")) imported")
  }

  private static func progress(_ written: Int, _ input: Input) -> String {
    var text = "\(Format.count(written)) records, \(Format.bytes(input.offset))"
    if let all = input.byteCount, all > 0 { text += ", \(input.offset * 100 / all) %" }
    return text
  }
}
