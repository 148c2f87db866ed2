import RoostEnvironment
import Testing

@testable import RoostStorage

// Budget: 2 s
@Suite struct LogSegmentTests {
  // MARK: Rule 5: no holes under a mapping

  @Test func aMappedSegmentIsZeroedInSmallWritesAndSyncedBeforeUse() throws {
    let fixture = LogFixture(.mapped, capacity: 64 << 10)
    let segment = try fixture.segment()
    #expect(segment.mapping != nil)
    let writes = fixture.files.events.compactMap { event -> (Int, Int)? in
      if case .write(_, let offset, let count) = event { (offset, count) } else { nil }
    }
    // Large writes would make each later sync write large units.
    #expect(writes.map(\.0) == Array(stride(from: 0, to: 64 << 10, by: 4096)))
    #expect(writes.allSatisfy { $0.1 == 4096 })
    #expect(
      fixture.files.events.suffix(3) == [
        .sync("000007.log"), .map("000007.log", .reading), .syncDirectory,
      ])
    #expect(fixture.files.contents["000007.log"]?.durable.count == 64 << 10)
  }

  /// Where syncs are rare: the pages are writable at once, and the blocks are on disk all the same.
  @Test func faultingAheadIsForWriting() throws {
    let fixture = LogFixture(.mapped, capacity: 8192)
    let segment = try LogSegment.create(
      fixture.files, fixture.directory, number: 7, salt: 1, identity: 1, capacity: 8192,
      access: .mapped, faultingAhead: true)
    #expect(
      fixture.files.events.suffix(3) == [
        .sync("000007.log"), .map("000007.log", .writing), .syncDirectory,
      ])
    #expect(fixture.files.contents["000007.log"]?.durable.count == 8192)
    let again = try LogSegment.create(
      fixture.files, fixture.directory, number: 8, salt: 2, identity: 1, capacity: 8192,
      access: .mapped, recycling: segment, faultingAhead: true)
    #expect(again.isRecycled && again.mapping != nil && segment.mapping == nil)
    #expect(
      fixture.files.events.suffix(3) == [
        .sync("000008.log"), .syncDirectory, .map("000008.log", .writing),
      ])
  }

  /// A page that is mapped costs an interrupt of every processor when a sync cleans it.
  @Test func anEndedSegmentIsUnmappedBeforeItIsSynced() throws {
    let fixture = LogFixture(.mapped, capacity: 2048)
    let writer = try fixture.writer()
    try writer.append(numbered(1, 40))
    try fixture.segments[0].sync()
    #expect(fixture.segments[0].mapping != nil, "it is still written")
    var number = 2
    while fixture.segments.count < 2 {
      try writer.append(numbered(number, 40))
      number += 1
    }
    fixture.files.events = []
    try writer.sync()
    #expect(fixture.segments[0].mapping == nil && fixture.segments[1].mapping != nil)
    #expect(
      fixture.files.events.prefix(2) == [.unmap(fixture.name(0)), .sync(fixture.name(0))])
    #expect(fixture.replay().records == (1..<number).map { numbered($0, 40) })
  }

  @Test func callsAllocateAndDoNotMap() throws {
    let fixture = LogFixture(.calls, capacity: 64 << 10)
    #expect(try fixture.segment().mapping == nil)
    #expect(
      fixture.files.events == [
        .allocate("000007.log", 64 << 10), .write("000007.log", offset: 0, count: 64),
        .sync("000007.log"), .syncDirectory,
      ])
  }

  @Test func whereTheFileSystemCopiesOnWriteNothingIsMapped() throws {
    let fixture = LogFixture(.mapped)
    fixture.files.isInPlace = false
    let segment = try fixture.segment()
    #expect(segment.mapping == nil)
    let writer = LogWriter(segment)
    try writer.append([1])
    try writer.flush()
    #expect(fixture.replay().records == [[1]])
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func whatCannotBeCreatedIsRemoved(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access, capacity: 64 << 10)
    fixture.files.writeFailure = (access == .mapped ? 5 : 0, 100, .noSpace)
    let error = #expect(throws: StoreError.self) { try fixture.segment() }
    #expect(error?.code == .diskFull)
    #expect(fixture.files.contents.isEmpty)
    fixture.files.syncFailure = 0
    #expect(throws: StoreError.self) { try fixture.segment() }
    #expect(fixture.files.contents.isEmpty)
  }

  @Test func anExistingFileIsNeitherUsedNorRemoved() throws {
    let fixture = LogFixture(.calls)
    fixture.files["000007.log"] = [1, 2, 3]
    #expect(throws: StoreError.self) { try fixture.segment() }
    #expect(fixture.files["000007.log"] == [1, 2, 3])
  }

  // MARK: Rule 6: recycled segments

  /// A log that is full of old records, used again and given few new ones.
  static func recycled(
    _ access: StoreOptions.LogAccess, sameSaltAndNumber: Bool = false
  ) throws -> LogFixture {
    let fixture = LogFixture(access, capacity: 2048)
    let old = try fixture.segment(salt: 11)
    let oldWriter = LogWriter(old)
    // Three frames of the same sizes as the new ones, then more.
    for i in 0..<20 { try oldWriter.append(numbered(100 + i, 40)) }
    try oldWriter.sync()
    fixture.recycling = [old]
    fixture.logs = []
    fixture.files.events = []
    let new = try fixture.segment(salt: sameSaltAndNumber ? 11 : 12)
    #expect(new.isRecycled && new.file === old.file && (new.mapping != nil) == (access == .mapped))
    return fixture
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func oldFramesAreNeverReplayed(_ access: StoreOptions.LogAccess) throws {
    let fixture = try Self.recycled(access)
    #expect(fixture.replay().records.isEmpty)
    #expect(fixture.replay().report?.tornTail == nil)
    let writer = LogWriter(fixture.segments[1])
    for i in 0..<3 {
      try writer.append(numbered(i, 40))
      try writer.flush()
      let outcome = fixture.replay()
      #expect(outcome.records == (0...i).map { numbered($0, 40) })
      #expect(
        outcome.error == nil && outcome.report?.tornTail == nil, "zeros stand behind the last frame"
      )
    }
    // Without those zeros the old frames themselves must not validate. Frames are 56 bytes.
    let name = fixture.name(0)
    #expect(fixture.files[name].count == 2048)
    let frame = 64 + 3 * 56
    var bytes = fixture.files[name]
    var old = ByteBuffer()
    old.append(littleEndian: LogFrame.word(.record, length: 40))
    old.append(numbered(103, 40))
    let head = LogFrame.checksum(old.view, at: frame, salt: 11)
    for i in 0..<8 { bytes[frame + i] = UInt8(truncatingIfNeeded: head >> UInt64(8 * i)) }
    for (i, byte) in old.view.array.enumerated() { bytes[frame + 8 + i] = byte }
    fixture.files[name] = bytes
    let outcome = fixture.replay()
    #expect(outcome.records == (0..<3).map { numbered($0, 40) })
    #expect(outcome.report?.tornTail?.offset == frame && outcome.error == nil)
  }

  /// What the salt is for: under the same salt the old frames come back, old marks included.
  @Test func withoutANewSaltOldFramesWouldBeReplayed() throws {
    let fixture = try Self.recycled(.mapped, sameSaltAndNumber: true)
    let writer = LogWriter(fixture.segments[1])
    // A frame as long as the first two old ones, whose trailing zeros a crash keeps from the disk.
    try writer.append(numbered(0, 40))
    let name = fixture.name(0)
    var bytes = fixture.files[name]
    let head = fixture.files.contents[name]!.durable[120..<136]
    bytes.replaceSubrange(120..<136, with: head)
    fixture.files[name] = bytes
    let outcome = fixture.replay()
    #expect(outcome.records.count > 1 && outcome.records[1] == numbered(101, 40))
  }

  @Test func aRecycledFileIsRenamedAndItsNameDurableBeforeUse() throws {
    let fixture = try Self.recycled(.mapped)
    // The old writer held the old mapping to its end.
    #expect(
      fixture.files.events.filter { $0 != .unmap("000007.log") } == [
        .rename("000007.log", "000008.log"), .write("000008.log", offset: 0, count: 80),
        .sync("000008.log"), .syncDirectory, .map("000008.log", .reading),
      ])
  }

  @Test func aRetiredFileOfAnotherSizeIsRemovedInstead() throws {
    let fixture = LogFixture(.mapped, capacity: 2048)
    let old = try fixture.segment()
    fixture.recycling = [old]
    let new = try fixture.segment(capacity: 4096)
    #expect(!new.isRecycled && fixture.files.contents.keys.sorted() == ["000008.log"])
  }

  /// A file that was only allocated may have no blocks written: it is not mapped later.
  @Test func aFileThatWasNotMappedIsNotRecycledIntoAMapping() throws {
    let fixture = LogFixture(.calls, capacity: 2048)
    let old = try fixture.segment()
    let new = try LogSegment.create(
      fixture.files, fixture.directory, number: 20, salt: 1, identity: 1, capacity: 2048,
      access: .mapped, recycling: old)
    #expect(!new.isRecycled && new.mapping != nil)
  }
}
