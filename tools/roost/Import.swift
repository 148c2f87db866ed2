import ArgumentParser
import Roost
import RoostCluster
import RoostStorage

/// `roost import`: writes the records of a file to a tree or a keyspace.
struct Import: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a file to a tree.",
    usage: PlaceOptions.usage("import", "[<file>]"),
    discussion: """
      Creates the store and the tree where they are missing. Records replace those of
      the same key. They are written in batches, each of them all or nothing; where the
      input is bad, or cannot be read any further, what came before it has been written, and
      the error says how much. What comes slowly waits for a whole batch: --batch 1 waits for none.

      In a database each record replaces what its key holds, one by one, as they come.

      EXAMPLES
        roost import ./db people.tsv
        roost import ./db --format jsonl < people.jsonl
        roost export ./old --format binary | roost import ./new --format binary

      Of a cluster it asks a node, several keys at a time; keyspaces are made before, and of a
      transactional one up to 1,000 keys of a batch are one transaction, fewer where they take long:
        roost import --connect 127.0.0.1:7421 --cluster music --plain people.tsv
        roost export ./db | roost import --connect 127.0.0.1:7421 --cluster music --plain -k people
      Where it ends early, the records of all batches before are written, and perhaps some of the last
      one. To import the file again is right in a transactional keyspace; in another one it may leave a
      value beside itself, where a node still did what it had not answered.

      \(RecordFormat.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @Argument(help: "The file; standard input where it is missing or -.", completion: .file())
  var file: String?
  @Option(help: "tsv, jsonl or binary.") var format: RecordFormat?
  @Option(help: "Records a batch, at most.") var batch = 1000
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Make all of it survive power loss before returning.") var sync = false
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory, file: file)
    try place.requireNoSession()
    if batch < 1 { throw ValidationError("--batch must be at least 1.") }
  }

  func run() async throws {
    let (directory, file) = try place.split(directory, file: file)
    if directory == nil { try tree.requireNone() }
    let hasKeyspaces = try directory.map { try DatabaseDirectory.isDatabase($0, tree) } ?? true
    // Before the store is created: a wrong format leaves nothing behind.
    var run = try ImportRun(
      Input(file), format ?? RecordFormat(path: file) ?? .tsv, batch: batch,
      longestKey: hasKeyspaces ? StoredKey.longestKey : BinaryFormat.maxKeyBytes)
    let start = ContinuousClock.now
    do {
      if let directory {
        if hasKeyspaces { try importToKeyspace(directory, &run) } else { try importToTree(directory, &run) }
      } else {
        try await importToCluster(&run)
      }
    } catch let error as StoreError {
      throw run.failed(Failure(error))
    } catch let error as DatabaseError {
      // In a cluster several are written at a time, once it is known that there is where to.
      throw run.failed(Failure(error), perhapsMore: directory == nil && error.code != .unknownKeyspace)
    }
    if Terminal.isError {
      let time = start.duration(to: .now)
      Complaint.line("\(Format.count(run.written, "record")) imported in \(Format.duration(time))")
    }
  }

  private func importToTree(_ directory: String, _ run: inout ImportRun) throws {
    try withStore(directory, creates: true) { store in
      let tree = try store.tree(self.tree.tree)
      while let records = run.next() {
        try store.write { batch in
          for record in records { batch.put(record.key, record.value, in: tree) }
        }
        run.wrote(records.count)
      }
      try run.finish()
      if sync { try store.sync() }
    }
  }

  private func importToKeyspace(_ directory: String, _ run: inout ImportRun) throws {
    try withDatabase(directory) { database in
      let keyspace = try database.madeKeyspace(self.keyspace)
      // Each is written alone, so none has to wait for those behind it.
      while let records = run.next(atMost: 1) {
        for record in records { try keyspace.replace(record.key, record.value) }
        run.wrote(records.count)
      }
      try run.finish()
      if sync { try database.syncAll() }
    }
  }

  private func importToCluster(_ run: inout ImportRun) async throws {
    try await place.withKeys { keys in
      // Also where there is nothing to write: a wrong name does not pass for success.
      try await place.requireKeyspace(keyspace.keyspace, keys)
      while let records = run.next() {
        try await keys.cluster.multiPut(
          records, in: keyspace.keyspace, quorum: place.quorum, sync ? .synced : .applied)
        run.wrote(records.count)
      }
      try run.finish()
    }
  }
}

/// The records of a file on their way to where they go, batch by batch, and how far that is. Used by one
/// thread at a time.
struct ImportRun {
  private let input: Input
  private var reader: any RecordReader
  private let batch: Int
  private let longestKey: Int
  /// What is wrong behind the records that were handed out: a ``BadRecord``, or a ``Failure`` to read.
  private var problem: (any Error)?
  private var read = 0
  private(set) var written = 0
  private var progress = Progress()

  /// A batch is closed at so many bytes, however few records it has.
  private static let batchBytes = 4 << 20

  /// - Parameters:
  ///   - input: used by nobody else.
  ///   - format: what it is read as.
  ///   - batch: records of a batch, at most.
  ///   - longestKey: most bytes of a key.
  /// - Throws: ``Failure`` where the file cannot be read, or is of another format.
  init(_ input: Input, _ format: RecordFormat, batch: Int, longestKey: Int) throws {
    self.input = input
    self.batch = batch
    self.longestKey = longestKey
    do {
      reader =
        switch format {
        case .tsv: TSVReader(input)
        case .jsonl: JSONLinesReader(input)
        case .binary: try BinaryReader(input)
        }
    } catch let bad as BadRecord {
      throw Failure(.badInput, "\(input.name), \(bad.place): \(bad.message); nothing was imported")
    }
  }

  /// The records of the next batch, at least one; `nil` at the end, and where the input is bad or cannot be
  /// read any further, which ``finish()`` tells. What was read before that is handed out first.
  ///
  /// - Parameter most: of fewer records than a batch has.
  mutating func next(atMost most: Int = .max) -> [(key: [UInt8], value: [UInt8])]? {
    let batch = min(batch, most)
    var records: [(key: [UInt8], value: [UInt8])] = []
    var bytes = 0
    do {
      while problem == nil, records.count < batch, bytes < Self.batchBytes, let record = try reader.next() {
        if record.key.isEmpty || record.key.count > longestKey {
          let size = record.key.isEmpty ? "is empty" : "has \(record.key.count) bytes"
          throw BadRecord(
            place: "record \(read + 1)", message: "the key \(size); a key has 1 to \(longestKey)")
        }
        read += 1
        bytes += record.key.count + record.value.count
        records.append(record)
      }
    } catch { problem = error }
    return records.isEmpty ? nil : records
  }

  /// Counts records that are written.
  mutating func wrote(_ count: Int) {
    written += count
    let (written, input) = (written, input)
    progress.show(Self.text(written, input))
  }

  private static func text(_ written: Int, _ input: Input) -> String {
    let text = "\(Format.count(written)) records, \(Format.bytes(input.offset))"
    guard let all = input.byteCount, all > 0 else { return text }
    return text + ", \(input.offset * 100 / all) %"
  }

  /// Follows the last batch.
  ///
  /// - Throws: ``Failure`` where the input was bad behind it, or could not be read.
  mutating func finish() throws {
    progress.clear()
    guard let problem else { return }
    let before = "\(Format.count(written, "record")) before it imported"
    if let bad = problem as? BadRecord {
      throw Failure(.badInput, "\(input.name), \(bad.place): \(bad.message); \(before)")
    }
    // Nothing was to be written yet.
    guard let failure = problem as? Failure, read > 0 else { throw problem }
    throw Failure(failure.status, "\(failure.message); \(before)")
  }

  /// What it comes to that writing failed: also how much is written.
  ///
  /// - Parameter perhapsMore: whether some of the last batch may be written.
  mutating func failed(_ failure: Failure, perhapsMore: Bool = false) -> Failure {
    progress.clear()
    // Nothing was to be written yet.
    if read == 0 { return failure }
    return Failure(
      failure.status,
      "\(failure.message); \(Format.count(written, "record")) imported"
        + (perhapsMore ? ", perhaps some more" : ""))
  }
}
