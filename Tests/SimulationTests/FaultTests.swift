import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

/// Injected faults, full disks, hooks, traces. Budget: 2 s
@Suite struct FaultTests {
  let fs = SimulatedFileSystem()

  func code(_ body: () throws -> Void) -> FileSystemError.Code? {
    do {
      try body()
      return nil
    } catch {
      return (error as? FileSystemError)?.code
    }
  }

  @Test func aRuleStrikesTheNthMatchOnceOrFromThenOn() throws {
    let file = try fs.open("/a.log", .createNew)
    let other = try fs.open("/b.sst", .createNew)
    fs.inject(FaultRule([.write], pathSuffix: ".log", occurrence: 2, .fail(.io)))
    try other.write([1], at: 0)
    try file.write([1], at: 0)
    try other.write([1], at: 1)
    #expect(code { try file.write([2], at: 0) } == .io)
    #expect(try file.read(0, 1) == [1])
    try file.write([3], at: 0)
    #expect(fs.counts.faults == 1)
    fs.inject(
      FaultRule([], pathSuffix: ".sst", occurrence: 2, repeats: true, .fail(.permissionDenied)))
    try other.sync()
    #expect(code { try other.sync() } == .permissionDenied)
    #expect(code { _ = try other.size() } == .permissionDenied)
    #expect(code { _ = try fs.open("/b.sst", .read) } == .permissionDenied)
    fs.clearFaults()
    try other.sync()
  }

  @Test(arguments: Operation.Kind.allCases) func everyOperationCanFail(_ kind: Operation.Kind)
    throws
  {
    try fs.createDirectory("/d")
    let file = try fs.open("/d/a", .createNew)
    try file.write([1, 2, 3], at: 0)
    fs.inject(FaultRule([kind], repeats: true, .fail(.tooManyFiles)))
    let before = fs.counts.operations
    let result = code {
      switch kind {
      case .open: _ = try fs.open("/d/b", .createNew)
      case .createDirectory: try fs.createDirectory("/e")
      case .entries: _ = try fs.entries(of: "/")
      case .rename: try fs.rename("/d/a", to: "/d/b")
      case .remove: try fs.remove("/d/a")
      case .syncDirectory: try fs.sync(directory: "/d")
      case .info: _ = try fs.info(of: "/d")
      case .lock: _ = try fs.lock("/d/b")
      case .size: _ = try file.size()
      case .read: _ = try file.read(0, 1)
      case .write: try file.write([9], at: 0)
      case .sync: try file.sync()
      case .truncate: try file.truncate(to: 1)
      case .allocate: try file.allocate(100)
      case .map: _ = try file.map(1, faulting: .writing)
      }
    }
    #expect(result == .tooManyFiles)
    #expect(fs.counts.operations == before + 1)
    fs.clearFaults()
    // And nothing of it was done.
    #expect(try fs.tree("/") == ["/d/": [], "/d/a": [1, 2, 3]])
    #expect(try fs.crashClone(.dropAll).tree("/") == [:])
  }

  @Test func damagedReads() throws {
    try fs.writeWhole("/a", [0, 0, 0, 0])
    let file = try fs.open("/a", .read)
    fs.inject(FaultRule([.read], repeats: true, .flipBit(offset: 2, bit: 7)))
    #expect(try file.read(0, 4) == [0, 0, 128, 0])
    #expect(try file.read(2, 1) == [128])
    // A read elsewhere does not count.
    #expect(try file.read(0, 2) == [0, 0])
    #expect(fs.counts.faults == 2)
    fs.clearFaults()
    fs.inject(FaultRule([.read], .shortRead(3)))
    #expect(try file.read(0, 4).count == 3)
    #expect(try file.read(0, 4).count == 4)
  }

  @Test func shortWrites() throws {
    let file = try fs.open("/a", .createNew)
    fs.inject(FaultRule([.write], .shortWrite(2, .noSpace)))
    #expect(code { try file.write([1, 2, 3], at: 0) } == .noSpace)
    #expect(try file.read(0, 9) == [1, 2])
    try file.write([1, 2, 3], at: 0)
    #expect(try file.read(0, 9) == [1, 2, 3])
  }

  @Test func aSyncThatSaysItFailedMayBeDone() throws {
    let (file, other) = (try fs.open("/a.log", .createNew), try fs.open("/b", .createNew))
    try fs.sync(directory: "/")
    try file.write([1, 2, 3], at: 0)
    try other.write([4], at: 0)
    fs.inject(FaultRule([], .failOnceSynced(.io)))
    // It is for syncs alone.
    #expect(try file.size() == 3)
    #expect(code { try file.sync() } == .io)
    #expect(fs.counts.faults == 1)
    #expect(try fs.crashClone(.dropAll).tree("/") == ["/a.log": [1, 2, 3], "/b": []])
    try other.sync()
  }

  @Test(arguments: [false, true]) func aFailedSyncLosesWhatItDidNotWrite(_ mapped: Bool) throws {
    let file = try fs.open("/a", .createNew)
    try fs.sync(directory: "/")
    try file.write([UInt8](repeating: 1, count: 2048), at: 0)
    try file.sync()
    let mapping = mapped ? try file.map(2048, faulting: .writing) : nil
    func write(_ bytes: [UInt8], _ offset: Int) throws {
      if let mapping {
        mapping.write(bytes, at: offset)
      } else {
        try file.write(bytes, at: Int64(offset))
      }
    }
    try write([2], 0)
    try write([2], 1024)
    fs.inject(FaultRule([.sync], .fail(.io)))
    #expect(code { try file.sync() } == .io)
    // It reads as if nothing had happened, also after a second sync, which succeeds.
    try file.sync()
    #expect(try file.read(0, 1) == [2])
    #expect(try fs.processKillClone().readWhole("/a")[1024] == 2)
    // But it is not on disk, whatever the power loss is like.
    for policy in CrashPolicy.allCases {
      let bytes = try fs.crashClone(policy, seed: 1).readWhole("/a")
      #expect(bytes == [UInt8](repeating: 1, count: 2048))
    }
    // A sector that is written again is written whole.
    try write([3], 1025)
    try file.sync()
    let bytes = try fs.crashClone(.dropAll).readWhole("/a")
    #expect(bytes[0] == 1 && bytes[1024] == 2 && bytes[1025] == 3)
  }

  @Test func aFailedSyncLosesTheNewSize() throws {
    let file = try fs.open("/a", .createNew)
    try fs.sync(directory: "/")
    try file.write([1, 2, 3], at: 0)
    fs.inject(FaultRule([.sync], .fail(.noSpace)))
    #expect(code { try file.sync() } == .noSpace)
    try file.sync()
    #expect(try fs.crashClone(.keepAll).readWhole("/a") == [])
    // Even the same bytes again, written, reach the disk.
    try file.write([1, 2, 3, 4], at: 0)
    try file.sync()
    #expect(try fs.crashClone(.dropAll).readWhole("/a") == [1, 2, 3, 4])
  }

  @Test func aFailedDirectorySyncLeavesItsChangesUnsynced() throws {
    try fs.writeWhole("/a", [1], synced: true)
    fs.inject(FaultRule([.syncDirectory], .fail(.io)))
    #expect(code { try fs.sync(directory: "/") } == .io)
    #expect(try fs.crashClone(.dropAll).entries(of: "/") == [])
    #expect(try fs.crashClone(.keepAll).entries(of: "/") == ["a"])
  }

  @Test func aFullDisk() throws {
    fs.capacity = 8192
    let file = try fs.open("/a", .createNew)
    try file.write([UInt8](repeating: 1, count: 5000), at: 0)
    #expect(fs.usedByteCount == 8192)
    #expect(try fs.availableBytes("/") == 0)
    // What fits is written.
    #expect(code { try file.write([UInt8](repeating: 2, count: 5000), at: 5000) } == .noSpace)
    #expect(try file.size() == 8192)
    try file.write([3], at: 8191)
    #expect(code { try file.write([3], at: 8192) } == .noSpace)
    let other = try fs.open("/b", .createNew)
    #expect(code { try other.allocate(1) } == .noSpace)
    #expect(try other.size() == 0)
    try other.truncate(to: 4096)
    #expect(code { _ = try other.map(4096, faulting: .reading) } == .noSpace)
    try file.truncate(to: 4096)
    try other.allocate(4096)
    try fs.remove("/a")
    // Space comes back with the last who has it open.
    #expect(fs.usedByteCount == 8192)
    file.close()
    #expect(fs.usedByteCount == 4096)
    var mapping: (any MappedFile)? = try other.map(4096, faulting: .reading)
    other.close()
    try fs.remove("/b")
    #expect(fs.usedByteCount == 4096 && mapping != nil)
    mapping = nil
    #expect(fs.usedByteCount == 0)
    fs.capacity = nil
    try fs.writeWhole("/c", [UInt8](repeating: 1, count: 100_000))
    #expect(fs.processKillClone().usedByteCount == fs.usedByteCount)
  }

  @Test func tooManyOpenFiles() throws {
    fs.openFileLimit = 2
    let a = try fs.open("/a", .createNew)
    var b: (any File)? = try fs.open("/b", .createNew)
    #expect(code { _ = try fs.open("/a", .read) } == .tooManyFiles)
    a.close()
    _ = try fs.open("/a", .read)
    _ = b
    b = nil
    #expect(fs.openFileCount == 0)
  }

  @Test func theHookSeesEachOperationBeforeItHappens() throws {
    let file = try fs.open("/a", .createNew)
    try fs.sync(directory: "/")
    let seen = Guarded<[String]>([])
    fs.onOperation { [fs] operation throws(FileSystemError) in
      guard operation.changesDisk else { return }
      let size = try? fs.crashClone(.keepAll).open("/a", .read).size()
      seen.withLock { $0.append("\(operation.kind) \(size ?? -1)") }
    }
    try file.write([1, 2], at: 0)
    _ = try file.read(0, 1)
    try file.sync()
    try fs.rename("/a", to: "/b")
    fs.onOperation(nil)
    #expect(seen.withLock { $0 } == ["write 0", "sync 2", "rename 2"])
    fs.onOperation { operation throws(FileSystemError) in
      throw FileSystemError(.readOnly, operation: "hook", path: operation.path.string)
    }
    #expect(code { try file.write([3], at: 0) } == .readOnly)
    fs.onOperation(nil)
    fs.powerOff()
    #expect(code { try file.write([3], at: 0) } == .io)
    #expect(try fs.crashClone(.keepAll).readWhole("/b") == [1, 2])
  }

  @Test func tracesAndCounts() throws {
    fs.recordsTrace = true
    let file = try fs.open("/a", .createNew)
    try file.write([1, 2, 3], at: 5)
    _ = try file.read(5, 10)
    try file.sync()
    try fs.rename("/a", to: "/b")
    try fs.sync(directory: "/")
    #expect(
      fs.trace.map(\.description) == [
        "0 open /a", "1 write /a [5, +3]", "2 read /a [5, +10]", "3 sync /a", "4 rename /a -> /b",
        "5 syncDirectory /",
      ])
    var counts = OperationCounts()
    (counts.operations, counts.reads, counts.writes) = (6, 1, 1)
    (counts.fileSyncs, counts.directorySyncs) = (1, 1)
    (counts.bytesRead, counts.bytesWritten, counts.bytesSynced) = (3, 3, 512)
    #expect(fs.counts == counts)
  }

  /// The simulator is worth nothing if the same seed does not do the same again.
  @Test func theSameSeedDoesTheSame() throws {
    func run(_ seed: UInt64) throws -> ([Operation], [[String: [UInt8]]]) {
      let fs = SimulatedFileSystem()
      fs.recordsTrace = true
      var random = SplitMix64(seed: seed)
      for _ in 0..<200 {
        let path = FilePath("/\(random.below(6))")
        switch random.below(8) {
        case 0: try? fs.remove(path)
        case 1: try? fs.rename(path, to: FilePath("/\(random.below(6))"))
        case 2: try fs.sync(directory: "/")
        case 3: try? fs.open(path, .readWrite).sync()
        default:
          let file = try (try? fs.open(path, .readWrite)) ?? fs.open(path, .createNew)
          try file.write(random.bytes(random.below(3000)), at: Int64(random.below(5000)))
        }
      }
      return (fs.trace, try (0..<10).map { try fs.crashClone(seed: $0).tree("/") })
    }
    try withSeeds("theSameSeedDoesTheSame", count: 10) { seed, _ in
      let (first, second) = (try run(seed), try run(seed))
      try #require(first.0 == second.0)
      try #require(first.1 == second.1)
      try #require(Set(first.1.map { $0.description.count }).count > 1)
    }
  }
}
