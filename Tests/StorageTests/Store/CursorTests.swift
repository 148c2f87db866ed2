import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Cursors: their moves, bounds and what they go on showing. (Random walks: ModelTests.)
// Budget: 2 s
@Suite struct CursorTests {
  static func letters(_ tree: Tree) throws {
    for letter in "bdfhj" { try tree.put("\(letter)", "value of \(letter)") }
  }

  @Test func movesBothWays() throws {
    try TreeTests.everywhere { _, tree in
      try Self.letters(tree)
    } _: { (_, tree) throws in
      var cursor = try tree.cursor()
      #expect(cursor.isPositioned == false)
      #expect(cursor.keyBytes == [] && cursor.valueBytes == [])
      #expect(try cursor.next())
      #expect(cursor.isPositioned == true)
      #expect(cursor.keyText == "b" && cursor.valueText == "value of b")
      #expect(cursor.key.byteCount == 1 && cursor.value.byteCount == 10)
      #expect(try !cursor.previous())
      #expect(cursor.isPositioned == false && cursor.keyBytes == [])
      #expect(try cursor.next() && cursor.keyText == "b")
      #expect(try cursor.seekToLast() && cursor.keyText == "j")
      #expect(try !cursor.next())
      #expect(try cursor.previous() && cursor.keyText == "j")
      #expect(try cursor.previous() && cursor.keyText == "h")
      #expect(try cursor.next() && cursor.keyText == "j")
      #expect(try cursor.seekToFirst() && cursor.keyText == "b")
      var fresh = try tree.cursor()
      #expect(try fresh.previous() && fresh.keyText == "j")
    }
  }

  @Test func seeks() throws {
    try TreeTests.everywhere { _, tree in
      try Self.letters(tree)
    } _: { (_, tree) throws in
      var cursor = try tree.cursor()
      #expect(try cursor.seek(to: "d") && cursor.keyText == "d")
      #expect(try cursor.seek(to: "e") && cursor.keyText == "f")
      #expect(try cursor.seek(to: "") && cursor.keyText == "b")
      #expect(try !cursor.seek(to: "k"))
      #expect(try cursor.seek(before: "d") && cursor.keyText == "b")
      #expect(try cursor.seek(before: "zzz") && cursor.keyText == "j")
      #expect(try !cursor.seek(before: "b"))
      #expect(try !cursor.seek(before: ""))
    }
  }

  @Test func bounds() throws {
    try TreeTests.everywhere { _, tree in
      try Self.letters(tree)
      try tree.put("ff", "v")
      try tree.put([0xFF, 1], "v")
      try tree.put([0xFF, 0xFF, 2], "v")
    } _: { (store, tree) throws in
      func keys(_ cursor: consuming Cursor) throws -> [String] {
        var keys: [String] = []
        while try cursor.next() { keys.append(cursor.keyText) }
        var back: [String] = []
        while try cursor.previous() { back.append(cursor.keyText) }
        #expect(back.reversed() == keys)
        return keys
      }
      #expect(try keys(tree.cursor(from: "d", to: "h")) == ["d", "f", "ff"])
      #expect(try keys(tree.cursor(from: "c", to: "g")) == ["d", "f", "ff"])
      #expect(try keys(tree.cursor(from: "h", to: "d")) == [])
      #expect(try keys(tree.cursor(from: "d", to: "d")) == [])
      #expect(try keys(tree.cursor(to: "d")) == ["b"])
      #expect(try keys(tree.cursor(from: "h")).count == 4)
      #expect(try keys(tree.cursor(prefix: "f")) == ["f", "ff"])
      #expect(try keys(tree.cursor(prefix: "")).count == 8)
      #expect(try keys(tree.cursor(prefix: "x")) == [])
      #expect(try keys(tree.cursor(prefix: [0xFF] as [UInt8])).count == 2)
      #expect(try keys(tree.cursor(prefix: [0xFF, 0xFF] as [UInt8])).count == 1)
      let snapshot = store.snapshot()
      #expect(try keys(tree.cursor(at: snapshot)).count == 8)
      #expect(try keys(tree.cursor(prefix: "f", at: snapshot)) == ["f", "ff"])
      #expect(try keys(tree.cursor(from: "d", to: "h", at: snapshot)) == ["d", "f", "ff"])
      // Seeks stay within the bounds.
      var cursor = try tree.cursor(from: "d", to: "h")
      #expect(try cursor.seek(to: "a") && cursor.keyText == "d")
      #expect(try !cursor.seek(to: "h"))
      #expect(try cursor.seek(before: "z") && cursor.keyText == "ff")
      #expect(try !cursor.seek(before: "d"))
      #expect(try cursor.seekToLast() && cursor.keyText == "ff")
    }
  }

  @Test func aCursorShowsTheMomentAtWhichItWasMade() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try Self.letters(tree)
    try tree.flush()
    try tree.put("c", "in memory")
    var cursor = try tree.cursor()
    #expect(try cursor.next())
    try tree.put("bb", "later")
    try tree.put("d", "changed")
    try tree.delete("f")
    try tree.deleteRange(from: "g", to: "i")
    try store.compact()
    world.workers.runAll()
    try tree.fill(2000, prefix: "x")
    world.workers.runAll()
    try store.compact()
    var seen = [cursor.keyText]
    while try cursor.next() { seen.append(cursor.keyText) }
    #expect(seen == ["b", "c", "d", "f", "h", "j"])
    #expect(try cursor.seek(to: "d") && cursor.valueText == "value of d")
    // Its files went with it.
    _ = consume cursor
    store.shared.epochs.reclaim()
    world.workers.runAll()
    #expect(world.names(".sst").count == store.statistics.trees[0].levels.reduce(0) { $0 + $1.tables })
  }

  @Test func damageIsThrownAndNamesThePlace() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.blockCacheBytes = 0 })
    let tree = try store.tree("t")
    try tree.fill(400)
    try tree.compact()
    let name = FileNames.table(try #require(tree.core.current.levels[6].files.first).number)
    var bytes = try world.bytes(name)
    bytes[bytes.count / 2] ^= 1
    try world.write(name, bytes)
    var cursor = try tree.cursor()
    let error = storeError { while try cursor.next() {} }
    #expect(error?.code == .corruption)
    #expect(error?.file == world.path(name).string)
    #expect(error?.offset != nil)
  }
}
