import Testing

@testable import RoostStorage

// Budget: 5 s
@Suite struct LogReplayTests {
  /// Three records and a mark, two records behind it, in a log small enough to break at every byte.
  static func small(_ access: StoreOptions.LogAccess = .mapped) throws -> (LogFixture, [[UInt8]]) {
    let fixture = LogFixture(access, capacity: 400)
    let writer = try fixture.writer()
    let records = (0..<5).map { numbered($0, 9 + $0) }
    for record in records[..<3] { try writer.append(record) }
    try writer.sync()
    for record in records[3...] { try writer.append(record) }
    try writer.flush()
    return (fixture, records)
  }

  /// Where each frame of `small` begins: three records, the mark, two records, the rest.
  static let starts = [64, 96, 128, 160, 192, 224, 256]

  // MARK: Damage at every byte

  @Test(arguments: [UInt8(0x01), 0x80, 0xFF])
  func everyFlippedByteIsNoticedOrHarmless(_ mask: UInt8) throws {
    let (fixture, records) = try Self.small()
    let name = fixture.name(0)
    let intact = fixture.files[name]
    #expect(fixture.replay().records == records)
    for i in intact.indices {
      var bytes = intact
      bytes[i] ^= mask
      fixture.files[name] = bytes
      let outcome = fixture.replay()
      // The frame that the byte belongs to, and whether a checksum covers it there.
      let frame = Self.starts.lastIndex { $0 <= i }
      guard let frame else {
        #expect(outcome.error?.code == .corruption && outcome.records.isEmpty, "byte \(i)")
        continue
      }
      let length = frame < 5 ? [9, 10, 11, 16, 12, 13][frame] : frame == 5 ? 13 : 0
      let isPadding = frame < 6 && i >= Self.starts[frame] + 16 + length
      let whole = frame < 3 ? frame : frame == 3 ? 3 : min(frame - 1, 5)
      if isPadding || i >= Self.starts[6] + 16 {
        #expect(outcome.records == records && outcome.error == nil, "byte \(i)")
      } else if frame < 3 {
        // Before the mark, which was read beyond the damage.
        #expect(outcome.error?.code == .corruption, "byte \(i)")
        #expect(outcome.error?.offset == Int64(Self.starts[frame]), "byte \(i)")
        #expect(outcome.records == Array(records[..<whole]), "byte \(i)")
      } else {
        #expect(outcome.error == nil, "byte \(i)")
        #expect(outcome.records == Array(records[..<whole]), "byte \(i)")
        #expect(outcome.report?.tornTail?.offset == Self.starts[frame], "byte \(i)")
      }
    }
  }

  /// Cut at every length, the manifest naming no size: the end of a file that grows.
  @Test func everyTruncationGivesAPrefix() throws {
    let (fixture, records) = try Self.small()
    let name = fixture.name(0)
    let intact = fixture.files[name]
    for length in 0..<intact.count {
      fixture.files[name] = Array(intact[..<length])
      var logs = fixture.logs
      let named = LogFixture.replay(logs, fixture.files)
      #expect(named.error?.code == .corruption, "shorter than the manifest says: \(length)")
      #expect(named.records.isEmpty)
      logs[0].byteCount = 0
      let outcome = LogFixture.replay(logs, fixture.files)
      if length < 64 {
        #expect(outcome.error?.code == .corruption, "length \(length)")
        continue
      }
      let ends = [89, 122, 155, 220, 253]
      let whole = ends.count { $0 <= length }
      #expect(outcome.error == nil, "length \(length)")
      #expect(outcome.records == Array(records[..<whole]), "length \(length)")
      let stop = outcome.report?.end.offset ?? 0
      let isRagged = length > stop && intact[stop..<length].contains { $0 != 0 }
      #expect((outcome.report?.tornTail != nil) == isRagged, "length \(length)")
    }
  }

  @Test func randomDamageNeverGivesAWrongRecord() throws {
    var random = LogRandom()
    let fixture = LogFixture(.mapped, capacity: 1024)
    let writer = try fixture.writer()
    var records: [[UInt8]] = []
    /// Where each mark stands, and how many records it covers.
    var marks: [(log: Int, range: Range<Int>, records: Int)] = []
    for i in 0..<40 {
      records.append(random.bytes(Int.random(in: 0...120, using: &random)))
      try writer.append(records[i])
      if i % 9 == 8 {
        try writer.sync()
        let end = writer.position.offset
        marks.append((fixture.logs.count - 1, end - 32..<end, i + 1))
      }
    }
    let intact = fixture.logs.indices.map { fixture.files[fixture.name($0)] }
    for _ in 0..<1500 {
      let at = Int.random(in: 0..<intact.count, using: &random)
      var bytes = intact[at]
      let start = Int.random(in: 0..<bytes.count, using: &random)
      let end = min(bytes.count, start + Int.random(in: 1...200, using: &random))
      switch Int.random(in: 0..<3, using: &random) {
      case 0: for i in start..<end { bytes[i] = 0 }
      case 1: for i in start..<end { bytes[i] = .random(in: 0...255, using: &random) }
      default:
        // A piece of another log of the same store, at the same offset.
        let other = intact.randomElement(using: &random)!
        for i in start..<end where i < other.count { bytes[i] = other[i] }
      }
      fixture.files[fixture.name(at)] = bytes
      let outcome = fixture.replay()
      #expect(outcome.records == Array(records.prefix(outcome.records.count)), random.comment)
      // What the marks that the damage spared cover must be there, or be missed.
      let covered = marks.last { $0.log != at || bytes[$0.range] == intact[at][$0.range] }!.records
      if outcome.error == nil {
        #expect(outcome.records.count >= covered, random.comment)
      } else {
        #expect(outcome.error?.code == .corruption && outcome.error?.file != nil, random.comment)
        #expect(outcome.records.count < covered || start < 64, random.comment)
      }
      fixture.files[fixture.name(at)] = intact[at]
    }
  }

  @Test func randomBytesNeverCrash() throws {
    var random = LogRandom()
    let (fixture, _) = try Self.small()
    let header = Array(fixture.files[fixture.name(0)][..<64])
    for round in 0..<400 {
      var bytes = random.bytes(Int.random(in: 0...4096, using: &random))
      // Half the time with words that look like frame headers of any length.
      for i in stride(from: 8, to: bytes.count - 8, by: 16) where round % 2 == 0 {
        let word =
          UInt64.random(in: 0...3, using: &random) << 32
          | UInt64.random(in: 0...(random.chance(3) ? 0xFFFF_FFFF : 64), using: &random)
        for j in 0..<8 { bytes[i + j] = UInt8(truncatingIfNeeded: word >> UInt64(8 * j)) }
      }
      let isHeaded = round % 4 < 2
      fixture.files[fixture.name(0)] = (isHeaded ? header : []) + bytes
      var logs = fixture.logs
      logs[0].byteCount = 0
      let outcome = LogFixture.replay(logs, fixture.files)
      #expect(outcome.records.isEmpty, random.comment)
      #expect((outcome.error == nil) == isHeaded, random.comment)
      _ = try? LogInspection.read(fixture.files, "/store/000007.log") { _ in }
    }
  }

  // MARK: Rule 2: never past a hole, never into a later log after one

  /// Writes two logs; the first ends with an end frame. Marks only where asked.
  static func twoLogs(syncing: Bool) throws -> (LogFixture, [[UInt8]]) {
    let fixture = LogFixture(.mapped, capacity: 512)
    let writer = try fixture.writer()
    let records = (0..<4).map { numbered($0, 150) }
    for record in records { try writer.append(record) }
    if syncing { try writer.sync() }
    #expect(fixture.logs.count == 2)
    return (fixture, records)
  }

  static func punch(_ fixture: LogFixture, _ log: Int, _ range: Range<Int>) {
    var bytes = fixture.files[fixture.name(log)]
    for i in range { bytes[i] = 0 }
    fixture.files[fixture.name(log)] = bytes
  }

  @Test func aHoleEndsReplayThoughValidFramesFollow() throws {
    let (fixture, records) = try Self.twoLogs(syncing: false)
    // The second record of the first log is gone: neither the rest of that log nor the next is
    // read.
    Self.punch(fixture, 0, 64 + 168..<64 + 200)
    let outcome = fixture.replay()
    #expect(outcome.error == nil && outcome.records == [records[0]])
    #expect(outcome.report?.tornTail?.offset == 64 + 168)
    #expect(outcome.report?.tornTail?.log == fixture.logs[0].number)
  }

  @Test func aLogWithoutItsEndFrameIsNotLeft() throws {
    let (fixture, records) = try Self.twoLogs(syncing: false)
    let end = try #require(Self.endFrame(fixture, 0))
    Self.punch(fixture, 0, end..<512)
    let outcome = fixture.replay()
    #expect(outcome.error == nil && outcome.records == Array(records[..<2]))
    #expect(outcome.report?.tornTail?.offset == end)
  }

  @Test func aHoleBehindWhichAMarkStandsIsCorruption() throws {
    // In the same log: zeros in place of synced records.
    let (small, records) = try Self.small()
    Self.punch(small, 0, 96..<144)
    let outcome = small.replay()
    #expect(outcome.error?.code == .corruption && outcome.error?.offset == 96)
    #expect(outcome.records == [records[0]])

    // In an older log, the mark in a later one, which states nothing about the older log's offsets.
    let (two, twoRecords) = try Self.twoLogs(syncing: true)
    let intact = two.files[two.name(0)]
    Self.punch(two, 0, 64 + 168..<64 + 200)
    var later = two.replay()
    #expect(later.error?.code == .corruption && later.error?.offset == 64 + 168)
    #expect(later.error?.file == "/store/" + two.name(0))
    #expect(later.records == [twoRecords[0]])

    // Only the end frame is gone: still before the mark.
    two.files[two.name(0)] = intact
    let end = try #require(Self.endFrame(two, 0))
    Self.punch(two, 0, end..<512)
    later = two.replay()
    #expect(later.error?.code == .corruption && later.error?.offset == Int64(end))
  }

  @Test func theSameHoleWithoutAMarkIsATornTail() throws {
    let (small, records) = try Self.small()
    // With the mark gone too, nothing says that the record was synced.
    Self.punch(small, 0, 96..<144)
    Self.punch(small, 0, 160..<192)
    let outcome = small.replay()
    #expect(outcome.error == nil && outcome.records == [records[0]])
    #expect(outcome.report?.tornTail?.offset == 96)
  }

  @Test func aLogMadeAheadAndNotYetUsedIsNoTornTail() throws {
    let (fixture, records) = try Self.small()
    _ = try fixture.segment()
    let outcome = fixture.replay()
    #expect(outcome.error == nil && outcome.records == records)
    #expect(outcome.report?.tornTail == nil)
  }

  static func endFrame(_ fixture: LogFixture, _ index: Int) -> Int? {
    guard
      let reader = try? LogReader(fixture.files, fixture.directory.appending(fixture.name(index)))
    else { return nil }
    while case .frame(let frame)? = try? reader.next() {
      if frame.kind == .end { return frame.offset }
    }
    return nil
  }

  // MARK: Rule 3: the logs that the manifest names are there, and are those

  @Test func aMissingLogIsRefusedBeforeAnyRecordIsDelivered() throws {
    let (fixture, _) = try Self.twoLogs(syncing: false)
    fixture.files.contents[fixture.name(1)] = nil
    let outcome = fixture.replay()
    #expect(outcome.error?.code == .missingFile && outcome.records.isEmpty)
    #expect(outcome.error?.file?.hasSuffix(fixture.name(1)) == true)
  }

  @Test func aShortLogIsCorruption() throws {
    let (fixture, _) = try Self.twoLogs(syncing: false)
    fixture.files[fixture.name(1)].removeLast()
    let outcome = fixture.replay()
    #expect(outcome.error?.code == .corruption && outcome.records.isEmpty)
  }

  @Test func anotherLogsFileUnderThisNameIsCorruption() throws {
    let (fixture, _) = try Self.twoLogs(syncing: false)
    let second = fixture.files[fixture.name(1)]
    fixture.files[fixture.name(1)] = fixture.files[fixture.name(0)]
    #expect(fixture.replay().error?.code == .corruption)
    fixture.files[fixture.name(1)] = second
    fixture.logs[1].salt ^= 1
    #expect(fixture.replay().error?.code == .corruption)
  }

  @Test func anEndFrameMustLeadToTheNextLogNamed() throws {
    let (fixture, records) = try Self.twoLogs(syncing: false)
    fixture.logs.removeLast()
    let outcome = fixture.replay()
    #expect(outcome.error?.code == .corruption && outcome.records == Array(records[..<2]))
  }

  @Test func whatTheReceiverThrowsEndsReplay() throws {
    let (fixture, _) = try Self.small()
    var count = 0
    let error = #expect(throws: StoreError.self) {
      _ = try LogReplay.replay(
        fixture.logs, fixture.files, fixture.directory, identity: LogFixture.identity
      ) { (_, _) throws(StoreError) in
        count += 1
        if count == 2 { throw StoreError(.tooLarge, "enough") }
      }
    }
    #expect(error?.code == .tooLarge && count == 2)
  }
}
