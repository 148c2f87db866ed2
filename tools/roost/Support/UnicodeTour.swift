import RoostEnvironment
import RoostStorage
import SystemPackage

/// The tour's steps with the Unicode character database: records in, found by code point, by range
/// and by name.
final class UnicodeTour {
  private let directory: String
  /// Records in the fixture.
  private static let recordCount = 34_924

  init(directory: String) { self.directory = directory }

  func run(_ input: Input, isWhole: Bool) throws {
    try TourText.step(
      1, "Real data in",
      """
      The Unicode character database goes into a new store: each character under its code
      point in one tree, and its name in a second one, both in the same atomic batch.
      """)
    let store = try Store.open(at: directory)
    do {
      let characters = try store.tree("characters")
      let names = try store.tree("names")
      let count = try fill(store, characters, names, input)
      try TourText.check(
        !isWhole || count == Self.recordCount, "\(count) records instead of \(Self.recordCount)")
      try TourText.check(
        try Self.count(characters) == count, "a scan of `characters` does not find all records")
      try TourText.check(
        try Self.count(names) == count, "a scan of `names` does not find all records")
      try TourText.line("A scan of each tree finds all \(Format.count(count)) of them.")
      try lookUp(characters)
      try scan(characters)
      try findByName(names, characters)
    } catch {
      try? store.close()
      throw error
    }
    try store.close()
  }

  private func fill(_ store: Store, _ characters: Tree, _ names: Tree, _ input: Input) throws -> Int
  {
    let start = ContinuousClock.now
    var count = 0
    var batch = WriteBatch()
    while let line = try input.readLine() {
      let fields = line.split(
        separator: UInt8(ascii: ";"), maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3, !fields[0].isEmpty else {
        throw Failure(
          .badInput, "\(input.name), line \(count + 1): not a record of the character database")
      }
      let key = Self.key(Array(fields[0]))
      batch.put(key, line, in: characters)
      // Names may come more than once: the code point makes each key its own.
      batch.put(fields[1] + [UInt8(ascii: "/")] + key, key, in: names)
      count += 1
      if count.isMultiple(of: 500) {
        try store.commit(batch)
        batch.removeAll()
      }
    }
    try store.commit(batch, .synced)
    let time = start.duration(to: .now)
    try TourText.line(
      "\(Format.count(count)) records in \(Format.count((count + 499) / 500)) batches, the "
        + "last one synced: "
        + "\(Format.duration(time)).")
    return count
  }

  /// Code points as six digits, so that their order as keys is their order as numbers.
  private static func key(_ code: [UInt8]) -> [UInt8] {
    [UInt8](repeating: UInt8(ascii: "0"), count: max(0, 6 - code.count)) + code
  }

  private static func count(_ tree: Tree) throws -> Int {
    var cursor = try tree.cursor()
    var count = 0
    while try cursor.next() { count += 1 }
    return count
  }

  private func lookUp(_ characters: Tree) throws {
    try TourText.step(2, "Look up by code point", "A point read: one key, one value.")
    for (code, name) in [
      ("0000E9", "LATIN SMALL LETTER E WITH ACUTE"), ("002603", "SNOWMAN"), ("01F426", "BIRD"),
    ] {
      let record = try characters.get(code).map(Record.init)
      try TourText.check(record?.name == name, "\(code) is not \(name)")
      if let record { try TourText.line(record.line) }
    }
    let absent = try characters.get("110000")
    try TourText.check(absent == nil, "U+110000 is there")
    try TourText.line("U+110000   absent, as it should be: the last code point is U+10FFFD")
  }

  private func scan(_ characters: Tree) throws {
    try TourText.step(
      3, "Scan a range",
      "Keys are in order, so a range is one walk: the chess pieces, backwards too.")
    var cursor = try characters.cursor(from: "002654", to: "002660")
    var forward: [[UInt8]] = []
    while try cursor.next() {
      forward.append(cursor.keyBytes)
      try TourText.line(Record(cursor.valueBytes).line)
    }
    var backward: [[UInt8]] = []
    while try cursor.previous() { backward.append(cursor.keyBytes) }
    try TourText.check(forward.count == 12, "\(forward.count) chess pieces")
    try TourText.check(backward == forward.reversed(), "backwards is not forwards reversed")
  }

  private func findByName(_ names: Tree, _ characters: Tree) throws {
    try TourText.step(
      4, "Find by name",
      "The second tree leads from names to code points: those that begin with OWL, BIRD or SNOW.")
    for prefix in ["BIRD", "OWL", "SNOW"] {
      var cursor = try names.cursor(prefix: prefix)
      var found = 0
      while try cursor.next() {
        guard let value = try characters.get(cursor.value) else {
          throw Failure(.software, "the name \(cursor.keyText) leads nowhere")
        }
        let record = Record(value)
        try TourText.check(
          cursor.keyText.hasPrefix(record.name + "/"), "\(cursor.keyText) leads to \(record.name)")
        try TourText.line(record.line)
        found += 1
      }
      try TourText.check(found > 0, "no name begins with \(prefix)")
    }
  }

  /// Writes the store's memtables to tables and explains one block of one of them.
  func dumpBlock() throws {
    try TourText.step(
      6, "Down to the bytes",
      """
      Back to the characters, compacted: every byte in the files can be explained. One block
      of a table; `roost dump` shows the rest.
      """)
    let tree: Tree
    let store = try Store.open(at: directory)
    do {
      tree = try store.requireTree("characters")
      try tree.compact()
    } catch {
      try? store.close()
      throw error
    }
    try store.close()
    let fileSystem = Environment.posix().fileSystem
    for name in try fileSystem.entries(of: FilePath(directory)) where name.hasSuffix(".sst") {
      let path = FilePath(directory).appending(name)
      let table = try TableInspection(try fileSystem.open(path, .read))
      guard table.treeID == 1 else { continue }
      return try dump(table, name)
    }
    throw Failure(.software, "the tour found something wrong: no table holds the tree `characters`")
  }

  private func dump(_ table: TableInspection, _ name: String) throws {
    var blocks: [TableBlockInfo] = []
    table.forEachBlock { blocks.append($0) }
    let snowman = Array("002603".utf8)
    guard
      let number = blocks.firstIndex(where: {
        $0.kind == .data && !$0.separator.lexicographicallyPrecedes(snowman)
      })
    else {
      throw Failure(.software, "the tour found something wrong: no block leads to the snowman")
    }
    let block = blocks[number]
    let (entries, problem) = table.entries(of: block.handle)
    try TourText.check(
      problem == nil && entries.contains { $0.key == snowman }, "the snowman is not in its block")
    try TourText.line("roost dump \(name) --block \(number)")
    try TourText.line(
      "\(Format.count(table.byteCount)) bytes in \(Format.count(blocks.count)) blocks. Block "
        + "\(number), at offset "
        + "\(block.handle.offset): \(Format.count(block.contentsBytes)) bytes,")
    try TourText.line(
      "stored as \(Format.count(block.handle.size)) (\(block.compression)); "
        + "\(block.entryCount) entries, of them:"
    )
    let middle = entries.firstIndex { $0.key == snowman } ?? 0
    for entry in entries[max(0, middle - 2)..<min(entries.count, middle + 3)] {
      try TourText.line(
        "  +\(Format.left("\(entry.offset)", 5)) sequence "
          + "\(Format.left("\(entry.sequence)", 6)) put "
          + "\(TextEscape.text(entry.key)) → \(TextEscape.text(Array(entry.value.prefix(42))))…")
    }
  }
}

/// One record of the character database.
private struct Record {
  let code: String
  let name: String
  private let category: String

  init(_ bytes: [UInt8]) {
    let fields = String(decoding: bytes, as: UTF8.self).split(
      separator: ";", omittingEmptySubsequences: false)
    code = String(fields.first ?? "")
    name = fields.count > 1 ? String(fields[1]) : ""
    category = fields.count > 2 ? String(fields[2]) : ""
  }

  var line: String {
    let scalar = UInt32(code, radix: 16).flatMap(Unicode.Scalar.init)
    return Format.left("U+\(code)", 9) + "  " + (scalar.map { String($0) } ?? " ")
      + "  \(name) (\(category))"
  }
}
