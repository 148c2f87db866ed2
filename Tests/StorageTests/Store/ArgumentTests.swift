import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// The longest key there may be.
private let longestKey = String(repeating: "k", count: 65_535)

/// What callers pass in: limits of keys, values, names and options, each refused before anything is
/// logged.
// Budget: 2 s
@Suite struct ArgumentTests {
  @Test func keysAtTheirLimits() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put(longestKey, "long")
    try tree.put("k", "short")
    try tree.put([0] as [UInt8], "zero")
    #expect(try tree.text(longestKey) == "long")
    try tree.flush()
    #expect(try tree.text(longestKey) == "long")
    #expect(try tree.get([0] as [UInt8]) == Array("zero".utf8))
    #expect(try world.killed().open().tree("t").text(longestKey) == "long")
    // Beyond the limits nothing is ever present.
    #expect(try tree.get("") == nil)
    #expect(try tree.get(longestKey + "k") == nil)
    #expect(try !tree.contains(""))
    #expect(try tree.multiGet(["", "k"])[0] == nil)
  }

  @Test(arguments: ["", longestKey + "k"]) func badKeysAreRefused(_ key: String) throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    world.fileSystem.recordsTrace = true
    for call in [
      { try tree.put(key, "v") }, { try tree.delete(key) }, { try tree.deleteRange(from: key, to: "z") },
      { try tree.deleteRange(from: "a", to: key) },
      { try store.write { $0.put(key, "v", in: tree) } }, { try store.write { $0.delete(key, in: tree) } },
      { try store.write { $0.deleteRange(from: key, to: "z", in: tree) } },
      { try store.write { $0.deleteRange(from: "a", to: key, in: tree) } },
    ] {
      let error = storeError(call)
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains(key.isEmpty ? "at least one byte" : "65535") == true)
    }
    #expect(world.fileSystem.trace == [])
    #expect(store.statistics.lastSequence == 0)
  }

  @Test func valuesMayBeEmptyAndLarge() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    let large = SplitMix64.bytes(1 << 20, seed: 4)
    try tree.put("empty", "")
    try tree.put("large", large)
    for _ in 0..<2 {
      #expect(try tree.get("empty") == [])
      #expect(try tree.get("large") == large)
      try tree.flush()
    }
    let again = try world.killed().open().tree("t")
    #expect(try again.get("empty") == [])
    #expect(try again.get("large") == large)
  }

  /// By length alone: the bytes are never looked at.
  @Test func aValueAboveItsLimitIsTooLarge() throws {
    let start = unsafe UnsafeRawPointer(bitPattern: 8)!
    #expect(Arguments.problem(value: unsafe ByteView(start, count: 1 << 30)) == nil)
    let problem = unsafe Arguments.problem(value: ByteView(start, count: 1 << 30 + 1))
    #expect(problem?.code == .tooLarge)
    #expect(problem?.message.contains("\(1 << 30)") == true)
  }

  /// All that shows its bytes is a key and a value.
  @Test func everyKindOfKeyIsTheSameKey() throws {
    let tree = try SimulatedStore().open().tree("t")
    let bytes: [UInt8] = [0x66, 0xC3, 0xBC, 0x72]
    try tree.put("für", "String")
    #expect(try tree.get(bytes) == Array("String".utf8))
    try tree.put(bytes, bytes)
    #expect(try tree.get("für") == bytes)
    try tree.put("[für]".dropFirst().dropLast(), "Substring")
    #expect(try tree.get(bytes[...]) == Array("Substring".utf8))
    try tree.put(bytes[0...], "ArraySlice"[...])
    #expect(try tree.get(bytes.span) == Array("ArraySlice".utf8))
    try unsafe tree.put(bytes.span.bytes, bytes.span)
    #expect(try unsafe tree.get(bytes.span.bytes) == bytes)
    #expect(try tree.keys().count == 1)
  }

  @Test func keysOrderByTheirBytes() throws {
    let tree = try SimulatedStore().open().tree("t")
    let keys: [[UInt8]] = [[0], [0, 0], [0, 255], [1], [127], [128], [255], [255, 0], [255, 255]]
    for key in keys.reversed() { try tree.put(key, "v") }
    for _ in 0..<2 {
      var cursor = try tree.cursor()
      var seen: [[UInt8]] = []
      while try cursor.next() { seen.append(cursor.keyBytes) }
      #expect(seen == keys)
      try tree.flush()
    }
  }

  // MARK: - Names

  @Test func treeNames() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let longest = String(repeating: "n", count: 255)
    let names = ["t", "Bäume 🌳", longest, "a/b\\c\0d\n", " "]
    for name in names { try store.tree(name).put("k", name) }
    for name in ["", longest + "n", String(repeating: "ü", count: 128)] {
      let error = storeError { _ = try store.tree(name) }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("255") == true)
    }
    #expect(store.treeNames == names.sorted())
    let again = try world.killed().open()
    #expect(again.treeNames == names.sorted())
    for name in names { #expect(try again.tree(name).text("k") == name) }
    #expect(storeError { try store.dropTree("unknown") }?.code == .invalidArgument)
    #expect(store.existingTree("unknown") == nil)
  }

  // MARK: - Options

  static let badOptions: [(String, @Sendable (inout StoreOptions) -> Void)] = [
    ("memtableBytes", { $0.memtableBytes = 16 << 10 - 1 }), ("memtableBytes", { $0.memtableBytes = 0 }),
    ("memtableBytes", { $0.memtableBytes = Int.max }), ("memtableBytes", { $0.memtableBytes = -1 }),
    ("memoryBudgetBytes", { $0.memoryBudgetBytes = 2 * $0.memtableBytes - 1 }),
    ("memoryBudgetBytes", { $0.memoryBudgetBytes = -1 }),
    ("blockCacheBytes", { $0.blockCacheBytes = -1 }), ("logSegmentBytes", { $0.logSegmentBytes = 100 }),
    ("logSegmentBytes", { $0.logSegmentBytes = 1 << 30 + 1 }),
    ("logLimitBytes", { $0.logLimitBytes = 2 * $0.logSegmentBytes - 1 }),
    ("openFileLimit", { $0.openFileLimit = 15 }), ("openFileLimit", { $0.openFileLimit = -1 }),
    ("stallDeadline", { $0.stallDeadline = .zero }), ("stallDeadline", { $0.stallDeadline = .seconds(-1) }),
  ]

  @Test(arguments: badOptions.indices) func storeOptionsOutsideTheirLimits(_ index: Int) throws {
    let (name, change) = Self.badOptions[index]
    let world = SimulatedStore()
    let error = world.openError(.small(change))
    #expect(error?.code == .invalidOption)
    #expect(error?.message.contains(name) == true)
    // Nothing was created.
    #expect(try world.fileSystem.entries(of: "/") == [])
  }

  @Test func optionsAtTheirLimits() throws {
    for change: @Sendable (inout StoreOptions) -> Void in [
      { $0.memtableBytes = 16 << 10 }, { $0.memoryBudgetBytes = 2 * $0.memtableBytes },
      { $0.memoryBudgetBytes = .max }, { $0.blockCacheBytes = 0 },
      {
        $0.logSegmentBytes = 16 << 10
        $0.logLimitBytes = 32 << 10
      }, { $0.logLimitBytes = .max }, { $0.openFileLimit = 16 }, { $0.openFileLimit = .max },
      { $0.stallDeadline = .seconds(Int64.max) },
      { $0.stallDeadline = .nanoseconds(1) },
    ] {
      let world = SimulatedStore()
      let store = try world.open(.small(change))
      let tree = try store.tree("t")
      try tree.fill(500)
      #expect(try tree.keys().count == 500)
      try store.close()
    }
  }

  static let badTreeOptions: [(String, @Sendable (inout TreeOptions) -> Void)] = [
    ("blockBytes", { $0.blockBytes = 255 }), ("blockBytes", { $0.blockBytes = 1 << 20 + 1 }),
    ("restartInterval", { $0.restartInterval = 0 }), ("restartInterval", { $0.restartInterval = 257 }),
    ("filterBitsPerKey", { $0.filterBitsPerKey = -1 }), ("filterBitsPerKey", { $0.filterBitsPerKey = 65 }),
    ("tableBytes", { $0.tableBytes = 16 << 10 - 1 }), ("tableBytes", { $0.tableBytes = 4 << 30 + 1 }),
    ("cutPrefixLength", { $0.cutPrefixLength = -1 }), ("cutPrefixLength", { $0.cutPrefixLength = 65 }),
  ]

  @Test(arguments: badTreeOptions.indices) func treeOptionsOutsideTheirLimits(_ index: Int) throws {
    let (name, change) = Self.badTreeOptions[index]
    var options = TreeOptions()
    change(&options)
    let store = try SimulatedStore().open()
    let error = storeError { _ = try store.tree("t", options) }
    #expect(error?.code == .invalidOption)
    #expect(error?.message.contains(name) == true)
    #expect(store.treeNames == [])
  }
}

extension SplitMix64 {
  static func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return random.bytes(count)
  }
}
