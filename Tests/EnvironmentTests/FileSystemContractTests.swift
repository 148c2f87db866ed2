import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

/// A file system under test and a directory of it that exists.
struct World: CustomTestStringConvertible, Sendable {
  enum Kind: CaseIterable, Sendable { case posix, simulated }
  let testDescription: String
  let fileSystem: any FileSystem
  let directory: FilePath
  private let temporary: TemporaryDirectory?

  init(_ kind: Kind) throws {
    testDescription = "\(kind)"
    switch kind {
    case .posix:
      let temporary = try TemporaryDirectory()
      self.temporary = temporary
      fileSystem = POSIXFileSystem()
      directory = temporary.path
    case .simulated:
      temporary = nil
      fileSystem = SimulatedFileSystem()
      directory = "/work"
      try fileSystem.createDirectory(directory)
    }
  }

  func path(_ name: String) -> FilePath { directory.appending(name) }
}

/// Runs `body` and returns the code of what it throws.
func code(_ body: () throws -> Void) -> FileSystemError.Code? {
  do {
    try body()
    return nil
  } catch let error as FileSystemError {
    return error.code
  } catch {
    return nil
  }
}

/// What every file system promises. Budget: 2 s
@Suite struct FileSystemContractTests {
  @Test(arguments: World.Kind.allCases) func openModes(_ kind: World.Kind) throws {
    let world = try World(kind)
    let (fs, path) = (world.fileSystem, world.path("a"))
    #expect(code { _ = try fs.open(path, .read) } == .notFound)
    #expect(code { _ = try fs.open(path, .readWrite) } == .notFound)
    #expect(code { _ = try fs.open(world.path("no/a"), .createNew) } == .notFound)
    let file = try fs.open(path, .createNew)
    #expect(file.path == path)
    try file.write([1, 2, 3], at: 0)
    #expect(code { _ = try fs.open(path, .createNew) } == .alreadyExists)
    #expect(try fs.open(path, .readWrite).size() == 3)
    #expect(code { try fs.open(path, .read).write([1], at: 0) } == .io)
    #expect(try fs.open(path, .createOrTruncate).size() == 0)
    #expect(try file.size() == 0)
    #expect(code { _ = try fs.open(path.appending("b"), .createNew) } == .notADirectory)
    #expect(code { _ = try fs.open(world.directory, .read) } == .isDirectory)
    #expect(code { _ = try fs.open(world.directory, .readWrite) } == .isDirectory)
    #expect(code { _ = try fs.open(world.directory, .createNew) } == .alreadyExists)
  }

  @Test(arguments: World.Kind.allCases) func readsAndWrites(_ kind: World.Kind) throws {
    let world = try World(kind)
    let file = try world.fileSystem.open(world.path("a"), .createNew)
    try file.write([], at: 100)
    #expect(try file.size() == 0)
    try file.write([7, 8], at: 5000)
    #expect(try file.size() == 5002)
    #expect(try file.read(4998, 10) == [0, 0, 7, 8])
    #expect(try file.read(5002, 10) == [])
    #expect(try file.read(9999, 10) == [])
    try file.write([9], at: 0)
    #expect(try file.read(0, 2) == [9, 0])
    #expect(code { _ = try file.read(-1, 1) } == .io)
    #expect(code { try file.write([1], at: -1) } == .io)
    #expect(code { try file.truncate(to: -1) } == .io)
    file.advise(.random)
    file.advise(.sequential)
    file.advise(.willNotNeed)
    try file.sync()
    #expect(try file.read(5001, 1) == [8])
  }

  @Test(arguments: World.Kind.allCases) func sizes(_ kind: World.Kind) throws {
    let world = try World(kind)
    let file = try world.fileSystem.open(world.path("a"), .createNew)
    try file.write([UInt8](repeating: 1, count: 100), at: 0)
    try file.truncate(to: 10)
    try file.truncate(to: 20)
    #expect(
      try file.read(0, 100) == [UInt8](repeating: 1, count: 10) + [UInt8](repeating: 0, count: 10))
    try file.allocate(0)
    try file.allocate(15)
    #expect(try file.size() == 20)
    try file.allocate(10_000)
    #expect(try file.size() == 10_000)
    #expect(try file.read(9_999, 10) == [0])
    #expect(try world.fileSystem.info(of: world.path("a"))?.byteCount == 10_000)
  }

  @Test(arguments: World.Kind.allCases, [MappedAccess.reading, .writing])
  func mapping(_ kind: World.Kind, _ access: MappedAccess) throws {
    let world = try World(kind)
    let file = try world.fileSystem.open(world.path("a"), .createNew)
    try file.allocate(10_000)
    #expect(code { _ = try file.map(10_001, faulting: .writing) } == .io)
    #expect(code { _ = try file.map(0, faulting: .writing) } == .io)
    let mapped = try file.map(10_000, faulting: access)
    #expect(mapped.byteCount == 10_000)
    mapped.write([1, 2, 3], at: 6000)
    #expect(try file.read(5999, 5) == [0, 1, 2, 3, 0])
    try file.write([4], at: 9_999)
    #expect(mapped.read(9_999, 1) == [4])
    try file.sync()
    let reader = try world.fileSystem.open(world.path("a"), .read)
    #expect(code { _ = try reader.map(10, faulting: .writing) } == .permissionDenied)
    file.close()
    // Lives on without its file.
    mapped.write([5], at: 0)
    #expect(try reader.read(0, 1) == [5])
  }

  @Test(arguments: World.Kind.allCases) func closing(_ kind: World.Kind) throws {
    let world = try World(kind)
    let file = try world.fileSystem.open(world.path("a"), .createNew)
    try file.write([1], at: 0)
    file.close()
    file.close()
    #expect(code { _ = try file.read(0, 1) } == .closed)
    #expect(code { try file.write([1], at: 0) } == .closed)
    #expect(code { _ = try file.size() } == .closed)
    #expect(code { try file.sync() } == .closed)
    #expect(code { try file.truncate(to: 0) } == .closed)
    #expect(code { try file.allocate(10) } == .closed)
    #expect(code { _ = try file.map(1, faulting: .writing) } == .closed)
    file.advise(.random)
    #expect(try world.fileSystem.readWhole(world.path("a")) == [1])
  }

  @Test(arguments: World.Kind.allCases) func directories(_ kind: World.Kind) throws {
    let world = try World(kind)
    let fs = world.fileSystem
    try fs.createDirectory(world.path("x/y/z"))
    try fs.createDirectory(world.path("x/y"))
    try fs.writeWhole(world.path("x/b"), [1])
    try fs.writeWhole(world.path("x/a"), [2])
    #expect(try fs.entries(of: world.path("x")) == ["a", "b", "y"])
    #expect(code { try fs.createDirectory(world.path("x/a")) } == .alreadyExists)
    #expect(code { try fs.createDirectory(world.path("x/a/b")) } == .notADirectory)
    #expect(code { _ = try fs.entries(of: world.path("no")) } == .notFound)
    #expect(code { _ = try fs.entries(of: world.path("x/a")) } == .notADirectory)
    try fs.sync(directory: world.path("x"))
    #expect(code { try fs.sync(directory: world.path("no")) } == .notFound)
    #expect(code { try fs.sync(directory: world.path("x/a")) } == .notADirectory)
    #expect(try fs.info(of: world.path("x"))?.isDirectory == true)
    #expect(try fs.info(of: world.path("x/a"))?.isDirectory == false)
    #expect(try fs.info(of: world.path("no")) == nil)
    #expect(try fs.info(of: world.path("x/a/b")) == nil)
    let (a, b) = (try fs.info(of: world.path("x/a")), try fs.info(of: world.path("x/b")))
    #expect(a?.inode != b?.inode && a?.device == b?.device)
  }

  @Test(arguments: World.Kind.allCases) func renamesAndRemoves(_ kind: World.Kind) throws {
    let world = try World(kind)
    let fs = world.fileSystem
    try fs.writeWhole(world.path("a"), [1])
    try fs.writeWhole(world.path("b"), [2])
    let old = try fs.open(world.path("b"), .read)
    try fs.rename(world.path("a"), to: world.path("b"))
    #expect(try fs.entries(of: world.directory) == ["b"])
    #expect(try fs.readWhole(world.path("b")) == [1])
    // Who has the replaced file open keeps it.
    #expect(try old.read(0, 1) == [2])
    #expect(code { try fs.rename(world.path("a"), to: world.path("c")) } == .notFound)
    try fs.createDirectory(world.path("d"))
    try fs.rename(world.path("b"), to: world.path("d/b"))
    #expect(code { try fs.rename(world.path("d/b"), to: world.path("d")) } != nil)
    try fs.rename(world.path("d"), to: world.path("e"))
    #expect(try fs.readWhole(world.path("e/b")) == [1])
    #expect(code { try fs.remove(world.path("e")) } == .isDirectory)
    #expect(code { try fs.remove(world.path("b")) } == .notFound)
    let removed = try fs.open(world.path("e/b"), .readWrite)
    try fs.remove(world.path("e/b"))
    try removed.write([3], at: 1)
    #expect(try removed.read(0, 9) == [1, 3])
    #expect(try fs.entries(of: world.path("e")) == [])
  }

  @Test(arguments: World.Kind.allCases) func changeTimes(_ kind: World.Kind) throws {
    let world = try World(kind)
    let fs = world.fileSystem
    let path = world.path("a")
    func info() throws -> FileInfo { try #require(try fs.info(of: path)) }
    try fs.writeWhole(path, [1])
    let first = try info()
    // Looking, reading and syncing change nothing.
    _ = try fs.readWhole(path)
    try fs.open(path, .readWrite).sync()
    #expect(try info() == first)
    // A new name is a change, and so are new bytes. The system's stamps step by some milliseconds.
    var now = first
    var tries = 0
    while now.changeNanoseconds == first.changeNanoseconds, tries < 100_000 {
      try fs.rename(path, to: world.path("b"))
      try fs.rename(world.path("b"), to: path)
      now = try info()
      tries += 1
    }
    #expect(now.changeNanoseconds > first.changeNanoseconds)
    #expect(now.inode == first.inode && now.device == first.device)
    let renamed = now
    let file = try fs.open(path, .readWrite)
    tries = 0
    while now.changeNanoseconds == renamed.changeNanoseconds, tries < 100_000 {
      try file.write([2], at: 0)
      now = try info()
      tries += 1
    }
    #expect(now.changeNanoseconds > renamed.changeNanoseconds)
    // A file that takes its place is another.
    try fs.writeWhole(world.path("new"), [2])
    try fs.rename(world.path("new"), to: path)
    #expect(try info().inode != now.inode)
  }

  @Test(arguments: World.Kind.allCases) func locks(_ kind: World.Kind) throws {
    let world = try World(kind)
    let fs = world.fileSystem
    let path = world.path("LOCK")
    let lock = try fs.lock(path)
    let written = try fs.readWhole(path)
    let holder = Int32(String(decoding: written.dropLast(), as: UTF8.self))
    #expect(holder != nil && written.last == UInt8(ascii: "\n"))
    do {
      _ = try fs.lock(path)
      Issue.record("the lock was given twice")
    } catch {
      #expect(error.code == .locked && error.holder == holder)
    }
    lock.unlock()
    lock.unlock()
    var next: (any FileLock)? = try fs.lock(path)
    #expect(code { _ = try fs.lock(path) } == .locked)
    lock.unlock()
    #expect(code { _ = try fs.lock(path) } == .locked)
    _ = next
    next = nil
    _ = try fs.lock(path)
    #expect(code { _ = try fs.lock(world.path("no/LOCK")) } == .notFound)
  }

  @Test(arguments: World.Kind.allCases) func space(_ kind: World.Kind) throws {
    let world = try World(kind)
    #expect(try world.fileSystem.availableBytes(world.directory) > 0)
    #expect(code { _ = try world.fileSystem.availableBytes(world.path("no")) } == .notFound)
    #expect(world.fileSystem.openFileLimit >= 256)
  }

  @Test(arguments: World.Kind.allCases) func manyThreadsReadOneFile(_ kind: World.Kind) throws {
    let world = try World(kind)
    let file = try world.fileSystem.open(world.path("a"), .createNew)
    let bytes = (0..<4096).map { UInt8(truncatingIfNeeded: $0) }
    try file.write(bytes, at: 0)
    let wrong = Counter()
    runThreads(4) { thread in
      for i in 0..<200 {
        let read = try? file.read(Int64(thread * 100 + i), 100)
        if read != Array(bytes[(thread * 100 + i)..<(thread * 100 + i + 100)]) { wrong.add() }
      }
    }
    #expect(wrong.value == 0)
  }
}
