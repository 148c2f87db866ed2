import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// What `roost dump` makes of the leaves that a node of a cluster keeps.
// Budget: 2 s
@Suite struct LeafDumpTests {
  @Test func `dump explains the leaves of hash trees`() throws {
    let roost = try Roost()
    let path = roost.path("node")
    let store = try FoundingStore(path, DatabaseOptions(), .posix())
    let ring = try Ring(
      partitionCount: 4, replicas: 2,
      members: [
        RingMember(id: store.member, name: "here"), RingMember(id: MemberID(rawValue: 99), name: "there"),
      ])
    let core = try store.complete(
      store.database, RingState(ring: ring, places: [store.member: path]),
      [Schema.Keyspace(id: 1, name: "notes", kind: .keep, replicas: 2, indexes: [])])
    let keyspace = try core.keyspace("notes", nil)
    let key = Array("ada".utf8)
    _ = try unsafe keyspace.put(key.span.bytes, [1], context: nil)
    let partition = try keyspace.partition(of: key)
    let leaf = unsafe RecordHasher(seed: keyspace.leafSeed).leaf(of: key.span.bytes)
    let member = core.presentMembers[0]
    _ = try keyspace.comparedTree(of: partition, on: member, seed: keyspace.leafSeed) { false }
    try core.close()
    let text = try roost.run("dump", path, "--entries").text
    for words in ["partition \(partition) leaf \(leaf)", "of 1 keys", "leaves are whole", "seed "] {
      #expect(text.contains(words), "\(words) in \(text)")
    }
    let json = try roost.run("dump", path, "--entries", "--json").text
    #expect(json.contains("\"leaf\":\(leaf)") && json.contains("\"seed\":\(keyspace.leafSeed)"), "\(json)")
  }
}
