import RoostEnvironment
import RoostStorage
import SystemPackage

/// Explains a table file.
struct TableDump {
  private let table: TableInspection
  private let path: String
  private let printer: DumpPrinter
  private let records: RecordDump
  /// The tree that the table belongs to, where that is a database's.
  private let tree: String?

  /// - Throws: `.corruption` where there is not even room for a footer.
  init(_ fileSystem: any FileSystem, _ path: FilePath, _ printer: DumpPrinter) throws {
    table = try TableInspection(try fileSystem.open(path, .read))
    self.path = path.string
    self.printer = printer
    records = RecordDump(fileSystem, fileAt: path, hex: printer.hex)
    tree = records.tree(ofTableAt: path)
  }

  func run() throws {
    if let wanted = printer.block { return try showBlock(wanted) }
    try printer.item("table", "table \(path): \(Format.count(table.byteCount)) bytes") {
      $0.member("file", path)
      $0.member("bytes", table.byteCount)
    }
    try showFooter()
    try showProperties()
    try showRangeTombstones()
    try showBlocks()
  }

  private func showFooter() throws {
    try printer.text("\nfooter at offset \(table.footerOffset)")
    if let problem = table.footerProblem { try printer.problem(problem, indent: "  ") }
    for field in table.footerFields {
      try printer.item("footer", "  \(Format.left(field.name, 20)) \(field.value)") {
        $0.member("name", field.name)
        $0.member("value", field.value)
      }
    }
  }

  private func showProperties() throws {
    try printer.text("\nproperties")
    do {
      for property in try table.properties() {
        let text = property.number.map { "\($0)" } ?? printer.short(property.value)
        try printer.item("property", "  \(Format.left(property.name, 20)) \(text)") {
          $0.member("name", property.name)
          if let number = property.number {
            $0.member("value", number)
          } else {
            $0.member("value", data: property.value)
          }
        }
      }
    } catch let error as StoreError {
      // It comes again, and is counted, with its block.
      try printer.text("  DAMAGED  \(Failure.line(error))")
    }
  }

  private func showRangeTombstones() throws {
    do {
      let tombstones = try table.rangeTombstones()
      if tombstones.isEmpty { return }
      try printer.text("\nrange deletions: from, up to, sequences")
      for tombstone in tombstones { try show(tombstone) }
    } catch let error as StoreError {
      try printer.text("\nrange deletions\n  DAMAGED  \(Failure.line(error))")
    }
  }

  private func show(_ tombstone: TableRangeTombstoneInfo) throws {
    let sequences = tombstone.sequences.map { "\($0)" }.joined(separator: ", ")
    let text =
      "  \(printer.short(tombstone.start)) ..< \(printer.short(tombstone.end))  \(sequences)"
    try printer.item("rangeDeletion", text) {
      $0.member("from", data: tombstone.start)
      $0.member("to", data: tombstone.end)
      $0.name("sequences")
      $0.beginArray()
      for sequence in tombstone.sequences { $0.value(sequence) }
      $0.endArray()
    }
  }

  // MARK: - Blocks

  private static let heading =
    "block      offset    stored  contents  compression  kind               entries  keys up to"

  private func showBlocks() throws {
    try printer.text("\nblocks\n" + Self.heading)
    var number = 0
    try table.forEachBlock { block in
      try show(block, number)
      if printer.entries, block.kind == .data { try showEntries(block, number) }
      number += 1
    }
  }

  private func showBlock(_ wanted: Int) throws {
    var number = 0
    var isFound = false
    try table.forEachBlock { block in
      if number == wanted {
        isFound = true
        try printer.text(Self.heading)
        try show(block, number)
        try showContents(block, number)
      }
      number += 1
    }
    if !isFound {
      throw Failure(.notFound, "\(path) has no block \(wanted): they go from 0 to \(number - 1)")
    }
  }

  private func show(_ block: TableBlockInfo, _ number: Int) throws {
    try printer.item("block", line(block, number)) {
      $0.member("number", number)
      $0.member("kind", Self.name(block.kind))
      $0.member("offset", block.handle.offset)
      $0.member("storedBytes", block.handle.size)
      $0.member("contentsBytes", block.contentsBytes)
      $0.member("compression", block.compression)
      $0.member("entries", block.entryCount)
      if !block.separator.isEmpty { $0.member("separator", data: block.separator) }
    }
    if let problem = block.problem { try printer.problem(problem, indent: "       ") }
  }

  private func line(_ block: TableBlockInfo, _ number: Int) -> String {
    let isSound = block.problem == nil
    let entries = block.kind == .filter || !isSound ? "" : Format.count(block.entryCount)
    return [
      Format.right("\(number)", 5), Format.right("\(block.handle.offset)", 10),
      Format.right("\(block.handle.size)", 8),
      Format.right(isSound ? "\(block.contentsBytes)" : "?", 8),
      Format.left(isSound ? block.compression : "?", 11), Format.left(Self.name(block.kind), 17),
      Format.right(entries, 8), printer.short(block.separator),
    ].joined(separator: "  ").trimmingTail()
  }

  private static func name(_ kind: BlockKind) -> String {
    switch kind {
    case .data: "data"
    case .partitionIndex: "index partition"
    case .topIndex: "top index"
    case .filter: "filter"
    case .rangeTombstones: "range deletions"
    case .properties: "properties"
    }
  }

  private func showContents(_ block: TableBlockInfo, _ number: Int) throws {
    guard block.problem == nil || block.kind == .data else { return }
    switch block.kind {
    case .data: try showEntries(block, number)
    case .partitionIndex, .topIndex: try showIndex(block)
    case .properties: try showProperties()
    case .rangeTombstones: try showRangeTombstones()
    case .filter:
      try printer.text("       a bloom filter: bits, of which nothing can be told by looking")
    }
  }

  private func showEntries(_ block: TableBlockInfo, _ number: Int) throws {
    let (entries, problem) = table.entries(of: block.handle)
    for entry in entries {
      let meaning = records.meaning(tree, entry.key, entry.isDelete ? nil : entry.value)
      try printer.item("entry", line(entry, meaning)) {
        $0.member("block", number)
        $0.member("offset", entry.offset)
        $0.member("sequence", entry.sequence)
        $0.member("operation", entry.isDelete ? "delete" : "put")
        $0.member("key", data: entry.key)
        if !entry.isDelete { $0.member("value", data: entry.value) }
        meaning?.write(to: &$0)
      }
      if let problem = meaning?.problem { try printer.problem(problem, file: path, indent: "       ") }
    }
    // A block that cannot be read at all has said so.
    if let problem, block.problem == nil { try printer.problem(problem, indent: "       ") }
  }

  private func line(_ entry: TableEntryInfo, _ meaning: RecordDump.Meaning?) -> String {
    let start =
      "       +\(Format.left("\(entry.offset)", 6)) sequence "
        + "\(Format.left("\(entry.sequence)", 9)) "
      + (entry.isDelete ? "delete " : "put    ")
    return start + (meaning?.key ?? printer.short(entry.key))
      + (entry.isDelete ? "" : " → " + (meaning?.value ?? printer.short(entry.value)))
  }

  private func showIndex(_ block: TableBlockInfo) throws {
    for entry in try table.indexEntries(block) {
      var text =
        "       up to \(printer.short(entry.separator)): block at \(entry.block.offset), "
          + "\(entry.block.size) bytes"
      if let filter = entry.filter { text += "; filter at \(filter.offset), \(filter.size) bytes" }
      try printer.item("indexEntry", text) {
        $0.member("separator", data: entry.separator)
        $0.member("offset", entry.block.offset)
        $0.member("storedBytes", entry.block.size)
        if let filter = entry.filter {
          $0.member("filterOffset", filter.offset)
          $0.member("filterBytes", filter.size)
        }
      }
    }
  }
}

extension String {
  /// Without spaces at its end.
  func trimmingTail() -> String {
    var text = self[...]
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}
