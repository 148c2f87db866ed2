import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

/// What power losses and kills leave. Budget: 3 s
@Suite struct CrashTests {
  let fs = SimulatedFileSystem()

  /// A file of `count` bytes of `value`, name and bytes durable.
  func durable(_ path: FilePath, _ value: UInt8, _ count: Int) throws -> any File {
    let file = try fs.open(path, .createNew)
    try file.write([UInt8](repeating: value, count: count), at: 0)
    try file.sync()
    try fs.sync(directory: "/")
    return file
  }

  @Test(arguments: CrashPolicy.allCases) func whatWasSyncedSurvives(_ policy: CrashPolicy) throws {
    let bytes = [UInt8](repeating: 3, count: 5000)
    _ = try durable("/a", 3, 5000)
    for seed in 0..<20 {
      #expect(try fs.crashClone(policy, seed: UInt64(seed)).tree("/") == ["/a": bytes])
    }
  }

  @Test func dropAllAndKeepAll() throws {
    let file = try durable("/a", 1, 1000)
    try file.write([UInt8](repeating: 2, count: 600), at: 700)
    try fs.writeWhole("/b", [5], synced: true)
    try fs.createDirectory("/d")
    #expect(try fs.crashClone(.dropAll).tree("/") == ["/a": [UInt8](repeating: 1, count: 1000)])
    #expect(
      try fs.crashClone(.keepAll).tree("/") == [
        "/a": [UInt8](repeating: 1, count: 700) + [UInt8](repeating: 2, count: 600),
        "/b": [5], "/d/": [],
      ])
    // The clones are synced, and the original goes on as it was.
    #expect(try fs.crashClone(.keepAll).crashClone(.dropAll).tree("/").count == 3)
    try file.sync()
    #expect(try fs.crashClone(.dropAll).readWhole("/a").count == 1300)
  }

  /// A file that was changed or replaced never has the device, inode and change time of before; one
  /// that a crash or a kill left alone keeps them.
  @Test func everyChangeHasATimeOfItsOwn() throws {
    var seen: Set<[Int64]> = []
    func look(_ fs: SimulatedFileSystem, _ path: FilePath = "/a") throws -> [Int64] {
      let info = try #require(try fs.info(of: path))
      return [Int64(info.device), Int64(info.inode), info.changeNanoseconds]
    }
    func isNew(_ path: FilePath = "/a") throws -> Bool { seen.insert(try look(fs, path)).inserted }
    let file = try durable("/a", 1, 8192)
    #expect(try isNew())
    try file.write([2], at: 0)
    #expect(try isNew())
    try file.truncate(to: 8000)
    #expect(try isNew())
    try file.allocate(8192)
    #expect(try isNew())
    var mapping: (any MappedFile)? = try file.map(8192, faulting: .writing)
    #expect(try isNew())
    mapping?.write([3], at: 0)
    try file.sync()
    #expect(try isNew())
    mapping?.write([4], at: 0)
    mapping = nil
    #expect(try isNew())
    try file.sync()
    try fs.rename("/a", to: "/b")
    #expect(try isNew("/b"))
    try fs.writeWhole("/c", [1], synced: true)
    try fs.rename("/c", to: "/b")
    #expect(try isNew("/b"))
    _ = try fs.open("/b", .createOrTruncate)
    #expect(try isNew("/b"))
    try fs.remove("/b")
    try fs.writeWhole("/b", [1], synced: true)
    #expect(try isNew("/b"))
    try fs.createDirectory("/d")
    #expect(try isNew("/d"))
    try fs.writeWhole("/d/x", [1], synced: true)
    #expect(try isNew("/d"))
    try fs.sync(directory: "/")

    let before = try look(fs, "/b")
    for policy in CrashPolicy.allCases {
      #expect(try look(fs.crashClone(policy, seed: 3), "/b") == before)
    }
    let killed = fs.processKillClone()
    #expect(try look(killed, "/b") == before)
    #expect(try look(killed, "/d") == look(fs, "/d"))
    // The clone goes on counting where its original was.
    try killed.writeWhole("/b", [5])
    #expect(try !seen.contains(look(killed, "/b")))
    // Bytes that a crash took back are not those that were seen before it.
    let again = try fs.open("/b", .readWrite)
    try again.write([9], at: 0)
    let unsynced = try look(fs, "/b")
    let crashed = fs.crashClone(.dropAll)
    #expect(try crashed.readWhole("/b") == [1])
    #expect(try look(crashed, "/b") != unsynced && look(crashed, "/b") != before)
  }

  @Test func syncingAFileDoesNotSyncItsName() throws {
    try fs.createDirectory("/d")
    try fs.writeWhole("/d/a", [1], synced: true)
    try fs.sync(directory: "/d")
    // The directory itself has no durable name yet.
    #expect(try fs.crashClone(.dropAll).tree("/") == [:])
    try fs.sync(directory: "/")
    #expect(try fs.crashClone(.dropAll).tree("/") == ["/d/": [], "/d/a": [1]])
    try fs.remove("/d/a")
    #expect(try fs.crashClone(.dropAll).readWhole("/d/a") == [1])
    try fs.sync(directory: "/d")
    #expect(try fs.crashClone(.keepAll).tree("/") == ["/d/": []])
    #expect(try fs.crashClone(.dropAll).tree("/") == ["/d/": []])
  }

  @Test func sectorsAreKeptDroppedOrTorn() throws {
    let file = try durable("/a", 1, 4096)
    try file.write([UInt8](repeating: 2, count: 2048), at: 1024)
    var (kept, dropped, torn, mixed) = (0, 0, 0, 0)
    for seed in Seeds.of("sectors", count: 400) {
      let bytes = try fs.crashClone(.random, seed: seed).readWhole("/a")
      #expect(bytes.count == 4096)
      #expect(bytes[..<1024].allSatisfy { $0 == 1 } && bytes[3072...].allSatisfy { $0 == 1 })
      var fates: Set<Int> = []
      for start in stride(from: 1024, to: 3072, by: 512) {
        let sector = bytes[start..<(start + 512)]
        // New bytes first, old bytes behind: at most one change.
        #expect(zip(sector, sector.dropFirst()).allSatisfy { $0 >= $1 })
        let new = sector.count { $0 == 2 }
        fates.insert(new == 512 ? 2 : new == 0 ? 0 : 1)
        if new == 512 { kept += 1 } else if new == 0 { dropped += 1 } else { torn += 1 }
      }
      if fates.count == 3 { mixed += 1 }
    }
    #expect(kept > 100 && dropped > 100 && torn > 100 && mixed > 10)
  }

  @Test func sizesEndAnywhereBetween() throws {
    let file = try durable("/a", 1, 1000)
    try file.write([UInt8](repeating: 2, count: 3000), at: 1000)
    var sizes: Set<Int> = []
    for seed in 0..<300 {
      let bytes = try fs.crashClone(.random, seed: UInt64(seed)).readWhole("/a")
      sizes.insert(bytes.count)
      #expect(bytes[..<1000].allSatisfy { $0 == 1 })
      // What was not stored reads as zeros.
      #expect(bytes[1000...].allSatisfy { $0 == 2 || $0 == 0 })
    }
    #expect(sizes.contains(1000) && sizes.contains(4000) && sizes.count > 20)
    #expect(sizes.min() == 1000 && sizes.max() == 4000)
  }

  @Test func truncationIsUnsyncedToo() throws {
    let file = try durable("/a", 1, 2000)
    try file.truncate(to: 100)
    #expect(try fs.crashClone(.dropAll).readWhole("/a").count == 2000)
    #expect(try fs.crashClone(.keepAll).readWhole("/a").count == 100)
    try file.sync()
    try file.truncate(to: 2000)
    // Synced, so the old bytes are gone for good.
    #expect(
      try fs.crashClone(.keepAll).readWhole("/a")
        == [UInt8](repeating: 1, count: 100) + [UInt8](repeating: 0, count: 1900))
  }

  @Test func mappedBytesAreUnsyncedUntilTheSync() throws {
    let file = try durable("/a", 0, 8192)
    let mapped = try file.map(8192, faulting: .writing)
    mapped.write([7], at: 600)
    mapped.write([8], at: 5000)
    #expect(try fs.crashClone(.dropAll).readWhole("/a").allSatisfy { $0 == 0 })
    #expect(try fs.crashClone(.keepAll).readWhole("/a")[600] == 7)
    let clone = fs.processKillClone()
    let before = fs.counts.bytesSynced
    try file.sync()
    #expect(fs.counts.bytesSynced - before == 1024)
    mapped.write([9], at: 600)
    let crashed = try fs.crashClone(.dropAll).readWhole("/a")
    #expect(crashed[600] == 7 && crashed[5000] == 8)
    try file.sync()
    #expect(try fs.crashClone(.dropAll).readWhole("/a")[600] == 9)
    // Clones have storage of their own.
    #expect(try clone.readWhole("/a")[600] == 7)
    #expect(try clone.crashClone(.dropAll).readWhole("/a")[600] == 0)
  }

  @Test func renamesAreAtomic() throws {
    _ = try durable("/CURRENT", 1, 10)
    try fs.writeWhole("/tmp", [UInt8](repeating: 2, count: 10), synced: true)
    try fs.rename("/tmp", to: "/CURRENT")
    try fs.writeWhole("/tmp", [UInt8](repeating: 3, count: 10), synced: true)
    try fs.rename("/tmp", to: "/CURRENT")
    var seen: Set<[UInt8]> = []
    for seed in 0..<200 {
      let files = try fs.crashClone(.random, seed: UInt64(seed)).tree("/")
      let bytes = try #require(files["/CURRENT"])
      // Each file has one name at most, and is whole.
      #expect(bytes.count == 10 && Set(bytes).count == 1)
      #expect(files["/tmp"] != bytes)
      seen.insert(bytes)
    }
    #expect(seen.count == 3)
  }

  @Test func chainedRenamesNeverDoubleAFile() throws {
    _ = try durable("/a", 1, 10)
    try fs.rename("/a", to: "/b")
    try fs.rename("/b", to: "/c")
    var names: Set<String> = []
    for seed in 0..<200 {
      let files = try fs.crashClone(.random, seed: UInt64(seed)).tree("/")
      #expect(files.count == 1)
      names.formUnion(files.keys)
    }
    #expect(names == ["/a", "/b", "/c"])
  }

  @Test func directoryChangesArePrefixesOrIndependent() throws {
    for i in 0..<4 { try fs.writeWhole(FilePath("/\(i)"), [], synced: true) }
    var kept: Set<[String]> = []
    for seed in 0..<400 {
      kept.insert(try fs.crashClone(.random, seed: UInt64(seed)).entries(of: "/"))
    }
    // Every subset of the four turns up.
    #expect(kept.count == 16)
  }

  @Test func aDirectoryThatIsLostTakesItsFilesAlong() throws {
    try fs.createDirectory("/d")
    try fs.writeWhole("/d/a", [1], synced: true)
    try fs.sync(directory: "/d")
    for seed in 0..<50 {
      let names = Array(try fs.crashClone(.random, seed: UInt64(seed)).tree("/").keys).sorted()
      #expect(names == [] || names == ["/d/", "/d/a"])
    }
  }

  @Test func aKilledProcessLosesNothing() throws {
    let file = try durable("/a", 1, 1000)
    try file.write([2], at: 0)
    try fs.writeWhole("/b", [3])
    _ = try fs.lock("/LOCK")
    let lock = try fs.lock("/LOCK")
    try fs.rename("/b", to: "/c")
    let clone = fs.processKillClone()
    #expect(try clone.tree("/") == fs.tree("/"))
    #expect(clone.openFileCount == 0)
    #expect(throws: Never.self) { try clone.lock("/LOCK") }
    #expect(throws: FileSystemError.self) { try fs.lock("/LOCK") }
    lock.unlock()
    // What was unsynced still is, in the clone as here.
    #expect(try clone.crashClone(.dropAll).tree("/") == fs.crashClone(.dropAll).tree("/"))
    #expect(try clone.crashClone(.dropAll).tree("/") == ["/a": [UInt8](repeating: 1, count: 1000)])
    try clone.sync(directory: "/")
    #expect(try clone.crashClone(.dropAll).entries(of: "/") == ["LOCK", "a", "c"])
    for seed in 0..<20 {
      let seed = UInt64(seed)
      let (here, there) = (fs.crashClone(seed: seed), fs.processKillClone().crashClone(seed: seed))
      #expect(try here.tree("/") == there.tree("/"))
    }
  }

  @Test func clonesAndOriginalDoNotShareWrites() throws {
    let file = try durable("/a", 1, 1000)
    let clone = fs.crashClone(.dropAll)
    try file.write([2], at: 0)
    let theirs = try clone.open("/a", .readWrite)
    try theirs.write([3], at: 1)
    #expect(try file.read(0, 3) == [2, 1, 1])
    #expect(try theirs.read(0, 3) == [1, 3, 1])
    #expect(try clone.crashClone(.dropAll).readWhole("/a")[1] == 1)
    try theirs.sync()
    #expect(try clone.crashClone(.dropAll).readWhole("/a")[1] == 3)
    #expect(try fs.crashClone(.dropAll).readWhole("/a")[1] == 1)
  }

  /// Against a model that keeps every byte's synced and written value.
  @Test func randomWritesAgreeWithAModel() throws {
    try withSeeds("randomWritesAgreeWithAModel", count: 20) { seed, random in
      let fs = SimulatedFileSystem()
      let file = try fs.open("/a", .createNew)
      try fs.sync(directory: "/")
      var mapped: (any MappedFile)?
      var (now, synced): ([UInt8], [UInt8]) = ([], [])
      for _ in 0..<120 {
        switch random.below(10) {
        case 0..<5:
          let offset = random.below(mapped == nil ? 9000 : max(1, now.count))
          let room = mapped == nil ? 3000 : now.count - offset
          let bytes = random.bytes(random.below(max(1, room)))
          if bytes.isEmpty { continue }
          if now.count < offset + bytes.count {
            now += [UInt8](repeating: 0, count: offset + bytes.count - now.count)
          }
          now.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
          if let mapped, offset + bytes.count <= mapped.byteCount, random.below(2) == 0 {
            mapped.write(bytes, at: offset)
          } else {
            try file.write(bytes, at: Int64(offset))
          }
        case 5 where mapped == nil:
          let size = random.below(12_000)
          now = Array(now.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - now.count))
          try file.truncate(to: Int64(size))
        case 6:
          mapped = mapped == nil && !now.isEmpty ? try file.map(now.count, faulting: .writing) : nil
        default:
          try file.sync()
          synced = now
        }
        try #require(try file.read(0, 20_000) == now)
        try #require(try fs.crashClone(.dropAll).readWhole("/a") == synced)
        try #require(try fs.crashClone(.keepAll).readWhole("/a") == now)
        let crashed = try fs.crashClone(.random, seed: seed).readWhole("/a")
        try #require(
          (min(now.count, synced.count)...max(now.count, synced.count)).contains(crashed.count))
        for (i, byte) in crashed.enumerated() {
          let old = i < synced.count ? synced[i] : 0
          let new = i < now.count ? now[i] : 0
          if byte != old && byte != new { try #require(Bool(false), "byte \(i) was never written") }
        }
      }
    }
  }
}
