import RoostEnvironment
import RoostStorage
import RoostTransactions
import SystemPackage

/// Explains a store's directory: what the marker and the manifest say, and what each file is by
/// that.
final class DirectoryDump {
  private let fileSystem: any FileSystem
  private let directory: FilePath
  private let printer: DumpPrinter
  private var manifestNumber: UInt64?
  private var manifest = ManifestInspection()
  /// Whether the manifest could be read, so that files can be told live from leftover.
  private var isKnown = false

  init(_ fileSystem: any FileSystem, _ directory: FilePath, _ printer: DumpPrinter) {
    self.fileSystem = fileSystem
    self.directory = directory
    self.printer = printer
  }

  func run() throws {
    let names = try fileSystem.entries(of: directory)
    let isStore = names.contains { FileNames.parse($0) != nil || $0 == FileNames.marker }
    guard isStore else { throw Failure(.notFound, "there is no store in \(directory.string)") }
    try printer.text("store \(directory.string)\n")
    try readMarker(names)
    try readManifest(names)
    if isKnown { try ContentsDump.show(manifest.contents, printer) }
    try showFiles(names)
    try showCoordinator()
    guard printer.entries else { return }
    for name in names {
      let path = directory.appending(name)
      if try fileSystem.info(of: path)?.isDirectory == true { continue }
      let kind = try FileKind(fileSystem, path)
      switch kind {
      case .table, .log:
        try printer.rule()
        try Dump.dump(path, kind, fileSystem, printer)
      default: continue
      }
    }
  }

  private func readMarker(_ names: [String]) throws {
    let path = directory.appending(FileNames.marker)
    guard names.contains(FileNames.marker) else {
      return try printer.problem("the marker is missing", file: path.string)
    }
    let marker = try MarkerDump(fileSystem, path, printer).run()
    manifestNumber = marker?.manifestNumber
  }

  private func readManifest(_ names: [String]) throws {
    guard let number = manifestNumber else { return }
    let name = FileNames.manifest(number)
    let path = directory.appending(name)
    guard names.contains(name) else {
      return try printer.problem("the manifest that the marker names is missing", file: path.string)
    }
    var records = 0
    var hole: Int64?
    do {
      let header = try LogInspection.read(fileSystem, path) { part in
        switch part.content {
        case .invalid: hole = hole ?? part.offset
        case .record:
          if let offset = hole {
            hole = nil
            try printer.problem(
              "bytes of no valid frame stand before valid ones", file: path.string, offset: offset)
          }
          records += 1
          if let problem = manifest.apply(part.payload).problem {
            try printer.problem(problem, file: path.string, offset: part.offset)
          }
        default: break
        }
      }
      if let problem = header.problem { try printer.problem(problem) }
      isKnown = true
    } catch let error as StoreError {
      try printer.problem(error)
    }
  }

  // MARK: - Files

  private func showFiles(_ names: [String]) throws {
    var tables: [UInt64: (role: String, byteCount: Int64)] = [:]
    for tree in manifest.contents.trees.values {
      for (level, files) in tree.levels.enumerated() {
        for file in files {
          let name = TextEscape.text(Array(tree.name.utf8))
          tables[file.number] = ("table of `\(name)`, level \(level)", file.byteCount)
        }
      }
    }
    let logs = Dictionary(manifest.contents.logs.map { ($0.number, $0.capacity) }) { first, _ in
      first
    }
    try printer.text("\nfiles")
    for name in names {
      var role: String
      var expected: Int64?
      switch FileNames.parse(name) {
      case (.table, let number)?:
        role =
          tables[number]?.role
          ?? unnamed("table: an output that was never installed, or dropped since")
        expected = tables[number]?.byteCount
      case (.log, let number)?:
        role =
          logs[number] != nil ? "write-ahead log" : unnamed("log: made ready, or no longer needed")
      case (.manifest, let number)?:
        role = number == manifestNumber ? "the manifest" : unnamed("manifest: an older one")
      case nil:
        role =
          switch name {
          case FileNames.marker: "the marker"
          case FileNames.lock: "the lock"
          case CoordinatorLog.folder: "the folder of the coordinator log"
          case FileNames.markerInProgress: "leftover marker: its replacement was cut short"
          default: "not one of Roost's"
          }
      }
      try showFile(name, &role, expected)
    }
    try showMissing(names, tables: tables.mapValues(\.role), logs: logs)
  }

  /// The coordinator log has a folder of its own.
  private func showCoordinator() throws {
    let folder = directory.appending(CoordinatorLog.folder)
    guard try fileSystem.info(of: folder)?.isDirectory == true else { return }
    for name in try fileSystem.entries(of: folder) {
      let path = folder.appending(name)
      guard case .log? = FileNames.parse(name)?.kind else { continue }
      let size = try fileSystem.info(of: path)?.byteCount ?? 0
      let shown = "\(CoordinatorLog.folder)/\(name)"
      try printer.item(
        "file", "  \(Format.left(shown, 18)) \(Format.right(Format.count(size), 11))  coordinator log"
      ) {
        $0.member("name", shown)
        $0.member("bytes", size)
        $0.member("role", "coordinator log")
      }
      guard printer.entries else { continue }
      try printer.rule()
      try Dump.dump(path, .log, fileSystem, printer)
    }
  }

  private func unnamed(_ what: String) -> String {
    isKnown ? "leftover \(what)" : "\(what.prefix { $0 != ":" }), live or leftover"
  }

  private func showFile(_ name: String, _ role: inout String, _ expected: Int64?) throws {
    let path = directory.appending(name)
    let size = try fileSystem.info(of: path)?.byteCount ?? 0
    try printer.item(
      "file", "  \(Format.left(name, 18)) \(Format.right(Format.count(size), 15))  \(role)"
    ) {
      $0.member("name", name)
      $0.member("bytes", size)
      $0.member("role", role)
    }
    if let expected, expected != size {
      try printer.problem(
        "the file has \(size) bytes, the manifest says \(expected)", file: path.string, indent: "  "
      )
    }
  }

  private func showMissing(_ names: [String], tables: [UInt64: String], logs: [UInt64: Int]) throws
  {
    for (number, role) in tables.sorted(by: { $0.key < $1.key })
    where !names.contains(FileNames.table(number)) {
      try printer.problem(
        "the file is missing: \(role)", file: directory.appending(FileNames.table(number)).string)
    }
    for number in logs.keys.sorted() where !names.contains(FileNames.log(number)) {
      try printer.problem(
        "the file is missing: write-ahead log",
        file: directory.appending(FileNames.log(number)).string)
    }
  }
}
