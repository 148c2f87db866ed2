import Roost
import RoostSimulation
import TestSupport
import Testing

/// A database of three stores is created, used, closed and opened again, and before every file
/// operation on the way the power fails, or the process is killed: what is left opens, holds all
/// that was acknowledged, and mints no dot and no timestamp anew.
// Budget: 30 s
@Suite final class OpeningCrashTests: Sendable {
  private static let directories = Databases.directories(3)
  private static let options = Databases.options(partitions: 8, replicas: 2)

  /// What the program was told, so far.
  private struct Told: Sendable {
    var keyspaces: Set<String> = []
    /// Keys that must be there whatever happens, and those that need only survive the process.
    var synced: Set<String> = []
    var applied: Set<String> = []
    /// All incarnations that may have minted, with the last counter that was seen of each.
    var minted: [ReplicaID: UInt64] = [:]
    var isClosing = false
    var latest = Timestamp.zero
  }

  private let told = Guarded(Told())
  /// How many places a crash could be at.
  private let points = Guarded(0)

  /// What the program does. Synchronous, so that the file system's hook can stand in the middle.
  private func run(_ world: SimulatedEnvironment, round: Int, closing: Bool = true) throws {
    let database = try DatabaseOpening.open(Self.directories, Self.options, world.environment)
    told.withLock { told in
      told.isClosing = false
      for member in database.presentMembers { told.minted[member.replica, default: 0] += 0 }
    }
    for (name, policy) in [("posts", KeyspacePolicy.eventual), ("songs", .eventual(.lastWriterWins))] {
      let keyspace = try database.keyspace(name, policy)
      _ = told.withLock { $0.keyspaces.insert(name) }
      for number in 0..<4 {
        let key = "\(name)/\(round)/\(number)"
        try keyspace.putText(key, key)
        let sibling = try #require(try keyspace.siblings(of: key).first)
        told.withLock { told in
          told.applied.insert(key)
          told.minted[sibling.dot.replica] = sibling.dot.counter
          told.latest = max(told.latest, sibling.timestamp)
        }
        if number < 2 {
          try keyspace.syncText(key)
          _ = told.withLock { $0.synced.insert(key) }
        }
      }
    }
    guard closing else { return }
    told.withLock { $0.isClosing = true }
    try database.close()
    told.withLock { $0.synced.formUnion($0.applied) }
  }

  /// Opens what a crash left, in a world of its own.
  private func check(_ fileSystem: SimulatedFileSystem, _ told: Told, isKill: Bool, _ place: String) {
    do {
      let world = SimulatedEnvironment(seed: 77, fileSystem: fileSystem)
      let database = try DatabaseOpening.open(Self.directories, Self.options, world.environment)
      let names = Set(database.keyspaceEntries.map(\.name))
      if !names.isSuperset(of: told.keyspaces) {
        Issue.record("\(place): of the keyspaces \(told.keyspaces) there are \(names)")
      }
      for key in isKill ? told.synced.union(told.applied) : told.synced {
        let keyspace = try database.keyspace(String(key.prefix(5)), nil)
        if try keyspace.siblings(of: key).map(\.value) != [Array(key.utf8)] {
          Issue.record("\(place): \(key) is lost")
        }
      }
      let posts = try database.keyspace("posts", .eventual)
      for number in 0..<8 {
        let key = "probe\(number)"
        try posts.putText(key, "x")
        let sibling = try #require(try posts.siblings(of: key).first)
        if let counter = told.minted[sibling.dot.replica], !told.isClosing || sibling.dot.counter <= counter {
          Issue.record("\(place): \(sibling.dot) may have been minted before")
        }
        if sibling.timestamp <= told.latest { Issue.record("\(place): time goes back") }
      }
      try database.close()
      // Also alone each knows the database that it is of.
      for directory in Self.directories {
        var options = Self.options
        options.allowsMissingStores = true
        let part = try DatabaseOpening.open([directory], options, world.environment)
        if part.id != database.id { Issue.record("\(place): \(directory) began a database of its own") }
        try part.close()
      }
    } catch { Issue.record("\(place): \(error)") }
  }

  @Test func `a crash before any file operation loses nothing that was acknowledged`() throws {
    let world = SimulatedEnvironment(seed: 3)
    let stride = TestSize.of(quick: 5, full: 1)
    func watch(_ world: SimulatedEnvironment, _ round: Int) {
      let fileSystem = world.fileSystem
      fileSystem.onOperation { [self] operation in
        guard operation.changesDisk else { return }
        let point = points.withLock { points in
          points += 1
          return points
        }
        guard point % stride == 0 else { return }
        let told = told.withLock { $0 }
        let place = "round \(round), before \(operation)"
        let seed = UInt64(point)
        switch point / stride % 4 {
        case 0: check(fileSystem.processKillClone(), told, isKill: true, "kill, \(place)")
        case 1: check(fileSystem.crashClone(.dropAll), told, isKill: false, "dropAll, \(place)")
        case 2: check(fileSystem.crashClone(.keepAll), told, isKill: false, "keepAll, \(place)")
        default:
          check(fileSystem.crashClone(.random, seed: seed), told, isKill: false, "random, \(place)")
        }
      }
    }
    watch(world, 0)
    try run(world, round: 0)
    watch(world, 1)
    try run(world, round: 1)
    watch(world, 2)
    try run(world, round: 2, closing: false)
    world.fileSystem.onOperation(nil)
    // The process ends here; the next one finds what it left.
    let killed = SimulatedEnvironment(
      seed: 4, fileSystem: world.fileSystem.processKillClone(), time: world.time)
    told.withLock { $0.isClosing = false }
    watch(killed, 3)
    try run(killed, round: 3)
    killed.fileSystem.onOperation(nil)
    #expect(points.withLock { $0 } > 300)
    #expect(told.withLock { $0.synced.count } == 32)
  }
}

extension KeyspaceCore {
  fileprivate func putText(_ key: String, _ value: String) throws {
    _ = try key.withKeyBytes { key throws(DatabaseError) in
      try put(key, Array(value.utf8), context: nil)
    }
  }

  fileprivate func siblings(of key: String) throws -> [Sibling] {
    try key.withKeyBytes { key throws(DatabaseError) in visible(try record(key)) }
  }

  fileprivate func syncText(_ key: String) throws {
    try key.withKeyBytes { key throws(DatabaseError) in try sync(key) }
  }
}
