import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Segments made ready, retired and used again.
// Budget: 1 s
@Suite struct LogSetTests {
  let fileSystem = SimulatedFileSystem()
  let memory = MemoryCharge()

  init() throws { try fileSystem.createDirectory("/log") }

  func logSet(_ access: StoreOptions.LogAccess, mappedLimit: Int = .max) throws -> LogSet {
    let numbers = AtomicWord(1)
    return LogSet(
      fileSystem, "/log", SimulatedTime(), SeededRandomness(seed: 3),
      identity: FileIdentity(low: 1, high: 2),
      capacity: 16 << 10, access: access, memory: memory, mappedLimit: mappedLimit,
      allocateNumber: { numbers.take() })
  }

  var names: [String] { (try? fileSystem.entries(of: "/log")) ?? [] }

  /// One live segment, the second, and the first retired.
  func withSpare(_ access: StoreOptions.LogAccess) throws -> (LogSet, LogSegment) {
    let logs = try logSet(access)
    let first = try logs.make(minimumCapacity: 0)
    logs.adopt(first)
    logs.adopt(try logs.make(minimumCapacity: 0))
    logs.drop(below: 2)
    #expect(names == ["000001.log", "000002.log"])
    return (logs, first)
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aRetiredSegmentIsUsedAgain(_ access: StoreOptions.LogAccess) throws {
    let (logs, first) = try withSpare(access)
    let third = try logs.make(minimumCapacity: 0)
    #expect(third.isRecycled && third.file === first.file)
    #expect(names == ["000002.log", "000003.log"])
  }

  /// Whatever fails while it is made ready again: it has left the set, so its file goes too, under
  /// whichever name.
  @Test(arguments: [RoostSimulation.Operation.Kind.rename, .write, .sync, .syncDirectory])
  func aRetiredSegmentThatCannotBeUsedAgainIsRemoved(_ kind: RoostSimulation.Operation.Kind) throws {
    for code in [FileSystemError.Code.noSpace, .io] {
      let (logs, _) = try withSpare(.calls)
      let used = fileSystem.usedByteCount
      fileSystem.inject(FaultRule([kind], .fail(code)))
      #expect(storeError { _ = try logs.make(minimumCapacity: 0) }?.code == (code == .io ? .io : .diskFull))
      fileSystem.clearFaults()
      #expect(names.count == 1, "\(names)")
      // The space is free once nobody holds the file.
      #expect(fileSystem.usedByteCount <= used)
      #expect(try !logs.make(minimumCapacity: 0).isRecycled)
      for name in names { try fileSystem.remove(FilePath("/log/" + name)) }
    }
  }

  /// A flush may be about to sync a segment that another thread retires: what cannot be used again
  /// is removed, and closed only by who holds it last.
  @Test func aRetiredSegmentThatIsRemovedStaysOpenForWhoHoldsIt() throws {
    let retired = try LogSegment.create(
      fileSystem, "/log", number: 1, salt: 8, identity: 1, capacity: 16 << 10, access: .calls)
    // Not mapped, so a mapped log cannot go on in it.
    let next = try LogSegment.create(
      fileSystem, "/log", number: 2, salt: 9, identity: 1, capacity: 16 << 10, access: .mapped,
      recycling: retired)
    #expect(!next.isRecycled)
    #expect(names == ["000002.log"])
    try retired.sync()
  }

  // MARK: - Made ready in the background

  /// However many writes find that the next segment is due before the job runs, it is queued once.
  @Test func theNextSegmentIsAskedForOnce() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 4 << 20 })
    let tree = try store.tree("t")
    func fillQuarter() throws {
      while !store.writer.wantsNext { try tree.put("k", String(repeating: "v", count: 100)) }
      for _ in 0..<20 { try tree.put("k", String(repeating: "v", count: 100)) }
    }
    try fillQuarter()
    #expect(world.workers.waitingCount(.urgent) == 1)
    world.workers.runAll()
    // There it is: nothing more to ask for.
    for _ in 0..<20 { try tree.put("k", String(repeating: "v", count: 100)) }
    #expect(world.workers.waitingCount(.urgent) == 0)
    // And once more for the one after it.
    let number = store.writer.segment.number
    while store.writer.segment.number == number { try tree.put("k", String(repeating: "v", count: 100)) }
    try fillQuarter()
    #expect(world.workers.waitingCount(.urgent) == 1)
  }

  @Test func claimingTellsOnlyOne() throws {
    let logs = try logSet(.calls)
    #expect(logs.claimPreparing())
    #expect(!logs.claimPreparing())
    logs.prepare()
    // One is ready, so none is wanted.
    #expect(!logs.claimPreparing())
    _ = try logs.next(minimumCapacity: 0, deadline: .max)
    #expect(logs.claimPreparing())
    logs.close()
    logs.prepare()
    #expect(!logs.claimPreparing())
  }

  // MARK: - What is mapped (rule 14)

  /// A first sync would write the whole of a segment that was faulted in for writing.
  @Test func segmentsAreFaultedInForWritingWhereSyncsAreRare() throws {
    let files = MemoryFiles()
    let numbers = AtomicWord(1)
    let logs = LogSet(
      files, "/log", SimulatedTime(), SeededRandomness(seed: 3),
      identity: FileIdentity(low: 1, high: 2),
      capacity: 16 << 10, access: .mapped, memory: memory, mappedLimit: .max,
      allocateNumber: { numbers.take() })
    func access() throws -> MappedAccess? {
      files.events = []
      logs.adopt(try logs.make(minimumCapacity: 0))
      return files.events.compactMap { if case .map(_, let access) = $0 { access } else { nil } }.first
    }
    #expect(try [access(), access(), access(), access()] == [.reading, .reading, .writing, .writing])
    logs.noteSync()
    #expect(try [access(), access(), access()] == [.reading, .reading, .writing])
  }

  @Test func beyondTheLimitSegmentsAreWrittenByCalls() throws {
    let logs = try logSet(.mapped, mappedLimit: 40 << 10)
    var segments: [LogSegment] = []
    for _ in 0..<4 {
      segments.append(try logs.make(minimumCapacity: 0))
      logs.adopt(segments.last!)
    }
    #expect(segments.map { $0.mapping != nil } == [true, true, false, false])
    #expect(memory.logBytes == 32 << 10)
    // Retired ones are not mapped before they are used again.
    logs.drop(below: 3)
    #expect(memory.logBytes == 0)
    #expect(try logs.make(minimumCapacity: 0).mapping != nil)
    logs.trim()
    #expect(memory.logBytes == 0)
  }
}
