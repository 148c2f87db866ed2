import RoostStorage

/// Explains what a manifest says: its edits, and what they add up to.
enum ContentsDump {
  static func text(_ edit: VersionEdit, _ printer: DumpPrinter) -> String {
    switch edit {
    case .treeCreated(let id, let name, let options):
      "tree \(id) `\(TextEscape.text(Array(name.utf8)))` created: \(text(options))"
    case .treeDropped(let id): "tree \(id) dropped"
    case .tableAdded(let tree, let level, let table):
      "table \(table.number) added to tree \(tree), level \(level): \(text(table, printer))"
    case .tableRemoved(let tree, let level, let number):
      "table \(number) removed from tree \(tree), level \(level)"
    case .logAdded(let log):
      "log \(log.number) begun: salt \(hexadecimal(log.salt)), \(Format.bytes(log.capacity))"
    case .logsDropped(let number): "logs below \(number) are needed no more"
    case .flushed(let tree, let sequence):
      "tree \(tree) has its writes up to sequence \(sequence) in tables"
    case .nextFileNumber(let number): "file numbers from \(number) on are unused"
    case .lastSequence(let sequence): "sequence \(sequence) was the last given out"
    case .nextTreeID(let id): "tree ids from \(id) on are unused"
    }
  }

  private static func text(_ options: TreeOptions) -> String {
    "blocks of \(options.blockBytes), restarts every \(options.restartInterval), "
      + "\(options.filterBitsPerKey) filter bits a key, \(options.compression), "
      + "tables of \(Format.bytes(options.tableBytes))"
      + (options.cutPrefixLength > 0 ? ", cut at prefixes of \(options.cutPrefixLength)" : "")
  }

  static func text(_ table: TableMetadata, _ printer: DumpPrinter) -> String {
    var text =
      "\(Format.bytes(table.byteCount)), \(Format.count(table.entryCount, "entry", "entries"))"
    if table.deleteCount > 0 { text += ", \(Format.count(table.deleteCount, "deletion"))" }
    if table.rangeTombstoneCount > 0 {
      text += ", \(Format.count(table.rangeTombstoneCount, "range deletion"))"
    }
    text += ", keys \(printer.short(table.smallest)) "
    text += table.largestIsExclusive ? "..< " : "... "
    return text
      + "\(printer.short(table.largest)), sequences \(table.smallestSequence) to "
      + "\(table.largestSequence)"
  }

  /// What the edits add up to.
  static func show(_ contents: StoreContents, _ printer: DumpPrinter) throws {
    try printer.text("\nin all")
    let counters =
      "  next file \(contents.nextFileNumber), last sequence \(contents.lastSequence), next "
        + "tree \(contents.nextTreeID)"
    try printer.item("contents", counters) {
      $0.member("nextFileNumber", contents.nextFileNumber)
      $0.member("lastSequence", contents.lastSequence)
      $0.member("nextTreeID", contents.nextTreeID)
    }
    for tree in contents.trees.values.sorted(by: { $0.id < $1.id }) { try show(tree, printer) }
    for log in contents.logs {
      try printer.item(
        "liveLog",
        "  log \(log.number): salt \(hexadecimal(log.salt)), \(Format.bytes(log.capacity))"
      ) {
        $0.member("number", log.number)
        $0.member("salt", hexadecimal(log.salt))
        $0.member("capacity", log.capacity)
      }
    }
  }

  private static func show(_ tree: StoreContents.TreeContents, _ printer: DumpPrinter) throws {
    let name = TextEscape.text(Array(tree.name.utf8))
    try printer.item(
      "tree",
      "  tree \(tree.id) `\(name)`: \(text(tree.options)); in tables up to sequence "
        + "\(tree.flushedThrough)"
    ) {
      $0.member("id", tree.id)
      $0.member("name", tree.name)
      $0.member("flushedThrough", tree.flushedThrough)
    }
    for (level, tables) in tree.levels.enumerated() {
      for table in tables {
        try printer.item(
          "liveTable", "    level \(level)  table \(table.number): \(text(table, printer))"
        ) {
          $0.member("tree", tree.id)
          $0.member("level", level)
          $0.member("number", table.number)
          $0.member("bytes", table.byteCount)
          $0.member("entries", table.entryCount)
          $0.member("smallest", data: table.smallest)
          $0.member("largest", data: table.largest)
          $0.member("largestIsExclusive", table.largestIsExclusive)
        }
      }
    }
  }
}
