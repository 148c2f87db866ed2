import Roost
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostCluster

/// Which stores an open finds by itself, and that it leaves alone what is not of its database: also
/// the original of a copy.
// Budget: 2 s
@Suite struct KnownStoresTests {
  private let world = SimulatedEnvironment()

  private func open(
    _ paths: [String], _ change: (inout DatabaseOptions) -> Void = { $0.opensKnownStores = true }
  ) throws -> SynchronousDatabase { try SynchronousDatabase(world, at: paths, .eventual, change) }

  /// A closed database of two stores, with 20 keys.
  private func make() throws {
    let database = try open(["/data/a", "/data/b"])
    for number in 0..<20 { try database.put("k\(number)", "v") }
    try database.core.close()
  }

  private func copy(_ names: [String], to folder: String) throws {
    for name in names { try copyDirectory("/data/\(name)", "\(folder)/\(name)", world.fileSystem) }
  }

  private func contents(_ folder: String) throws -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for store in ["a", "b"] {
      let directory = FilePath("\(folder)/\(store)")
      for name in try world.fileSystem.entries(of: directory) {
        found["\(store)/\(name)"] = try world.fileSystem.readWhole(directory.appending(name))
      }
    }
    return found
  }

  @Test func `a copy finds the stores beside it, and its original is left alone`() throws {
    try make()
    try copy(["a", "b"], to: "/copy")
    let before = try contents("/data")
    for path in ["/copy/a", "/copy/b"] {
      let database = try open([path])
      #expect(database.core.presentMembers.map(\.path).sorted() == ["/copy/a", "/copy/b"])
      for number in 0..<20 { try database.put("k\(number)", "changed") }
      try database.core.close()
      #expect(try contents("/data") == before)
    }
    // Where it was, it still finds the others.
    let database = try open(["/data/b"])
    #expect(database.core.presentMembers.map(\.path).sorted() == ["/data/a", "/data/b"])
    #expect(try database.values("k1") == ["v"])
  }

  @Test func `a copy of one store alone does not take the original's others`() throws {
    try make()
    try copy(["a"], to: "/copy")
    let before = try contents("/data")
    #expect(thrownCode { _ = try open(["/copy/a"]) } == .missingStore)
    #expect(try contents("/data") == before)
    // Once it was in use alone, its records say that it is at home where it is.
    let alone = try open(["/copy/a"]) { $0.allowsMissingStores = true }
    try alone.core.close()
    #expect(thrownCode { _ = try open(["/copy/a"]) } == .missingStore)
    let database = try open(["/data/a"])
    #expect(try database.values("k1") == ["v"])
  }

  /// Opening replaces a store's marker: where nothing comes of it, the next open must not take that
  /// for a kill.
  @Test func `an open that fails costs no store its incarnation`() throws {
    try make()
    func replicas() throws -> [ReplicaID] {
      let database = try open(["/data/a", "/data/b"])
      let found = database.core.presentMembers.map(\.replica)
      try database.core.close()
      return found
    }
    let before = try replicas()
    #expect(thrownCode { _ = try open(["/data/a"]) { _ in } } == .missingStore)
    #expect(thrownCode { _ = try open(["/data/b"]) { $0.replicas = 1 } } == .missingStore)
    #expect(try replicas() == before)
    // Nor does a database that refuses it as a new store.
    let other = try open(["/other/a"])
    #expect(thrownCode { _ = try other.core.addStore("/data/b", weight: 100, zone: "") } == .foreignStore)
    try other.core.close()
    #expect(try replicas() == before)
  }

  @Test func `an open that fails makes no clean close of a kill`() throws {
    try make()
    let database = try open(["/data/a", "/data/b"])
    let before = database.core.presentMembers.map(\.replica)
    let killed = SimulatedEnvironment(seed: 2, fileSystem: world.fileSystem.processKillClone())
    #expect(thrownCode { _ = try SynchronousDatabase(killed, at: ["/data/a"]) } == .missingStore)
    let after = try SynchronousDatabase(killed, at: ["/data/a", "/data/b"])
    #expect(Set(after.core.presentMembers.map(\.replica)).isDisjoint(with: before))
  }
}
