import RoostEnvironment

/// The nodes of a cluster as one of them knows them: where each member's is, and which are suspected to be
/// down. Thread-safe.
final class NodePeers: @unchecked Sendable {
  struct Entry {
    var node: NodeID
    var address: NodeAddress
    fileprivate var version: UInt64
    /// Whether its record is in the directory no more.
    fileprivate var isGone: Bool
  }

  /// Above it a node is suspected: asked last, and never less an owner.
  private static let suspicion = 8.0

  private let lock = Lock()
  // Guarded by `lock`.
  private var entries: [MemberID: Entry] = [:]
  private var nodes: Set<NodeID> = []
  private var detectors: [NodeID: PhiAccrualDetector] = [:]

  /// Takes the directory's records of nodes over. Of two for one member the later counts: the other is of a
  /// process that has ended.
  ///
  /// A node whose record has gone may be there all the same, and the directory be what fails: it is kept, and
  /// suspected, until its member has another.
  ///
  /// - Returns: where all nodes listen.
  func adopt(_ records: [DirectoryRecord]) -> [NodeID: NodeAddress] {
    var found: [MemberID: Entry] = [:]
    for record in records {
      // One that cannot be read is as good as none: its node is not there.
      guard let raw = UInt64(record.name.dropFirst(ClusterRecordName.nodes.count), radix: 16), raw != 0,
        let node = try? NodeRecord(decoding: record.value)
      else { continue }
      if let known = found[node.member], known.version > record.version { continue }
      found[node.member] = Entry(
        node: NodeID(rawValue: raw), address: node.address, version: record.version, isGone: false)
    }
    return lock.withLock {
      for (member, var entry) in entries where found[member] == nil {
        entry.isGone = true
        found[member] = entry
      }
      return takeOver(found)
    }
  }

  /// Forgets where members are that the cluster does not have any more; one that is there all the same is
  /// heard of as long as its record is.
  ///
  /// - Returns: where all nodes listen.
  func retain(_ isKnown: (MemberID) -> Bool) -> [NodeID: NodeAddress] {
    lock.withLock { takeOver(entries.filter { !$0.value.isGone || isKnown($0.key) }) }
  }

  /// With the lock held.
  private func takeOver(_ found: [MemberID: Entry]) -> [NodeID: NodeAddress] {
    entries = found
    nodes = Set(found.values.map(\.node))
    detectors = detectors.filter { nodes.contains($0.key) }
    return Dictionary(found.values.map { ($0.node, $0.address) }, uniquingKeysWith: { first, _ in first })
  }

  func entry(of member: MemberID) -> Entry? { lock.withLock { entries[member] } }
  func node(of member: MemberID) -> NodeID? { entry(of: member)?.node }

  /// The member that a node has; `nil` of clients, and of processes that have ended.
  func member(of node: NodeID) -> MemberID? {
    lock.withLock { nodes.contains(node) ? entries.first { $0.value.node == node }?.key : nil }
  }

  /// Notes a sign of life; clients, which also give such signs, are passed over.
  func heard(_ node: NodeID, at nanoseconds: UInt64) {
    lock.withLock {
      guard nodes.contains(node) else { return }
      detectors[node, default: PhiAccrualDetector()].heartbeat(at: nanoseconds)
    }
  }

  /// Whether a member is likely to be down: nobody says where it is, or it has been silent for long.
  func isSuspected(_ member: MemberID, at nanoseconds: UInt64) -> Bool {
    lock.withLock {
      guard let entry = entries[member], !entry.isGone else { return true }
      guard let phi = detectors[entry.node]?.phi(at: nanoseconds) else { return false }
      return phi > Self.suspicion
    }
  }
}
