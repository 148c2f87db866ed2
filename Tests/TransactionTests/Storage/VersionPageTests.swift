import RoostCausality
import Testing

@testable import RoostCluster

/// What is brought of a partition's versions at once: no more than a message takes, but for an entry that is
/// longer by itself.
// Budget: 1 s
@Suite struct VersionPageTests {
  private static let limit = 1_000
  private static let long = String(repeating: "v", count: 3_000)

  /// Short and long values, the long ones with histories.
  private static func world() throws -> VersionWorld {
    let world = try VersionWorld()
    for (number, key) in ["a", "b", "c", "d", "e"].enumerated() {
      let value = number % 2 == 0 ? "short" : Self.long
      for version in 1...3 { try world.put(key, value, at: UInt64(number * 10 + version)) }
    }
    return world
  }

  private static func key(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test(arguments: [VersionEntries.TreeName.current, .history])
  func `a page ends before what does not fit behind others`(tree: VersionEntries.TreeName) throws {
    let part = try Self.world().part
    var whole = VersionEntries()
    #expect(try part.addPage(of: 0, tree, keyspace: 7, from: [], byteLimit: .max, to: &whole) == nil)
    var entries: [VersionEntries.Entry] = []
    var start: [UInt8] = []
    for _ in 0..<50 {
      var page = VersionEntries()
      let next = try part.addPage(
        of: 0, tree, keyspace: 7, from: start, byteLimit: Self.limit, to: &page)
      #expect(page.entries.count == 1 || page.byteCount <= Self.limit)
      entries += page.entries
      guard let next else { break }
      #expect(!page.entries.isEmpty, "it goes on")
      start = next
    }
    #expect(entries == whole.entries)
    #expect(entries.contains { $0.byteCount > Self.limit }, "or the test shows nothing")
  }

  @Test func `a key that was committed to begins another page where it does not fit`() throws {
    let part = try Self.world().part
    var page = VersionEntries()
    #expect(
      try part.add(
        Self.key("a"), of: 0, keyspace: 7, from: nil, byteLimit: Self.limit, to: &page) == .whole)
    let before = page
    #expect(
      try part.add(
        Self.key("b"), of: 0, keyspace: 7, from: nil, byteLimit: Self.limit, to: &page) == .nothing)
    #expect(page == before)

    var whole = VersionEntries()
    #expect(
      try part.add(Self.key("b"), of: 0, keyspace: 7, from: nil, byteLimit: .max, to: &whole) == .whole)
    var entries: [VersionEntries.Entry] = []
    var start: [UInt8]?
    for _ in 0..<50 {
      var page = VersionEntries()
      let added = try part.add(
        Self.key("b"), of: 0, keyspace: 7, from: start, byteLimit: Self.limit, to: &page)
      #expect(page.entries.count == 1, "each is longer than a page")
      entries += page.entries
      guard case .upTo(let next) = added else {
        #expect(added == .whole)
        break
      }
      start = next
    }
    #expect(entries == whole.entries)
    #expect(entries.count > 1)
  }
}
