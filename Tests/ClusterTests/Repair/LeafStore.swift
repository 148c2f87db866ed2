import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// One store of a cluster of two nodes, without its node and without the other one.
struct LeafStore {
  let core: DatabaseCore
  let keyspace: KeyspaceCore

  var member: Member { core.presentMembers[0] }
  var part: KeyspacePart { keyspace.parts[member.slot]! }
  var leaves: KeptLeaves { part.leaves! }

  static let partitions = 4

  /// - Parameter partitions: of a new store.
  init(
    _ environment: Environment, at path: String = "/disk/db", partitions: Int = Self.partitions,
    warn: @escaping @Sendable (String) -> Void = { _ in }
  ) throws {
    var options = NodeWorld.options
    options.warn = warn
    let store = try FoundingStore(path, options, environment)
    let ring = try Ring(
      partitionCount: partitions, replicas: 2,
      members: [
        RingMember(id: store.member, name: "here"),
        RingMember(id: MemberID(rawValue: 99), name: "there"),
      ])
    core = try store.complete(
      store.database, RingState(ring: ring, places: [store.member: path]),
      [Schema.Keyspace(id: 1, name: "k", kind: .keep, replicas: 2, indexes: [])])
    keyspace = try core.keyspace("k", nil)
  }

  func put(_ key: String, _ value: String, context: CausalContext? = nil) throws {
    _ = try unsafe keyspace.put(Array(key.utf8).span.bytes, Array(value.utf8), context: context)
  }

  func change(_ key: String, _ kind: StateChange.Kind) throws {
    _ = try unsafe keyspace.apply(StateChange(kind), to: Array(key.utf8).span.bytes)
  }

  /// The tree as a comparison by kept leaves takes it.
  @discardableResult
  func compared(_ partition: Int, seed: UInt64? = nil) throws -> MadeTree {
    try keyspace.comparedTree(of: partition, on: member, seed: seed ?? keyspace.leafSeed) { false }
  }

  /// Makes the leaves of all partitions.
  func makeAll() throws { for partition in 0..<core.ring.partitionCount { try compared(partition) } }

  /// Puts a leaf of the key's partition off by a key that is not there.
  func spoil(_ key: String) throws {
    let bytes = Array(key.utf8)
    let partition = try keyspace.partition(of: bytes)
    let leaf = unsafe RecordHasher(seed: leaves.seed).leaf(of: bytes.span.bytes)
    var value = try leaves.read(partition).tree[leaf]
    value.add(TreeLeaf(hash: 0x1234, keys: 1))
    try leaves.tree.put(LeafKey.leaf(leaf, partition: partition).bytes, value.encoded())
  }

  /// Holds kept leaves against the records.
  ///
  /// - Returns: of how many partitions there are whole ones.
  @discardableResult
  func check(_ comment: @autoclosure () -> String) throws -> Int {
    try Self.check(keyspace, member, comment())
  }

  static func check(
    _ keyspace: KeyspaceCore, _ member: Member, _ comment: @autoclosure () -> String
  ) throws -> Int {
    let leaves = try #require(keyspace.parts[member.slot]?.leaves)
    var whole = 0
    for partition in 0..<keyspace.shared.routes.partitionCount {
      let kept = try leaves.read(partition)
      guard kept.isWhole else { continue }
      whole += 1
      let records = try keyspace.hashTree(of: partition, on: member, seed: leaves.seed) { false }
      let wrong = records.difference(from: kept.tree).map(\.leaf)
      try #require(wrong == [], "\(comment()): leaves of partition \(partition)")
    }
    return whole
  }
}
