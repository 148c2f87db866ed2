import Foundation
import RoostEnvironment
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// The log on the real file system, in a directory of its own.
// Budget: 5 s
@Suite struct LogOnDiskTests {
  static func inDirectory(_ body: (FilePath) throws -> Void) throws {
    let directory = try TemporaryDirectory.onDisk()
    try body(directory.path)
  }

  /// Bytes that this thread has made the system write, in whole units of its cache.
  static func bytesWritten() -> Int? {
    let text = (try? String(contentsOfFile: "/proc/thread-self/io", encoding: .utf8)) ?? ""
    return text.split(separator: "\n").first { $0.hasPrefix("write_bytes: ") }
      .flatMap { Int($0.dropFirst(13)) }
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func writesAndReplays(_ access: StoreOptions.LogAccess) throws {
    try Self.inDirectory { directory in
      let files = POSIXFileSystem()
      var logs: [LogReplay.Log] = []
      var retired: [LogSegment] = []
      func segment(_ minimum: Int) throws(StoreError) -> LogSegment {
        let number = UInt64(logs.count + 1)
        let segment = try LogSegment.create(
          files, directory, number: number, salt: number &* 0x1234_5678_9ABC_DEF1, identity: 1,
          capacity: max(minimum, 64 << 10), access: access, recycling: retired.popLast())
        logs.append(.init(number: number, salt: segment.salt, byteCount: segment.capacity))
        return segment
      }
      // A first life, so that the logs below begin in recycled files.
      for _ in 0..<2 {
        let first = try segment(0)
        let writer = LogWriter(first)
        while writer.position.offset < 60 << 10 { try writer.append(numbered(1, 100)) }
        try writer.sync()
        retired.append(first)
      }
      let names = logs.count
      let writer = LogWriter(try segment(0), nextSegment: segment)
      let expected = (0..<300).map { numbered($0, $0 * 7) }
      for (i, record) in expected.enumerated() {
        try writer.append(record)
        if i % 50 == 0 { try writer.sync() }
      }
      try writer.flush()
      var records: [[UInt8]] = []
      let report = try LogReplay.replay(Array(logs[names...]), files, directory, identity: 1) {
        (payload, _) throws(StoreError) in records.append(payload.array)
      }
      #expect(records == expected && report.tornTail == nil)
      try writer.close()
      #expect(try files.entries(of: directory).count == logs.count - 2, "two files were used again")
    }
  }

  /// Rule 5: a sync writes the pages that were appended to, not the larger units that a file filled
  /// by large writes, or freshly faulted in, is kept in.
  @Test(.enabled(if: bytesWritten() != nil))
  func aSyncWritesOnlyWhatWasAppended() throws {
    try Self.inDirectory { directory in
      let files = POSIXFileSystem()
      guard files.overwritesInPlace(directory) else { return }
      var retired: LogSegment?
      for round in 1...2 as ClosedRange<UInt64> {
        let beforeAll = try #require(Self.bytesWritten())
        let segment = try LogSegment.create(
          files, directory, number: round, salt: round, identity: 1, capacity: 4 << 20,
          access: .mapped, recycling: retired)
        try #require(segment.mapping != nil)
        let writer = LogWriter(segment)
        let before = try #require(Self.bytesWritten())
        // Filled once, and not again by faulting it in; a file used again is not filled.
        let filling = (round == 1 ? 4 << 20 : 0) + (64 << 10)
        #expect(before - beforeAll <= filling, "\(before - beforeAll) bytes to create")
        for i in 0..<200 {
          try writer.append(numbered(i, 128))
          try writer.sync()
        }
        let written = try #require(Self.bytesWritten()) - before
        // 200 syncs of a page each; 36 KB of frames cross into a new page nine times.
        #expect(written <= (200 + 20) * 4096, "\(written / 200) bytes a sync")
        retired = segment
      }
    }
  }
}
