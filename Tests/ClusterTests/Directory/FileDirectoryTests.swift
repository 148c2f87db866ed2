import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A cluster's directory in a file: its encoding, damage to it, crashes, and other processes.
// Budget: 5 s
@Suite struct FileDirectoryTests {
  private static let path = "/srv/cluster"

  private func open(_ simulated: SimulatedEnvironment) throws -> FileDirectory {
    try FileDirectory(at: Self.path, environment: simulated.environment)
  }

  private static func sample() throws -> DirectoryState {
    var state = DirectoryState()
    let lease = try state.grant(.seconds(10), at: 1_735_689_600_000)
    _ = try state.compareAndSet("node/1", version: 0, [7, 8], lease: lease, at: 1_735_689_600_000)
    _ = try state.compareAndSet("ring", version: 0, [9], lease: nil, at: 1_735_689_600_000)
    return state
  }

  @Test func `the encoding is the one that FORMAT tells`() throws {
    let state = try Self.sample()
    #expect(try FormatDocument.example("directory") == state.encoded())
    #expect(try DirectoryState(decoding: state.encoded(), "it") == state)
  }

  @Test func `damage at any byte is found, and told as such`() throws {
    let bytes = try Self.sample().encoded()
    for place in bytes.indices {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[place] ^= 1 << UInt8(bit)
        #expect(throws: DatabaseError.self) { _ = try DirectoryState(decoding: damaged, "it") }
      }
      #expect(throws: DatabaseError.self) { _ = try DirectoryState(decoding: Array(bytes[..<place]), "it") }
    }
    #expect(throws: DatabaseError.self) { _ = try DirectoryState(decoding: bytes + [0], "it") }
  }

  /// Whatever is sealed with a right checksum is read or refused, and never trusted.
  @Test func `rubbish with a right checksum is refused`() throws {
    let bytes = Array(try Self.sample().encoded().dropLast(8))
    try withSeeds("ClusterTests.FileDirectoryTests/rubbish", count: TestSize.of(quick: 2_000, full: 20_000)) {
      _, random in
      var changed = bytes
      for _ in 0...random.below(3) { changed[9 + random.below(bytes.count - 9)] = UInt8(random.below(256)) }
      var writer = FieldWriter()
      for byte in changed { writer.write(byte: byte) }
      writer.write(fixed: Checksum.xxh64(changed))
      guard let state = try? DirectoryState(decoding: writer.bytes, "it") else { return }
      #expect(state.encoded() == writer.bytes)
    }
  }

  @Test func `a damaged file is told at opening, and at each call`() throws {
    let world = SimulatedEnvironment()
    let directory = try open(world)
    _ = try directory.compareAndSet("ring", version: 0, [1])
    let file = try world.fileSystem.open("/srv/cluster/DIRECTORY", .readWrite)
    try unsafe file.write([0xFF].span.bytes, at: 10)
    func code(_ body: () throws -> Void) -> DatabaseError.Code? {
      do { try body() } catch { return (error as? DatabaseError)?.code }
      return nil
    }
    #expect(code { _ = try directory.record("ring") } == .corruption)
    #expect(code { _ = try directory.compareAndSet("ring", version: 1, [2]) } == .corruption)
    #expect(code { _ = try open(world) } == .corruption)
    try unsafe file.write([2].span.bytes, at: 8)
    #expect(code { _ = try open(world) } == .newerFormat)
  }

  @Test func `nodes that share the file see each other's changes`() throws {
    let world = SimulatedEnvironment()
    let (a, b) = (try open(world), try open(world))
    let version = try #require(try a.compareAndSet("ring", version: 0, [1]))
    #expect(try b.record("ring")?.value == [1])
    #expect(try b.compareAndSet("ring", version: version, [2]) != nil)
    #expect(try a.compareAndSet("ring", version: version, [3]) == nil)
    #expect(try open(world).record("ring")?.value == [2])
  }

  /// Cut before each operation: what was acknowledged is there, and what was not is whole or absent.
  @Test func `a crash leaves the state before a change or after it`() throws {
    let world = SimulatedEnvironment()
    let directory = try open(world)
    var version = try #require(try directory.compareAndSet("ring", version: 0, [0]))
    let images = Guarded<[(SimulatedFileSystem, acknowledged: UInt8)]>([])
    let acknowledged = Guarded<UInt8>(0)
    let fileSystem = world.fileSystem
    fileSystem.onOperation { operation in
      guard operation.changesDisk else { return }
      let known = acknowledged.withLock { $0 }
      let clones = [
        fileSystem.crashClone(.dropAll), fileSystem.crashClone(.keepAll), fileSystem.processKillClone(),
      ]
      for clone in clones {
        images.withLock { $0.append((clone, known)) }
      }
    }
    for value in 1...20 as ClosedRange<UInt8> {
      version = try #require(try directory.compareAndSet("ring", version: version, [value]))
      acknowledged.withLock { $0 = value }
    }
    fileSystem.onOperation(nil)
    let all = images.withLock { $0 }
    #expect(all.count > 100)
    for (clone, known) in all {
      let again = try open(SimulatedEnvironment(fileSystem: clone))
      let value = try #require(try again.record("ring")?.value.first)
      #expect(value == known || value == known + 1)
      #expect(try again.compareAndSet("new", version: 0, [1]) != nil)
    }
  }

  @Test func `a change whose end is not known says so, and a full disk changes nothing`() throws {
    let world = SimulatedEnvironment()
    let directory = try open(world)
    let version = try #require(try directory.compareAndSet("ring", version: 0, [1]))
    func fail(_ code: FileSystemError.Code, _ kind: RoostSimulation.Operation.Kind) -> DatabaseError.Code? {
      world.fileSystem.onOperation { operation throws(FileSystemError) in
        guard operation.kind == kind else { return }
        throw FileSystemError(code, operation: "\(kind)", path: operation.path.string)
      }
      defer { world.fileSystem.onOperation(nil) }
      do { _ = try directory.compareAndSet("ring", version: version, [2]) } catch { return error.code }
      return nil
    }
    #expect(fail(.noSpace, .write) == .storage)
    #expect(fail(.io, .sync) == .storage)
    #expect(fail(.io, .rename) == .storage)
    #expect(try directory.record("ring")?.value == [1])
    #expect(fail(.io, .syncDirectory) == .indeterminate)
    #expect(try directory.record("ring")?.value == [2])
  }

  @Test func `a lock that another keeps is waited for up to the deadline`() throws {
    let world = SimulatedEnvironment()
    let directory = try open(world)
    let held = try world.fileSystem.lock("/srv/cluster/LOCK")
    let before = world.time.monotonicNanoseconds
    do {
      _ = try directory.compareAndSet("ring", version: 0, [1])
      Issue.record("it was written beside another")
    } catch {
      #expect(error.code == .deadlineExceeded)
    }
    #expect(world.time.monotonicNanoseconds - before == 10_000_000_000)
    #expect(try directory.record("ring") == nil)
    held.unlock()
    #expect(try directory.compareAndSet("ring", version: 0, [1]) != nil)
  }

  @Test func `options outside their limits are refused`() {
    var options = FileDirectory.Options()
    options.pollInterval = .zero
    #expect(throws: DatabaseError.self) {
      _ = try FileDirectory(at: Self.path, options, environment: .simulated())
    }
    options.pollInterval = .seconds(1)
    options.lockDeadline = .seconds(3_601)
    #expect(throws: DatabaseError.self) {
      _ = try FileDirectory(at: Self.path, options, environment: .simulated())
    }
  }
}
