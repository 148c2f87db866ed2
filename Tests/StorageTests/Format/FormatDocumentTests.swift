import Foundation
import TestSupport
import Testing

@testable import RoostStorage

/// FORMAT.md's worked examples are what the engine writes, byte for byte, and what it reads.
///
/// A changed byte means that the format has changed, and with it the format's version.
// Budget: 1 s
@Suite struct FormatDocumentTests {
  @Test func `the marker is the one shown`() throws {
    #expect(FormatExamples.marker() == (try FormatDocument.example("marker")))
  }

  @Test func `the log is the one shown, and zeros`() throws {
    let shown = try FormatDocument.example("log")
    let written = try FormatExamples.log()
    #expect(Array(written.prefix(shown.count)) == shown)
    #expect(written.count == 256 && written.dropFirst(shown.count).allSatisfy { $0 == 0 })
  }

  @Test func `the late delete is the one shown`() throws {
    let shown = try FormatDocument.example("late-delete")
    #expect(FormatExamples.lateDelete() == shown)
    let operations = BatchInspection(shown).operations
    #expect(operations.map(\.kind) == [.deleteLate, .put])
    #expect(operations.map(\.offset) == [12, 18] && operations.map(\.sequence) == [5, 6])
  }

  @Test func `the manifest is the one shown`() throws {
    #expect(try FormatExamples.manifest() == FormatDocument.example("manifest"))
  }

  @Test func `the table is the one shown`() throws {
    #expect(try FormatExamples.table().bytes == FormatDocument.example("table"))
  }

  /// Other compressors may write other bytes: only reading is fixed.
  @Test func `the compressed block is read as shown`() throws {
    let stored = try FormatDocument.example("lz4")
    let handle = BlockHandle(offset: 0, size: UInt64(stored.count - TableFormat.trailerBytes))
    try stored.withByteView { view in
      #expect(TableReader.isIntact(view, at: 0, FormatExamples.tableIdentity))
      let block = try #require(TableReader.unpack(view, handle, .properties))
      #expect(block.view.array == Array(String(repeating: "roost", count: 20).utf8))
    }
  }

  @Test func `the export's checksums are as described`() throws {
    let export = try FormatDocument.example("export")
    func hash(_ ranges: [Range<Int>], _ seed: UInt64) -> [UInt8] {
      let sum = ranges.flatMap { export[$0] }.withByteView { XXH64.hash($0, seed: seed) }
      return (0..<8).map { UInt8(truncatingIfNeeded: sum >> UInt64(8 * $0)) }
    }
    try #require(export.count == 74)
    #expect(Array(export[16..<24]) == hash([0..<16], 0))
    #expect(Array(export[32..<40]) == hash([24..<32, 40..<50], 24))
    #expect(Array(export[58..<66]) == hash([50..<58, 66..<74], 50))
  }

  @Test func `the hashes are those shown`() throws {
    let rows = try FormatDocument.text().matches(of: /\| `(.*)` \| `0x([0-9a-f]+)` \| `0x([0-9a-f]{16})` \|/)
    #expect(rows.count >= 4)
    for row in rows {
      let seed = try #require(UInt64(row.2, radix: 16))
      let hash = Array(String(row.1).utf8).withByteView { XXH64.hash($0, seed: seed) }
      #expect(hexadecimal(hash) == String(row.3))
    }
  }

  /// Writes the examples' files into a new directory, `ROOST_MAKE_EXAMPLES=DIRECTORY`.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROOST_MAKE_EXAMPLES"] != nil))
  func `make the examples`() throws {
    let path = try #require(ProcessInfo.processInfo.environment["ROOST_MAKE_EXAMPLES"])
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for (name, bytes) in [
      ("CURRENT", FormatExamples.marker()), ("000002.log", try FormatExamples.log()),
      ("000001.manifest", try FormatExamples.manifest()), ("000004.sst", try FormatExamples.table().bytes),
    ] {
      try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
    }
  }

  @Test func `examples without a gap are demanded`() {
    #expect(throws: FormatDocument.BadExample.self) { try FormatDocument.bytes(["0  aa bb  x", "3  cc"]) }
    #expect(throws: FormatDocument.BadExample.self) { try FormatDocument.bytes(["0  aa bbb  x"]) }
    let lines = ["0  aa bb  two  bytes", "      more words", "2  cc"]
    #expect((try? FormatDocument.bytes(lines)) == [0xAA, 0xBB, 0xCC])
  }
}
