import Roost
import RoostSimulation
import RoostStorage
import SystemPackage
import TestSupport
import Testing

@testable import RoostCluster

/// A cleanly closed directory is copied. Both run, or the copy later takes the place of the original:
/// under one identity both would mint the same dots. The marker's device, inode and change time tell
/// them apart; where even those were restored, the states of others do.
// Budget: 3 s
@Suite struct Interleaving06CopiedDirectoryTests {
  private func open(
    _ world: SimulatedEnvironment, _ directory: String = "/disk0/db"
  ) throws -> SynchronousDatabase {
    try SynchronousDatabase(world, at: [directory])
  }

  private func replica(_ database: SynchronousDatabase) -> ReplicaID {
    database.core.presentMembers[0].replica
  }

  @Test func `the same directory goes on as the same incarnation`() throws {
    let database = try open(SimulatedEnvironment())
    let again = try database.reopened()
    #expect(replica(again) == replica(database))
  }

  @Test func `original and copy both run, and no write of either is lost`() throws {
    let world = SimulatedEnvironment()
    var original = try open(world)
    try original.put("k", "before")
    try original.core.close()
    try copyDirectory("/disk0/db", "/disk1/db", world.fileSystem)
    original = try open(world)
    let copy = try open(world, "/disk1/db")
    #expect(replica(copy) != replica(original))
    for number in 0..<10 {
      try original.put("k\(number)", "original")
      try copy.put("k\(number)", "copy")
    }
    try original.put("k", "original", try original.context("k"))
    try copy.put("k", "copy", try copy.context("k"))
    try original.exchange(with: copy)
    for database in [original, copy] {
      #expect(try database.values("k") == ["copy", "original"])
      for number in 0..<10 { #expect(try database.values("k\(number)") == ["copy", "original"]) }
    }
  }

  /// An older copy is put in the place of a directory, whose later writes others have.
  private func replaced(
    _ world: SimulatedEnvironment, _ other: SynchronousDatabase
  ) throws -> (before: ReplicaID, SynchronousDatabase) {
    var database = try open(world)
    try database.put("k", "old")
    try database.core.close()
    try copyDirectory("/disk0/db", "/backup", world.fileSystem)
    database = try open(world)
    for number in 0..<10 { try database.put("k\(number)", "lost here") }
    try database.put("k", "lost here", try database.context("k"))
    try database.send(to: other)
    let before = replica(database)
    try database.core.close()
    try emptyDirectory("/disk0/db", world.fileSystem)
    try copyDirectory("/backup", "/disk0/db", world.fileSystem)
    return (before, try open(world))
  }

  @Test(arguments: [false, true])
  func `a copy that replaces the original is another incarnation, whatever its inode`(
    reusesInodes: Bool
  ) throws {
    let world = SimulatedEnvironment()
    world.fileSystem.reusesNumbers = reusesInodes
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2), at: ["/disk9/db"])
    let (before, database) = try replaced(world, other)
    #expect(replica(database) != before)
    // It writes before it learns what it lost.
    for number in 0..<10 { try database.put("k\(number)", "new") }
    try database.put("k", "new", try database.context("k"))
    try database.exchange(with: other)
    for database in [database, other] {
      #expect(try database.values("k") == ["lost here", "new"])
      for number in 0..<10 { #expect(try database.values("k\(number)") == ["lost here", "new"]) }
    }
  }

  @Test func `a copied marker may get the inode of the one it replaces`() throws {
    let world = SimulatedEnvironment()
    world.fileSystem.reusesNumbers = true
    let database = try open(world)
    try database.core.close()
    let before = try #require(try Store.markerInfo(in: "/disk0/db", world.fileSystem))
    try copyDirectory("/disk0/db", "/backup", world.fileSystem)
    try emptyDirectory("/disk0/db", world.fileSystem)
    try copyDirectory("/backup", "/disk0/db", world.fileSystem)
    let after = try #require(try Store.markerInfo(in: "/disk0/db", world.fileSystem))
    #expect(after.device == before.device && after.inode == before.inode)
    #expect(after.changeNanoseconds != before.changeNanoseconds)
    #expect(replica(try open(world)) != replica(database))
  }

  enum Difference: CaseIterable { case none, device, inode, changeTime }

  @Test(arguments: Difference.allCases)
  func `a marker that differs in one thing is another file`(difference: Difference) throws {
    let world = SimulatedEnvironment()
    var database = try open(world)
    let before = replica(database)
    try database.core.close()
    // The record of the close is written anew: for the marker as it is now, but for one thing.
    let store = try Store.open(at: "/disk0/db", environment: world.environment)
    let system = try #require(store.existingTree(Member.systemTree))
    let marker = try #require(try Store.markerInfo(in: "/disk0/db", world.fileSystem))
    let bytes = try #require(try system.get(Member.SystemKey.identity))
    var identity = try IdentityRecord(decoding: bytes)
    let counter = try #require(identity.closed).counter
    identity.closed = IdentityRecord.CleanClose(
      counter: counter, device: marker.device + (difference == .device ? 1 : 0),
      inode: marker.inode + (difference == .inode ? 1 : 0),
      changeNanoseconds: marker.changeNanoseconds + (difference == .changeTime ? 1 : 0))
    try system.put(Member.SystemKey.identity, identity.encoded())
    try store.close()
    database = try open(world)
    #expect((replica(database) == before) == (difference == .none))
  }

  @Test func `on a real file system too`() throws {
    let folder = try TemporaryDirectory()
    let environment = Environment.posix()
    let path = folder.path.appending("db").string
    let backup = folder.path.appending("backup").string
    let options = Databases.options()
    func replica(_ core: DatabaseCore) -> ReplicaID { core.presentMembers[0].replica }
    var core = try DatabaseOpening.open([path], options, environment)
    let first = replica(core)
    try core.close()
    core = try DatabaseOpening.open([path], options, environment)
    #expect(replica(core) == first)
    try core.close()
    // The marker's copy may well get the inode that the marker had.
    for _ in 0..<5 {
      try copyDirectory(path, backup, environment.fileSystem)
      try emptyDirectory(path, environment.fileSystem)
      try copyDirectory(backup, path, environment.fileSystem)
      let before = replica(core)
      core = try DatabaseOpening.open([path], options, environment)
      #expect(replica(core) != before)
      try core.close()
    }
  }

  @Test func `a disk that was restored bit by bit is found out by the states of others`() throws {
    let world = SimulatedEnvironment()
    var database = try open(world)
    try database.put("k", "old")
    try database.core.close()
    let image = world.fileSystem.processKillClone()
    database = try open(world)
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2), at: ["/disk9/db"])
    for number in 0..<10 { try database.put("k\(number)", "lost here") }
    let context = try database.context("k9")
    try database.send(to: other)
    // Inode and change time are the old ones: nothing here can tell.
    let restored = try open(SimulatedEnvironment(seed: 3, fileSystem: image, time: world.time))
    let before = replica(restored)
    #expect(before == replica(database))
    #expect(thrownCode { try restored.put("k9", "new", context) } == .foreignContext)
    try other.send(to: restored)
    #expect(replica(restored) != before)
    for number in 0..<20 { try restored.put("k\(number)", "new") }
    try restored.exchange(with: other)
    for database in [restored, other] {
      for number in 0..<10 { #expect(try database.values("k\(number)") == ["lost here", "new"]) }
      #expect(try database.values("k15") == ["new"])
      #expect(try database.values("k") == ["old"])
    }
  }
}
