import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostTransactions

/// A coordinator log in a simulated world.
struct LogWorld {
  static let database = DatabaseID(high: 1, low: 2)
  let world: SimulatedEnvironment
  let log: CoordinatorLog
  let recovered: CoordinatorLog.Recovered

  init(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), at directory: String = "/disk/db",
    rewriteBytes: Int = 1 << 20
  ) throws {
    self.world = world
    try world.fileSystem.createDirectory(FilePath(directory))
    // The store that the log is in is there durably.
    try world.fileSystem.sync(directory: FilePath(directory).removingLastComponent())
    try world.fileSystem.sync(directory: "/")
    (log, recovered) = try CoordinatorLog.open(
      in: directory, of: Self.database, rewriteBytes: rewriteBytes, world.environment)
  }

  static func record(_ number: UInt64, isSynced: Bool = true) -> CommitRecord {
    CommitRecord(
      transaction: TransactionID(
        start: Timestamp(rawValue: number), coordinator: CoordinatorID(rawValue: 5)),
      timestamp: Timestamp(rawValue: number + 1), writers: [MemberID(rawValue: 1)], effects: [],
      isSynced: isSynced)
  }

  static func id(_ number: UInt64) -> TransactionID { record(number).transaction }

  /// The same directory in what a kill or a power loss left.
  static func after(
    _ fileSystem: SimulatedFileSystem, seed: UInt64 = 9, at directory: String = "/disk/db"
  ) throws -> LogWorld {
    try LogWorld(SimulatedEnvironment(seed: seed, fileSystem: fileSystem), at: directory)
  }
}

/// Decisions are kept, in groups, across failures and copies.
// Budget: 5 s
@Suite struct CoordinatorLogTests {
  @Test func `decisions that are not ended come back, to the same coordinator`() throws {
    let first = try LogWorld()
    #expect(first.recovered.commits == [] && first.recovered.copyOf == nil)
    for number in 1...3 { try first.log.commit(LogWorld.record(UInt64(number))) }
    first.log.append(end: LogWorld.id(2))
    try first.log.close()
    #expect(thrown { try first.log.commit(LogWorld.record(9)) }?.code == .closed)
    let second = try LogWorld(first.world)
    #expect(second.log.id == first.log.id)
    #expect(second.recovered.commits == [1, 3].map { LogWorld.record($0) })
    #expect(second.recovered.ended == [LogWorld.record(2)])
    #expect(second.recovered.tail == nil && second.recovered.copyOf == nil)
    // A file that is whole replaces the one before it.
    let names = try first.world.fileSystem.entries(of: "/disk/db/coordinator")
    #expect(names == ["000002.log", "PLACE"])
    #expect(try CoordinatorLog.exists(in: "/disk/db", first.world.environment))
    #expect(try !CoordinatorLog.exists(in: "/disk", first.world.environment))
  }

  @Test func `many decisions cost one sync`() throws {
    let world = try LogWorld()
    let before = world.log.syncCount
    let answered = Guarded(0)
    for number in 1...100 {
      world.log.append(LogWorld.record(UInt64(number))) { failure in
        if failure == nil { answered.withLock { $0 += 1 } }
      }
    }
    #expect(answered.withLock { $0 } == 0)
    world.log.run()
    #expect(answered.withLock { $0 } == 100)
    #expect(world.log.syncCount == before + 1)
    // One that need not be synced is in the system's hands and costs none.
    try world.log.commit(LogWorld.record(101, isSynced: false))
    #expect(world.log.syncCount == before + 1)
    let killed = try LogWorld.after(world.world.fileSystem.processKillClone())
    #expect(killed.recovered.commits.count == 101)
    #expect(try LogWorld.after(world.world.fileSystem.crashClone(.dropAll)).recovered.commits.count == 100)
  }

  @Test func `an end is answered when a sync has covered it`() throws {
    let world = try LogWorld()
    try world.log.commit(LogWorld.record(1))
    let ends = Guarded(0)
    world.log.append(end: LogWorld.id(1)) { failure in
      if failure == nil { ends.withLock { $0 += 1 } }
    }
    world.log.run()
    #expect(ends.withLock { $0 } == 0)
    #expect(world.log.liveCount == 0)
    try world.log.commit(LogWorld.record(2))
    #expect(ends.withLock { $0 } == 1)
    let left = try LogWorld.after(world.world.fileSystem.crashClone(.dropAll))
    #expect(left.recovered.commits == [LogWorld.record(2)])
  }

  /// The marks of its effects go with the next decision: told again after that, they would be done again.
  @Test func `an end whose group could not be written holds in the next file`() throws {
    let world = try LogWorld()
    try world.log.commit(LogWorld.record(1))
    world.world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.kind == .write else { return }
      throw FileSystemError(.noSpace, operation: "write", path: operation.path.string)
    }
    world.log.append(end: LogWorld.id(1))
    #expect(thrown { try world.log.commit(LogWorld.record(2)) } != nil)
    world.world.fileSystem.onOperation(nil)
    try world.log.commit(LogWorld.record(3))
    #expect(world.log.liveCount == 1)
    let left = try LogWorld.after(world.world.fileSystem.crashClone(.dropAll))
    #expect(left.recovered.commits == [LogWorld.record(3)])
  }

  @Test func `a failed sync ends it, and says so`() throws {
    let world = try LogWorld()
    try world.log.commit(LogWorld.record(1))
    world.world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    #expect(thrown { try world.log.commit(LogWorld.record(2)) }?.code == .indeterminate)
    let later = thrown { try world.log.commit(LogWorld.record(3)) }
    #expect(later?.code == .storage && later?.cause?.code == .readOnly)
    #expect(later?.message.contains("sync") == true)
    #expect(thrown { try world.log.close() } != nil)
    let left = try LogWorld.after(world.world.fileSystem.crashClone(.dropAll))
    #expect(left.recovered.commits == [LogWorld.record(1)])
  }

  @Test func `a full disk fails a decision whole, and it goes on when there is room`() throws {
    let world = try LogWorld()
    try world.log.commit(LogWorld.record(1))
    try world.log.commit(LogWorld.record(2, isSynced: false))
    let fileSystem = world.world.fileSystem
    // The second of a group is cut off; with the group fails the first.
    fileSystem.inject(FaultRule([.write], pathSuffix: ".log", .shortWrite(100, .noSpace)))
    let failures = Guarded(0)
    for number in [3, 4] as [UInt64] {
      world.log.append(LogWorld.record(number)) { failure in
        if failure?.cause?.code == .diskFull { failures.withLock { $0 += 1 } }
      }
    }
    world.log.run()
    #expect(failures.withLock { $0 } == 2)
    fileSystem.clearFaults()
    fileSystem.capacity = fileSystem.usedByteCount
    #expect(thrown { try world.log.commit(LogWorld.record(5)) }?.cause?.code == .diskFull)
    fileSystem.capacity = nil
    try world.log.commit(LogWorld.record(6))
    // What failed is nowhere: neither in what a kill leaves, nor in what a power loss leaves.
    for clone in [fileSystem.processKillClone(), fileSystem.crashClone(.dropAll)] {
      let left = try LogWorld.after(clone)
      #expect(left.recovered.commits.map(\.transaction) == [1, 2, 6].map { LogWorld.id($0) })
      #expect(left.log.id == world.log.id)
    }
    try world.log.close()
  }

  @Test func `a long log is written anew, with what is not ended`() throws {
    let world = try LogWorld(rewriteBytes: 4_096)
    try world.log.commit(LogWorld.record(1))
    for number in 2...300 {
      try world.log.commit(LogWorld.record(UInt64(number), isSynced: number % 7 == 0))
      world.log.append(end: LogWorld.id(UInt64(number)))
    }
    try world.log.commit(LogWorld.record(301))
    #expect(!world.log.path.hasSuffix("000001.log"))
    let names = try world.world.fileSystem.entries(of: "/disk/db/coordinator")
    #expect(names.count == 2)
    let size = try #require(try world.world.fileSystem.info(of: FilePath(world.log.path))).byteCount
    #expect(size < 16_384)
    try world.log.close()
    let again = try LogWorld(world.world)
    #expect(again.recovered.commits.map(\.transaction) == [1, 301].map { LogWorld.id($0) })
    #expect(again.log.id == world.log.id)
  }

  @Test func `a copy is another coordinator`() throws {
    let world = try LogWorld()
    try world.log.commit(LogWorld.record(1))
    try world.log.close()
    let fileSystem = world.world.fileSystem
    try fileSystem.createDirectory("/copy/db/coordinator")
    for name in try fileSystem.entries(of: "/disk/db/coordinator") {
      let bytes = try fileSystem.readWhole(FilePath("/disk/db/coordinator").appending(name))
      try fileSystem.writeWhole(FilePath("/copy/db/coordinator").appending(name), bytes)
    }
    let copy = try LogWorld(world.world, at: "/copy/db")
    #expect(copy.log.id != world.log.id && copy.recovered.copyOf == world.log.id)
    #expect(copy.recovered.commits == [LogWorld.record(1)])
    try copy.log.close()
    // It stays the one that it has become; the original is what it was.
    let again = try LogWorld(world.world, at: "/copy/db")
    #expect(again.log.id == copy.log.id && again.recovered.copyOf == nil)
    #expect(again.recovered.commits == [LogWorld.record(1)])
    let original = try LogWorld(world.world)
    #expect(original.log.id == world.log.id && original.recovered.copyOf == nil)
  }

  /// A backup put back in the place of what it was made of, where the system gives the same inodes again.
  @Test func `a restored directory is another coordinator, though its inodes are the same`() throws {
    let world = SimulatedEnvironment()
    world.fileSystem.reusesNumbers = true
    let first = try LogWorld(world)
    try first.log.commit(LogWorld.record(1))
    try first.log.close()
    let folder = FilePath("/disk/db/coordinator")
    let names = try world.fileSystem.entries(of: folder)
    for name in names.reversed() {
      let path = folder.appending(name)
      let before = try #require(try world.fileSystem.info(of: path))
      let bytes = try world.fileSystem.readWhole(path)
      try world.fileSystem.remove(path)
      try world.fileSystem.writeWhole(path, bytes, synced: true)
      let after = try #require(try world.fileSystem.info(of: path))
      #expect(before.inode == after.inode, "the test needs the same inode")
    }
    let second = try LogWorld(world)
    #expect(second.log.id != first.log.id && second.recovered.copyOf == first.log.id)
    #expect(second.recovered.commits == [LogWorld.record(1)])
  }

  @Test func `another database's log is refused`() throws {
    let world = try LogWorld()
    try world.log.close()
    let other = DatabaseID(high: 1, low: 3)
    let error = thrown { _ = try CoordinatorLog.open(in: "/disk/db", of: other, world.world.environment) }
    #expect(error?.code == .corruption)
  }

  @Test func `damage before the last sync is corruption, behind it a torn tail`() throws {
    let world = try LogWorld()
    for number in 1...3 { try world.log.commit(LogWorld.record(UInt64(number))) }
    let path = FilePath(world.log.path)
    try world.log.close()
    let pristine = world.world.fileSystem
    let good = try pristine.readWhole(path)
    for index in stride(from: 0, to: good.count, by: TestSize.of(quick: 3, full: 1)) {
      let copy = pristine.processKillClone()
      var damaged = good
      damaged[index] ^= 0x40
      // In place: the file stays the one that it is.
      let file = try copy.open(path, .readWrite)
      try file.write([damaged[index]], at: Int64(index))
      file.close()
      do {
        let left = try LogWorld.after(copy)
        // The padding of a frame and the last mark are all that may change unseen.
        #expect(left.recovered.commits.count == 3, "byte \(index)")
      } catch let error as DatabaseError {
        #expect(error.code == .corruption || error.code == .newerFormat, "byte \(index)")
        #expect(error.cause?.file?.hasSuffix(".log") == true)
      }
    }
    // What was never synced and is cut off is dropped, and reported.
    let open = try LogWorld(world.world)
    try open.log.commit(LogWorld.record(4, isSynced: false))
    let torn = pristine.processKillClone()
    let file = try torn.open(FilePath(open.log.path), .readWrite)
    try file.truncate(to: try file.size() - 9)
    file.close()
    let left = try LogWorld.after(torn)
    #expect(left.recovered.commits.count == 3)
    #expect(left.recovered.tail?.file == open.log.path)
  }
}
