import TestSupport
import Testing

@testable import RoostStorage

/// Which names are a store's, and which numbers.
// Budget: 1 s
@Suite struct FileNamesTests {
  @Test func numbersHaveSixDigitsOrMore() {
    #expect(FileNames.log(7) == "000007.log")
    #expect(FileNames.table(1_234_567) == "1234567.sst")
    #expect(FileNames.manifest(123_456) == "123456.manifest")
    for number: UInt64 in [0, 1, 999_999, 1_000_000, FileNames.numberLimit - 1] {
      let log = FileNames.parse(FileNames.log(number))
      #expect(log?.kind == .log && log?.number == number)
      let table = FileNames.parse(FileNames.table(number))
      #expect(table?.kind == .table && table?.number == number)
      let manifest = FileNames.parse(FileNames.manifest(number))
      #expect(manifest?.kind == .manifest && manifest?.number == number)
    }
    for name in [
      "7.log", "00007.log", "0000007.log", "000007", "000007.txt", "000007.log.old", "-00007.log",
      "+00007.sst", "００００07.sst", ".sst", "000007.", "CURRENT", "",
    ] {
      #expect(FileNames.parse(name) == nil, "\(name)")
    }
  }

  /// Counting on from a number that somebody put there must never come round to numbers in use.
  @Test func numbersBeyondTheLimitAreNobodys() throws {
    #expect(FileNames.numberLimit == 1 << 62)
    let beyond = [FileNames.numberLimit, .max - 1, .max]
    for number in beyond { #expect(FileNames.parse(FileNames.table(number)) == nil) }
    #expect(FileNames.parse("99999999999999999999.sst") == nil)
    // In a new directory such a file is somebody else's.
    let world = SimulatedStore()
    try world.fileSystem.createDirectory("/data/store")
    try world.write(FileNames.log(.max), [1])
    #expect(world.openError()?.code == .notAStore)
    // In a store it stays, and nothing is counted from it.
    let store = SimulatedStore()
    try store.open().tree("t").put("k", "v", .synced)
    let killed = store.killed()
    for number in beyond { try killed.write(FileNames.table(number), [1, 2, 3]) }
    let again = try killed.open()
    #expect(again.fileNumbers.load() < 100)
    try again.tree("t").put("l", "v", .synced)
    try again.flush()
    #expect(try killed.crashed().open().tree("t").keys() == ["k", "l"])
    for number in beyond { #expect(killed.names.contains(FileNames.table(number))) }
  }
}
