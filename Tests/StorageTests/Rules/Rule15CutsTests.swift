import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 15: where outputs of a merge are cut.
// Budget: 2 s
@Suite struct Rule15CutsTests {
  static let target = 64 << 10

  /// Tables of the bottom level after everything was merged.
  static func merged(
    _ prefixLength: Int, _ fill: (Tree) throws -> Void
  ) throws -> (SimulatedStore, Store, [TableMetadata]) {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 4 << 20 })
    var options = TreeOptions()
    options.tableBytes = target
    options.cutPrefixLength = prefixLength
    options.compression = .none
    let tree = try store.tree("t", options)
    try fill(tree)
    try tree.compact()
    return (world, store, tree.core.current.levels[6].files.map(\.metadata))
  }

  static func fill(_ tree: Tree) throws {
    var random = SplitMix64(seed: 1)
    // 26 prefixes of about 0.6 of the target each.
    for letter in "abcdefghijklmnopqrstuvwxyz" {
      for i in 0..<400 { try tree.put(Tree.key("\(letter)", i), random.bytes(80)) }
    }
  }

  @Test func outputsAreCutWhereThePrefixChanges() throws {
    let (_, _, tables) = try Self.merged(1, Self.fill)
    #expect(tables.count > 20)
    for table in tables { #expect(table.smallest[0] == table.largest[0]) }
  }

  @Test func withoutAPrefixTheyAreCutAtTheirSize() throws {
    let (_, _, tables) = try Self.merged(0, Self.fill)
    #expect(tables.count < 20)
    #expect(tables.contains { $0.smallest[0] != $0.largest[0] })
    for table in tables.dropLast() { #expect(table.byteCount >= Self.target) }
  }

  /// Prefixes that are small: a piece has many of them, and none is below a quarter of the target
  /// size.
  @Test func noPieceIsSmall() throws {
    let (_, _, tables) = try Self.merged(4) { tree in
      var random = SplitMix64(seed: 1)
      for i in 0..<6000 { try tree.put(Tree.key("", i * 97), random.bytes(80)) }
    }
    #expect(tables.count > 5)
    for table in tables.dropLast() {
      #expect(table.byteCount >= Self.target / 4)
      #expect(table.byteCount <= Self.target * 3 / 2)
    }
  }

  /// Grandparents small and many, so that every rule about them would like to cut.
  @Test func grandparentsMakeNoSmallPieces() throws {
    let tables = TableCache(
      SimulatedFileSystem(), "/", limit: 16, blockCache: BlockCache(capacity: 0), epochs: EpochDomain(),
      onObsolete: {})
    let grandparents = (0..<500).map { i in
      var metadata = TableMetadata(
        number: UInt64(i + 1), identity: FileIdentity(low: 1, high: 1), summary: TableSummary())
      metadata.smallest = Array(Tree.key("", i * 20).utf8)
      metadata.largest = Array(Tree.key("", i * 20 + 19).utf8)
      metadata.byteCount = Int64(Self.target) * 4
      return TableFile(metadata, treeID: 1, tables)
    }
    let output = try Self.output(grandparents: grandparents) { output in
      for i in 0..<10_000 { try output.add(Tree.key("", i), 1) }
    }
    #expect(output.count > 5)
    for table in output.dropLast() {
      #expect(table.byteCount >= Self.target / 4)
      // With grandparents this heavy, pieces stay well below the target.
      #expect(table.byteCount <= Self.target / 2)
    }
  }

  /// One key with versions of several times the target size: all of them in one file.
  @Test func versionsOfOneKeyStayTogether() throws {
    let output = try Self.output(prefixLength: 1) { output in
      for i in 0..<100 { try output.add(Tree.key("a", i), 1) }
      for sequence in (1...5000).reversed() { try output.add("b", UInt64(sequence)) }
      for i in 0..<100 { try output.add(Tree.key("c", i), 1) }
    }
    let b = Array("b".utf8)
    let holding = output.filter {
      !b.lexicographicallyPrecedes($0.smallest) && !$0.largest.lexicographicallyPrecedes(b)
    }
    #expect(holding.count == 1)
    #expect(holding[0].entryCount >= 5000)
  }

  /// Adds of one output, whose values are 50 bytes that do not compress.
  final class Adds {
    let output: TableOutput
    private var random = SplitMix64(seed: 2)
    init(_ output: TableOutput) { self.output = output }

    func add(_ key: String, _ sequence: UInt64) throws {
      let value = random.bytes(50)
      try Array(key.utf8).withByteView { (key) throws(StoreError) in
        try value.withByteView { (value) throws(StoreError) in
          try output.add(key, Tag(sequence: sequence, .put), value)
        }
      }
    }
  }

  static func output(
    prefixLength: Int = 0, grandparents: [TableFile] = [], _ body: (Adds) throws -> Void
  ) throws -> [TableMetadata] {
    let fileSystem = SimulatedFileSystem()
    let numbers = AtomicWord(1)
    var options = TreeOptions()
    options.cutPrefixLength = prefixLength
    let output = TableOutput(
      TableOutput.Environment(
        create: { () throws(StoreError) in
          let number = numbers.take()
          let file = try doing("create") { () throws(FileSystemError) in
            try fileSystem.open(FilePath("/" + FileNames.table(number)), .createNew)
          }
          return (file, number, FileIdentity(low: number, high: 1))
        }, discard: { _ in }),
      treeID: 1, options: options, targetBytes: target, grandparents: grandparents, tombstones: nil)
    try body(Adds(output))
    return try output.finish()
  }
}
