import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 4: nothing is built on what may not be on disk.
// Budget: 2 s
@Suite struct Rule04FailedSyncTests {
  @Test func recoveryAppendsToNoFileItFound() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.fill(2000)
    world.workers.runAll()
    try tree.put("last", "x")
    let killed = world.killed()
    let found = Set(killed.names)
    killed.fileSystem.recordsTrace = true
    _ = try killed.open()
    for operation in killed.fileSystem.trace {
      let name = operation.path.lastComponent!.string
      switch operation.kind {
      case .write, .truncate, .allocate, .map:
        #expect(!found.contains(name), "\(operation)")
      case .rename:
        #expect(name == FileNames.markerInProgress)
      default: break
      }
    }
  }

  @Test func recoverySyncsAllThatItWritesBeforeTheMarkerNamesIt() throws {
    let world = SimulatedStore()
    let store = try world.open()
    try store.tree("t").fill(2000)
    let killed = world.killed()
    killed.fileSystem.recordsTrace = true
    _ = try killed.open()
    let trace = killed.fileSystem.trace
    let swap = try #require(trace.firstIndex { $0.kind == .rename })
    #expect(
      trace[..<swap].allSatisfy {
        $0.kind != .remove || $0.path.lastComponent!.string == FileNames.markerInProgress
      })
    let before = trace[..<swap]
    let written = Set(before.filter { $0.kind == .write }.map(\.path))
    #expect(written.count > 2)
    for path in written {
      let lastWrite = before.lastIndex { $0.kind == .write && $0.path == path }!
      let lastSync = before.lastIndex { $0.kind == .sync && $0.path == path }
      // The manifest's mark, which nothing depends on, follows its sync.
      if !path.string.hasSuffix(".manifest") { #expect((lastSync ?? -1) > lastWrite, "\(path)") }
      #expect(lastSync != nil)
    }
    let directorySync = before.lastIndex { $0.kind == .syncDirectory }
    #expect(directorySync != nil)
    // What was found goes only after the swap is durable.
    let durable = trace[swap...].firstIndex { $0.kind == .syncDirectory }!
    #expect(trace[swap..<durable].allSatisfy { $0.kind != .remove })
    #expect(trace[durable...].contains { $0.kind == .remove })
  }

  /// The kernel reads back what it never wrote: after the failure of a sync and the end of the
  /// process, replay may find records that are not on disk. What it acknowledges by opening must
  /// survive the next power loss.
  @Test func whatRecoveryReadAfterAFailedSyncItMakesDurable() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    #expect(storeError { try tree.put("k", "v", .synced) }?.code == .outcomeUnknown)
    let killed = world.killed()
    let again = try killed.open()
    #expect(try again.tree("t").text("k") == "v")
    #expect(try killed.crashed().open().tree("t").text("k") == "v")
  }

  @Test func aFailedSyncIsUnknownAndEndsWriting() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("before", "1")
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    let error = storeError { try tree.put("k", "v", .synced) }
    #expect(error?.code == .outcomeUnknown)
    #expect(error?.cause?.code == .io)
    // Nobody has seen it, reads go on, and no later write or sync succeeds.
    #expect(try tree.text("k") == nil)
    #expect(try tree.text("before") == "1")
    for action in [
      { try tree.put("x", "y") }, { try tree.delete("x") }, { try store.sync() }, { try store.flush() },
      { _ = try store.tree("new") }, { try store.dropTree("t") }, { try tree.compact() },
    ] {
      #expect(storeError(action)?.code == .readOnly)
    }
    #expect(store.statistics.failure?.code == .outcomeUnknown)
    // Nor does closing claim that all is durable.
    #expect(storeError { try store.close() }?.code == .outcomeUnknown)
  }

  @Test func aSyncedWriteIsSeenOnlyAfterItsSync() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    let seen = Guarded<[String?]>([])
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.kind == .sync, operation.path.string.hasSuffix(".log") else { return }
      let value = (try? tree.text("k")) ?? nil
      seen.withLock { $0.append(value) }
    }
    try tree.put("k", "v", .synced)
    world.fileSystem.onOperation(nil)
    #expect(seen.withLock { $0 } == [nil])
    #expect(try tree.text("k") == "v")
  }

  /// A flush and the leader may sync one log side by side; the system tells only the first of a
  /// failure.
  @Test func aSyncAfterAFailedOneFailsToo() throws {
    let fileSystem = SimulatedFileSystem()
    try fileSystem.createDirectory("/d")
    let segment = try LogSegment.create(
      fileSystem, "/d", number: 1, salt: 2, identity: 3, capacity: 16 << 10, access: .mapped)
    fileSystem.inject(FaultRule([.sync], .fail(.io)))
    #expect(storeError { try segment.sync() }?.code == .outcomeUnknown)
    #expect(storeError { try segment.sync() }?.code == .outcomeUnknown)
  }

  @Test func aFailedSyncOfAFlushEndsWriting() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".sst", .fail(.io)))
    let error = storeError { try tree.flush() }
    #expect(error != nil)
    #expect(storeError { try tree.put("x", "y") }?.code == .readOnly)
    #expect(try tree.text("k") == "v")
    #expect(try world.killed().open().tree("t").text("k") == "v")
  }
}
