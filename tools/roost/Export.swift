import ArgumentParser
import Roost
import RoostCluster
import RoostStorage
import SystemPackage

/// `roost export`: writes the records of a tree or a keyspace to a file.
struct Export: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the records of a tree to a file.",
    usage: PlaceOptions.usage("export", "[<file>]"),
    discussion: """
      One moment of the tree, in key order. Of a database a keyspace is written, each key as
      a scan comes to it; a key with siblings or a typed value ends the export, and times to
      live are not kept (`roost exchange` hands over all of it).

      EXAMPLES
        roost export ./db people.tsv
        roost export ./db --format jsonl | jq .value
        roost export ./db --prefix u: users.roost

      Of a cluster it writes the keys of all nodes, each as a majority of its replicas, or --quorum of
      them, holds it; a transactional keyspace as of one moment, while the nodes keep its versions:
        roost export --connect 127.0.0.1:7421 --cluster music --plain people.tsv
        roost export --connect 127.0.0.1:7421 --cluster music --plain -k accounts | roost import ./db

      \(RecordFormat.help)
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
  @Argument(help: "The file; standard output where it is missing or -.", completion: .file())
  var file: String?
  @Option(help: "tsv, jsonl or binary.") var format: RecordFormat?
  @OptionGroup var range: RangeOptions
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption
  @OptionGroup var bytes: BytesOptions
  @Flag(help: "Replace the file where it exists.") var force = false
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory, file: file)
    try place.requireNoSession()
  }

  func run() async throws {
    let (directory, file) = try place.split(directory, file: file)
    let range = try self.range.range(bytes)
    guard let directory else { return try await exportCluster(range, file) }
    // A tree that is named is a tree, of this one store.
    if tree.tree == "default", try DatabaseDirectory.isDatabase(directory) {
      return try withDatabase(directory) { try exportKeyspace(of: $0, range, file) }
    }
    try withStore(directory) { store in
      let tree = try store.requireTree(self.tree.tree)
      let target = try makeTarget(file)
      var cursor = try tree.cursor(range, nil)
      while try cursor.next() { try target.write(key: cursor.key, value: cursor.value) }
      try target.finish()
    }
  }

  private func exportKeyspace(of database: DatabaseCore, _ range: KeyRange, _ file: String?) throws {
    let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
    let target = try makeTarget(file)
    try keyspace.forEach(range) { key, record in
      let value = try record.soleValue(
        keyspace.visible(record), of: bytes.text(key),
        ways: "show all with `roost scan --json`, or hand all over with `roost exchange`")
      try unsafe target.write(key: key.span.bytes, value: value.span.bytes)
    }
    try target.finish()
  }

  private func exportCluster(_ range: KeyRange, _ file: String?) async throws {
    try tree.requireNone()
    try await place.withKeys { keys in
      // Made once the cluster has answered: a wrong name leaves no file behind.
      var made: ExportTarget?
      try await place.forEachEntry(of: keys, in: keyspace.keyspace, range) { entries in
        let target = try made ?? makeTarget(file)
        made = target
        for entry in entries {
          let value = try entry.soleValue(bytes)
          try unsafe target.write(key: entry.key.span.bytes, value: value.span.bytes)
        }
      }
      try made?.finish()
    }
  }

  private func makeTarget(_ file: String?) throws -> ExportTarget {
    try ExportTarget(file, format ?? RecordFormat(path: file) ?? .tsv, replaces: force)
  }
}

/// Where an export goes, in its format; shows how far it is. Used by one thread.
final class ExportTarget {
  /// Of a file, which is closed with this.
  private let descriptor: FileDescriptor?
  private var writer: any RecordWriter
  private var progress = Progress()
  private var count = 0

  /// - Parameters:
  ///   - file: its path; standard output where it is `nil` or `-`.
  ///   - replaces: whether it may be there already.
  /// - Throws: ``Failure`` where it cannot be made.
  init(_ file: String?, _ format: RecordFormat, replaces: Bool) throws {
    var output = Output.standard
    if let file, file != "-" {
      let descriptor = try Self.make(file, replaces: replaces)
      self.descriptor = descriptor
      output = Output(descriptor, file)
    } else {
      descriptor = nil
    }
    writer =
      switch format {
      case .tsv: TSVWriter(output: output)
      case .jsonl: JSONLinesWriter(output: output)
      case .binary: try BinaryWriter(output)
      }
  }

  deinit {
    progress.clear()
    try? descriptor?.close()
  }

  private static func make(_ file: String, replaces: Bool) throws -> FileDescriptor {
    do {
      return unsafe try FileDescriptor.open(
        file, .writeOnly, options: replaces ? [.create, .truncate] : [.create, .exclusiveCreate],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch let error as Errno {
      if error == .fileExists {
        throw Failure.usage("\(file) exists already; --force replaces it")
      }
      throw Failure(error, "create", file)
    }
  }

  /// - Throws: ``BrokenPipe``, ``Failure``.
  func write(key: RawSpan, value: RawSpan) throws {
    try writer.write(key: key, value: value)
    count += 1
    if count & 0xFFF == 0 { progress.show("\(Format.count(count)) records") }
  }

  /// Comes last, and once.
  ///
  /// - Throws: as ``write(key:value:)``.
  func finish() throws { try writer.finish() }
}
