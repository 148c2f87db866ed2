import RoostEnvironment
import Testing

@testable import RoostStorage

// Budget: 3 s
@Suite struct LogWriterTests {
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func whatIsAppendedIsReplayedOverManyFiles(_ access: StoreOptions.LogAccess) throws {
    var random = LogRandom()
    let fixture = LogFixture(access)
    let writer = try fixture.writer()
    var expected: [[UInt8]] = []
    var places: [LogPosition] = []
    for _ in 0..<400 {
      let record = random.bytes(Int.random(in: 0...600, using: &random))
      places.append(try writer.append(record))
      expected.append(record)
      if random.chance(7) { try writer.sync() }
      if random.chance(5) { try writer.flush() }
    }
    try writer.close()
    let outcome = fixture.replay()
    #expect(fixture.logs.count > 20, random.comment)
    #expect(outcome.records == expected, random.comment)
    #expect(outcome.places == places, random.comment)
    #expect(outcome.report?.tornTail == nil && outcome.error == nil, random.comment)
    #expect(outcome.report?.records == 400)
    #expect(outcome.report?.bytes == expected.reduce(0) { $0 + $1.count }, random.comment)
    #expect(outcome.report?.highestMark?.log == fixture.logs.last?.number)
  }

  @Test func aReservationMayBeUsedInPartOrNotAtAll() throws {
    let fixture = LogFixture(.mapped)
    let writer = try fixture.writer()
    let region = unsafe try writer.reserve(100)
    unsafe region.initializeMemory(as: UInt8.self, repeating: 0xAA)
    writer.commit(3)
    let other = unsafe try writer.reserve(50)
    unsafe other.initializeMemory(as: UInt8.self, repeating: 0xBB)
    try writer.append([1, 2])
    // Bytes left behind by the longer reservations are no torn tail.
    let outcome = fixture.replay()
    #expect(outcome.records == [[0xAA, 0xAA, 0xAA], [1, 2]])
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aRecordLargerThanASegmentGetsAFileOfItsOwn(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access)
    let writer = try fixture.writer()
    try writer.append(numbered(1, 10))
    try writer.append(numbered(2, 2 << 20))
    try writer.append(numbered(3, 10))
    try writer.close()
    let outcome = fixture.replay()
    #expect(outcome.records == [numbered(1, 10), numbered(2, 2 << 20), numbered(3, 10)])
    #expect(outcome.report?.tornTail == nil)
    #expect(fixture.logs.map(\.byteCount) == [4096, 64 + 16 + (2 << 20) + 56, 4096])
  }

  /// However the last record fills a segment, a mark and an end frame still fit.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func theReserveHoldsForEveryFilling(_ access: StoreOptions.LogAccess) throws {
    for size in 0...300 {
      let fixture = LogFixture(access, capacity: 512)
      let writer = try fixture.writer()
      for i in 0..<3 {
        try writer.append(numbered(i, size))
        try writer.sync()
      }
      for i in 3..<6 { try writer.append(numbered(i, size)) }
      try writer.close()
      let outcome = fixture.replay()
      #expect(outcome.records == (0..<6).map { numbered($0, size) }, "size \(size)")
      #expect(outcome.report?.tornTail == nil && outcome.error == nil, "size \(size)")
      for name in fixture.files.contents.keys { #expect(fixture.files[name].count <= 512) }
    }
  }

  @Test func stagedFramesReachTheFileOnlyWithAFlush() throws {
    let fixture = LogFixture(.calls)
    let writer = try fixture.writer()
    try writer.append([1])
    #expect(fixture.replay().records.isEmpty)
    try writer.flush()
    #expect(fixture.replay().records == [[1]])
    let writes = fixture.files.events.count
    try writer.flush()
    #expect(fixture.files.events.count == writes, "nothing staged, nothing written")
  }

  @Test func mappedFramesNeedNoCall() throws {
    let fixture = LogFixture(.mapped)
    let writer = try fixture.writer()
    let calls = fixture.files.events.count
    try writer.append([1])
    try writer.flush()
    #expect(fixture.files.events.count == calls)
    #expect(fixture.replay().records == [[1]])
  }

  // MARK: Syncs beside the writer

  /// However records fill a segment before, during and after such syncs, marks and the end frame fit, and a
  /// mark states what was there when its sync began.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls], [0, 1, 2])
  func aSyncBesideTheWriterStatesWhatItCovered(_ access: StoreOptions.LogAccess, meanwhile: Int) throws {
    for size in 0...300 {
      let fixture = LogFixture(access, capacity: 512)
      let writer = try fixture.writer()
      var count = 0
      func append() throws {
        try writer.append(numbered(count, size))
        count += 1
      }
      for _ in 0..<4 {
        try append()
        let target = try #require(try writer.beginSync(), "size \(size)")
        for segment in target.segments { try segment.sync() }
        for _ in 0..<meanwhile { try append() }
        writer.endSync(target)
        if writer.segment.number == target.position.log {
          let mark = try #require(fixture.replay().report?.highestMark)
          #expect(mark <= target.position, "size \(size)")
        }
      }
      if meanwhile == 0 {
        let target = try writer.beginSync()
        #expect(target == nil && writer.unsyncedBytes == 0, "size \(size)")
      } else {
        // Once more without a record in between, and by the writer itself.
        if let target = try writer.beginSync() {
          for segment in target.segments { try segment.sync() }
          writer.endSync(target)
        }
        try writer.sync()
      }
      try append()
      try writer.close()
      let outcome = fixture.replay()
      #expect(outcome.records == (0..<count).map { numbered($0, size) }, "size \(size)")
      #expect(outcome.report?.tornTail == nil && outcome.error == nil, "size \(size)")
      #expect(outcome.report?.highestMark?.log == fixture.logs.last?.number, "size \(size)")
      for name in fixture.files.contents.keys { #expect(fixture.files[name].count <= 512) }
    }
  }

  @Test func aSyncThatAnotherOvertookSaysNothing() throws {
    let fixture = LogFixture(.mapped)
    let writer = try fixture.writer()
    try writer.append([1])
    let target = try #require(try writer.beginSync())
    try writer.append([2])
    try writer.sync()
    let position = writer.position
    writer.endSync(target)
    #expect(writer.position == position)
  }

  // MARK: Rule 2: a sync covers everything before it

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aSyncCoversOlderSegmentsFirst(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access, capacity: 512)
    let writer = try fixture.writer()
    for i in 0..<6 { try writer.append(numbered(i, 200)) }
    #expect(fixture.logs.count >= 3)
    #expect(writer.unsyncedEnded.map(\.number) == fixture.logs.dropLast().map(\.number))
    fixture.files.events = []
    try writer.sync()
    let synced = fixture.files.events.compactMap {
      if case .sync(let name) = $0 { name } else { nil }
    }
    #expect(synced == fixture.logs.map { FileNames.log($0.number) })
    #expect(writer.unsyncedEnded.isEmpty && writer.unsyncedBytes == 0)
    #expect(writer.syncCount == synced.count)
  }

  @Test func segmentsSyncedElsewhereAreNotSyncedAgain() throws {
    let fixture = LogFixture(.mapped, capacity: 512)
    let writer = try fixture.writer()
    for i in 0..<6 { try writer.append(numbered(i, 200)) }
    for ended in writer.unsyncedEnded { try ended.sync() }
    fixture.files.events = []
    try writer.sync()
    #expect(fixture.files.events == [.sync(fixture.name(fixture.logs.count - 1))])
  }

  /// A flush may sync the current segment just before its end frame, or staged records, are
  /// written: that sync does not count for the ended segment.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aSyncFromBeforeTheEndFrameDoesNotCount(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access, capacity: 512)
    let writer = try fixture.writer()
    try writer.append(numbered(1, 200))
    try writer.segment.sync()
    try writer.append(numbered(2, 300))
    #expect(fixture.logs.count == 2 && writer.unsyncedEnded.count == 1)
    try writer.sync()
    let outcome = fixture.replay(fixture.files.afterPowerLoss { false })
    #expect(outcome.records == [numbered(1, 200), numbered(2, 300)])
    #expect(outcome.error == nil)
  }

  /// The system reports a failed sync once. Whoever asks next must hear of it too.
  @Test func aFailedSyncOfSomeoneElseIsNotForgotten() throws {
    let fixture = LogFixture(.mapped)
    let writer = try fixture.writer()
    try writer.append([1])
    fixture.files.syncFailure = 0
    #expect(throws: StoreError.self) { try fixture.segments[0].sync() }
    let error = #expect(throws: StoreError.self) { try writer.sync() }
    #expect(error?.code == .outcomeUnknown && writer.state == .failed(.sync))
    #expect(fixture.replay().report?.highestMark == nil)
    // Nor is the file used again.
    fixture.recycling = [fixture.segments[0]]
    #expect(try fixture.segment().isRecycled == false)
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aSyncOfNothingNewDoesNothing(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access)
    let writer = try fixture.writer()
    try writer.sync()
    #expect(writer.syncCount == 0 && writer.bytesWritten == 0)
    try writer.append([1])
    #expect(writer.unsyncedBytes == 24)
    try writer.sync()
    let bytes = writer.bytesWritten
    try writer.sync()
    #expect(writer.syncCount == 1 && writer.bytesWritten == bytes && writer.unsyncedBytes == 0)
    #expect(bytes == 24 + 32, "a record and a mark")
  }

  /// After a power loss: a prefix of the records, all synced ones in it, and never an error.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func powerLossLeavesAPrefixWithAllThatWasSynced(_ access: StoreOptions.LogAccess) throws {
    var random = LogRandom()
    for _ in 0..<60 {
      let fixture = LogFixture(access, capacity: 2048)
      let writer = try fixture.writer()
      var appended: [[UInt8]] = []
      var synced = 0
      for _ in 0..<Int.random(in: 1...40, using: &random) {
        let record = random.bytes(Int.random(in: 0...400, using: &random))
        try writer.append(record)
        appended.append(record)
        if random.chance(3) { try writer.flush() }
        if random.chance(6) {
          try writer.sync()
          synced = appended.count
        }
        // A segment that nothing needs any more is used again.
        if random.chance(4), fixture.logs.count > 2, writer.unsyncedEnded.isEmpty,
          appended.count == synced
        {
          let first = fixture.logs.removeFirst()
          let dropped = fixture.replayCount(of: first)
          appended.removeFirst(dropped)
          synced -= dropped
          fixture.recycling.append(fixture.segments.first { $0.number == first.number }!)
        }
      }
      for _ in 0..<10 {
        let odds = Int.random(in: 1...4, using: &random)
        let outcome = fixture.replay(fixture.files.afterPowerLoss { random.chance(odds) })
        #expect(outcome.error == nil, random.comment)
        #expect(outcome.records.count >= synced, random.comment)
        #expect(outcome.records == Array(appended.prefix(outcome.records.count)), random.comment)
      }
    }
  }

  // MARK: Rules 4, 6 and 11: failures end the segment

  @Test(arguments: [(FileSystemError.Code.noSpace, StoreError.Code.diskFull), (.io, .io)])
  func aFailedWriteEndsTheSegment(_ code: FileSystemError.Code, _ expected: StoreError.Code) throws
  {
    for arriving in [0, 1, 20, 45] {
      let fixture = LogFixture(.calls)
      let writer = try fixture.writer()
      try writer.append(numbered(1, 30))
      try writer.sync()
      fixture.files.writeFailure = (after: 0, arriving: arriving, code: code)
      try writer.append(numbered(2, 30))
      let error = #expect(throws: StoreError.self) { try writer.flush() }
      #expect(error?.code == expected)
      #expect(writer.state == .failed(code == .noSpace ? .diskFull : .write))
      let before = fixture.files[fixture.name(0)]
      for action in [
        { try writer.append([3]) }, { try writer.flush() }, { try writer.sync() },
      ] as [() throws -> Void] {
        let later = #expect(throws: StoreError.self) { try action() }
        #expect(later?.code == .readOnly)
      }
      try writer.close()
      #expect(fixture.files[fixture.name(0)] == before, "nothing may follow a failed write")
      let outcome = fixture.replay()
      #expect(outcome.records == [numbered(1, 30)])
      #expect(outcome.error == nil && (outcome.report?.tornTail != nil) == (arriving > 0))
    }
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aFailedSyncEndsTheSegmentAndIsNotRetried(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access)
    let writer = try fixture.writer()
    try writer.append([1])
    try writer.flush()
    let before = fixture.files[fixture.name(0)]
    fixture.files.syncFailure = 0
    let error = #expect(throws: StoreError.self) { try writer.sync() }
    #expect(error?.code == .outcomeUnknown)
    #expect(writer.state == .failed(.sync))
    #expect(fixture.files[fixture.name(0)] == before, "no mark may claim what was not synced")
    fixture.files.events = []
    #expect(throws: StoreError.self) { try writer.sync() }
    #expect(throws: StoreError.self) { try writer.append([2]) }
    try writer.close()
    #expect(fixture.files.events == [], "a sync that failed is never tried again")
  }

  @Test func aFailedSyncOfAnOlderSegmentKeepsTheMarkBack() throws {
    let fixture = LogFixture(.mapped, capacity: 512)
    let writer = try fixture.writer()
    for i in 0..<4 { try writer.append(numbered(i, 200)) }
    fixture.files.syncFailure = 0
    #expect(throws: StoreError.self) { try writer.sync() }
    #expect(writer.state == .failed(.sync))
    #expect(fixture.replay().report?.highestMark == nil)
  }

  @Test func withoutANextSegmentTheWriterStaysUsable() throws {
    let fixture = LogFixture(.mapped, capacity: 512)
    let writer = try fixture.writer()
    try writer.append(numbered(1, 200))
    fixture.nextSegmentError = StoreError(.diskFull, "no")
    let error = #expect(throws: StoreError.self) { try writer.append(numbered(2, 400)) }
    #expect(error?.code == .diskFull && writer.state == .open)
    try writer.append(numbered(3, 10))
    fixture.nextSegmentError = nil
    try writer.append(numbered(4, 400))
    try writer.close()
    #expect(fixture.replay().records == [numbered(1, 200), numbered(3, 10), numbered(4, 400)])
  }

  @Test func aClosedWriterSaysSo() throws {
    let fixture = LogFixture(.calls)
    let writer = try fixture.writer()
    try writer.close()
    try writer.close()
    #expect(writer.state == .closed)
    let error = #expect(throws: StoreError.self) { try writer.append([1]) }
    #expect(error?.code == .closed)
  }

  @Test func anImpossibleLengthIsRefused() throws {
    let writer = try LogFixture(.calls).writer()
    let error = #expect(throws: StoreError.self) { _ = unsafe try writer.reserve(1 << 40) }
    #expect(error?.code == .tooLarge && writer.state == .open)
  }

  /// A crash after a clean close loses nothing, and damage to anything in the log is then known for
  /// what it is: the last mark is on disk too.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func closeSyncsALastMark(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access)
    let writer = try fixture.writer()
    try writer.append([1])
    try writer.append([2])
    try writer.close()
    let disk = fixture.files.afterPowerLoss { false }
    var bytes = disk[fixture.name(0)]
    bytes[64 + 24 + 16] ^= 1
    disk[fixture.name(0)] = bytes
    let outcome = fixture.replay(disk)
    #expect(outcome.error?.code == .corruption && outcome.error?.offset == 88)
  }

  // MARK: The manifest: one file that grows

  @Test func aManifestGrowsAndIsReplayedByItsOwnSalt() throws {
    let fixture = LogFixture(.calls)
    let segment = try LogSegment.create(
      fixture.files, fixture.directory, number: 3, salt: 99, purpose: .manifest,
      identity: LogFixture.identity, capacity: LogSegment.unlimited)
    let writer = LogWriter(segment)
    var edits: [[UInt8]] = []
    for i in 0..<200 {
      edits.append(numbered(i, i * 37 % 1000))
      try writer.append(edits[i])
      try writer.sync()
    }
    #expect(fixture.files["000003.manifest"].count == writer.position.offset)
    #expect(!fixture.files.events.contains { if case .allocate = $0 { true } else { false } })
    try writer.close()

    var read: [[UInt8]] = []
    func replay(_ identity: UInt128 = LogFixture.identity) throws(StoreError) -> LogReplay.Report {
      read = []
      return try LogReplay.replay(
        .manifest, number: 3, fixture.files, fixture.directory, identity: identity
      ) { (payload, _) throws(StoreError) in read.append(payload.array) }.report
    }
    #expect(try replay().tornTail == nil)
    #expect(read == edits)
    let error = #expect(throws: StoreError.self) { _ = try replay(1) }
    #expect(error?.code == .corruption)

    var bytes = fixture.files["000003.manifest"]
    bytes[2000] ^= 1
    fixture.files["000003.manifest"] = bytes
    let damage = #expect(throws: StoreError.self) { _ = try replay() }
    #expect(damage?.code == .corruption)
  }
}

extension LogFixture {
  /// Records of one log by itself.
  func replayCount(of log: LogReplay.Log) -> Int {
    var count = 0
    if let reader = try? LogReader(files, directory.appending(FileNames.log(log.number))) {
      while case .frame(let frame)? = try? reader.next() { if frame.kind == .record { count += 1 } }
    }
    return count
  }
}
