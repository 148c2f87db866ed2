import ArgumentParser
import RoostEnvironment
import RoostStorage
import SystemPackage

/// `roost dump`: explains files, the damaged ones too.
struct Dump: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Explain a store's files: log, manifest, marker, tables.",
    discussion: """
      Reads the files as they are, without opening or locking the store. Goes on over
      damage, says what is damaged and where, and ends with code 2 if anything is.

      EXAMPLES
        roost dump ./db                         what each file is
        roost dump ./db --entries               and all that is in them
        roost dump ./db/000012.sst              footer, properties, blocks
        roost dump ./db/000012.sst --block 3    one block's entries
        roost dump ./db/000014.log --entries    every operation
        roost dump ./db/CURRENT ./db/*.manifest
        roost dump ./db --entries --json | jq 'select(.type == "entry")'

      \(BytesOptions.help)
      Long keys and values are cut short; with --json they are whole.
      """)

  @Argument(help: "A store's directory, or files of stores.", completion: .file())
  var paths: [String]
  @Option(
    help: "Only the block (of a table) or the frame (of a log) of this number, with its entries.")
  var block: Int?
  @Flag(help: "Every entry of every block, every operation of every record.") var entries = false
  @Flag(help: "A JSON object a line.") var json = false
  @OptionGroup var bytes: BytesOptions

  func run() throws {
    let fileSystem = Environment.posix().fileSystem
    let printer = DumpPrinter(json: json, hex: bytes.hex, entries: entries, block: block)
    for (index, text) in paths.enumerated() {
      if index > 0 { try printer.rule() }
      let path = FilePath(text)
      guard let info = try fileSystem.info(of: path) else {
        throw Failure(.notFound, "there is nothing at \(text)")
      }
      if info.isDirectory {
        if block != nil { throw Failure.usage("--block goes with a file, not with a directory") }
        try DirectoryDump(fileSystem, path, printer).run()
      } else {
        try Self.dump(path, FileKind(fileSystem, path), fileSystem, printer)
      }
    }
    try printer.finish()
    if printer.status != .success { throw printer.status }
  }

  static func dump(
    _ path: FilePath, _ kind: FileKind, _ fileSystem: any FileSystem, _ printer: DumpPrinter
  ) throws {
    do {
      switch kind {
      case .table: try TableDump(fileSystem, path, printer).run()
      case .log: try LogDump(fileSystem, path, printer).run()
      case .marker: try MarkerDump(fileSystem, path, printer).run()
      case .lock: try MarkerDump.runLock(fileSystem, path, printer)
      case .unknown:
        throw Failure(
          .notFound, "\(path.string) is none of Roost's files, by its name and its contents")
      }
    } catch let error as StoreError where [.corruption, .newerFormat].contains(error.code) {
      try printer.problem(error)
    }
  }
}

/// What a file is, by its name or else by its contents.
enum FileKind {
  case table
  /// A write-ahead log or a manifest: one framing.
  case log
  case marker
  case lock
  case unknown

  init(_ fileSystem: any FileSystem, _ path: FilePath) throws {
    let name = path.lastComponent?.string ?? ""
    switch FileNames.parse(name)?.kind {
    case .table: self = .table
    case .log, .manifest: self = .log
    case nil:
      if name == FileNames.marker || name == FileNames.markerInProgress {
        self = .marker
      } else if name == FileNames.lock {
        self = .lock
      } else {
        self = try Self.byContents(fileSystem, path)
      }
    }
  }

  private static func byContents(_ fileSystem: any FileSystem, _ path: FilePath) throws -> FileKind
  {
    let file = try fileSystem.open(path, .read)
    defer { file.close() }
    let start = try file.bytes(at: 0, 12)
    if start.starts(with: "ROOSTLOG".utf8) { return .log }
    if start.starts(with: "roost store ".utf8) { return .marker }
    let size = try file.size()
    if size >= 8, try file.bytes(at: size - 8, 8) == Array("ROOSTSST".utf8) { return .table }
    return .unknown
  }
}

extension File {
  /// The bytes from `offset`, fewer where the file ends.
  func bytes(at offset: Int64, _ count: Int) throws(FileSystemError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    let read = try self.read(into: &raw, at: offset)
    return Array(bytes.prefix(read))
  }
}
