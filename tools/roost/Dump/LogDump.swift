import RoostCluster
import RoostEnvironment
import RoostStorage
import SystemPackage

/// Explains a log file: a write-ahead log's operations, a manifest's edits, a coordinator's decisions.
///
/// Bytes of no valid frame are damage where valid frames follow. Where none does they may be a
/// write that was cut off, or what an earlier use of the file left behind: nobody can tell from
/// this file alone, so nothing is claimed.
final class LogDump {
  private let fileSystem: any FileSystem
  private let path: FilePath
  private let printer: DumpPrinter
  private var manifest = ManifestInspection()
  private let isManifest: Bool
  private let isCoordinator: Bool
  private let records: RecordDump
  private var number = 0
  private var isFound = false
  /// Bytes of no frame, until it is known whether frames follow.
  private var gap: [LogInspection.Part] = []

  init(_ fileSystem: any FileSystem, _ path: FilePath, _ printer: DumpPrinter) throws {
    self.fileSystem = fileSystem
    self.path = path
    self.printer = printer
    records = RecordDump(fileSystem, fileAt: path, hex: printer.hex)
    let purpose = try LogInspection.header(fileSystem, path).purpose
    isManifest = purpose == 2
    isCoordinator = purpose == 3
  }

  func run() throws {
    let header = try LogInspection.header(fileSystem, path)
    if printer.block == nil { try show(header) }
    try LogInspection.read(fileSystem, path) { part in
      switch part.content {
      case .invalid, .unused: gap.append(part)
      case .record, .mark, .end:
        try showGap(isDamage: true)
        try showFrame(part)
      }
    }
    try showGap(isDamage: false)
    if let wanted = printer.block {
      if !isFound {
        throw Failure(
          .notFound, "\(path.string) has no frame \(wanted): they go from 0 to \(number - 1)")
      }
    } else if isManifest {
      try ContentsDump.show(manifest.contents, printer)
    }
  }

  private func show(_ header: LogInspection.Header) throws {
    let purpose = Self.purpose(header.purpose)
    try printer.item("log", "\(purpose) \(path.string): \(Format.count(header.byteCount)) bytes") {
      $0.member("file", path.string)
      $0.member("purpose", purpose)
      $0.member("bytes", header.byteCount)
      $0.member("number", header.number)
      $0.member("salt", hexadecimal(header.salt))
      $0.member("identity", Self.identity(header.identity))
    }
    try printer.text("  number    \(header.number)")
    try printer.text("  salt      \(hexadecimal(header.salt))")
    let owner = header.purpose == 3 ? "database" : "store   "
    try printer.text("  \(owner)  \(Self.identity(header.identity))")
    if let problem = header.problem { try printer.problem(problem, indent: "  ") }
    try printer.text("\nframe      offset     bytes  kind")
  }

  private static func purpose(_ purpose: UInt32) -> String {
    switch purpose {
    case 1: "write-ahead log"
    case 2: "manifest"
    case 3: "coordinator log"
    default: "log of purpose \(purpose)"
    }
  }

  private static func identity(_ word: UInt128) -> String {
    let (high, low) = (UInt64(truncatingIfNeeded: word >> 64), UInt64(truncatingIfNeeded: word))
    return "\(hexadecimal(high))-\(hexadecimal(low))"
  }

  // MARK: - Parts

  private func showFrame(_ part: LogInspection.Part) throws {
    let wanted = printer.block.map { $0 == number } ?? true
    defer { number += 1 }
    switch part.content {
    case .mark(let log, let offset) where wanted:
      try showPlain(
        part, "mark",
        "log \(log) up to offset \(offset), and all older logs, were synced when this was written"
      ) {
        $0.member("log", log)
        $0.member("through", offset)
      }
    case .end(let next) where wanted:
      try showPlain(part, "end", "this log is complete; log \(next) goes on") {
        $0.member("next", next)
      }
    case .record where isManifest: try showEdits(part, isShown: wanted)
    case .record where wanted && isCoordinator: try showDecision(part)
    case .record where wanted: try showBatch(part)
    default: break
    }
    if wanted { isFound = true }
  }

  private func showDecision(_ part: LogInspection.Part) throws {
    var bytes = BytesOptions()
    bytes.hex = printer.hex
    var text = "no decision"
    var problem: String?
    do throws(DatabaseError) { text = try TransactionDump(bytes).decision(part.payload) } catch {
      problem = error.message
    }
    try showPlain(part, "record", text) { $0.member("decision", text) }
    if let problem {
      try printer.problem(problem, file: path.string, offset: part.offset, indent: "         ")
    }
  }

  private func showBatch(_ part: LogInspection.Part) throws {
    let batch = BatchInspection(part.payload)
    let last = batch.baseSequence + UInt64(max(batch.count, 1)) - 1
    let sequences =
      batch.count > 1
      ? "sequences \(batch.baseSequence) to \(last)" : "sequence \(batch.baseSequence)"
    try showPlain(part, "record", "\(Format.count(batch.count, "operation")), \(sequences)") {
      $0.member("operations", batch.count)
      $0.member("sequence", batch.baseSequence)
    }
    if printer.entries || printer.block != nil {
      for operation in batch.operations { try show(operation) }
    }
    if let problem = batch.problem {
      try printer.problem(
        problem.message, file: path.string, offset: part.offset, indent: "         ")
    }
  }

  private func show(_ operation: BatchInspection.Operation) throws {
    var text = "         +\(Format.left("\(16 + operation.offset)", 6)) sequence "
    text += "\(Format.left("\(operation.sequence)", 9)) tree \(operation.tree)  "
    let meaning =
      operation.kind == .deleteRange
      ? nil
      : records.meaning(
        records.tree(operation.tree), operation.key, operation.kind == .put ? operation.value : nil)
    let key = meaning?.key ?? printer.short(operation.key)
    switch operation.kind {
    case .put: text += "put    \(key) → \(meaning?.value ?? printer.short(operation.value))"
    case .delete: text += "delete \(key)"
    case .deleteLate: text += "delete \(key), late"
    case .deleteRange:
      text += "delete \(printer.short(operation.key)) ..< \(printer.short(operation.value))"
    }
    try printer.item("operation", text) {
      $0.member("offset", 16 + operation.offset)
      $0.member("sequence", operation.sequence)
      $0.member("tree", operation.tree)
      $0.member("operation", operation.kind.rawValue)
      $0.member("key", data: operation.key)
      if operation.kind == .put { $0.member("value", data: operation.value) }
      if operation.kind == .deleteRange { $0.member("to", data: operation.value) }
      meaning?.write(to: &$0)
    }
    if let problem = meaning?.problem {
      try printer.problem(problem, file: path.string, indent: "         ")
    }
  }

  private func showEdits(_ part: LogInspection.Part, isShown: Bool) throws {
    let (edits, problem) = manifest.apply(part.payload)
    guard isShown else { return }
    try showPlain(part, "record", Format.count(edits.count, "edit")) {
      $0.member("edits", edits.count)
    }
    for edit in edits {
      let text = ContentsDump.text(edit.edit, printer)
      try printer.item("edit", "         +\(Format.left("\(16 + edit.offset)", 6)) \(text)") {
        $0.member("offset", 16 + edit.offset)
        $0.member("edit", text)
      }
    }
    if let problem {
      try printer.problem(problem, file: path.string, offset: part.offset, indent: "         ")
    }
  }

  private func showGap(isDamage: Bool) throws {
    guard let first = gap.first else { return }
    if printer.block == nil { for part in gap { try showUnframed(part, isDamage) } }
    let byteCount = gap.reduce(0) { $0 + $1.byteCount }
    gap = []
    guard isDamage else { return }
    try printer.problem(
      "\(Format.bytes(byteCount)) of no valid frame stand before valid ones", file: path.string,
      offset: first.offset, indent: "         ")
  }

  private func showUnframed(_ part: LogInspection.Part, _ isDamage: Bool) throws {
    if part.content == .unused { return try showPlain(part, "unused", "zeros") }
    var text = "bytes of no valid frame"
    if let kind = part.claimedKind, let length = part.claimedLength {
      text += " (they begin like kind \(kind) with \(Format.count(length)) bytes)"
    }
    if !isDamage { text += ": a write that was cut off, or left by an earlier use of the file" }
    try showPlain(part, "invalid", text)
  }

  private func showPlain(
    _ part: LogInspection.Part, _ kind: String, _ text: String,
    _ members: (inout JSONWriter) -> Void = { _ in }
  ) throws {
    let isFrame = kind != "invalid" && kind != "unused"
    if !isFrame && printer.block != nil { return }
    let line =
      Format.right(isFrame ? "\(number)" : "", 5) + "  " + Format.right("\(part.offset)", 10) + "  "
      + Format.right("\(part.byteCount)", 8) + "  " + Format.left(kind, 7) + "  " + text
    try printer.item(kind, line) {
      if isFrame { $0.member("frame", number) }
      $0.member("offset", part.offset)
      $0.member("bytes", part.byteCount)
      members(&$0)
    }
  }
}
