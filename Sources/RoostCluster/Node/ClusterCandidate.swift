/// A store that asks to become a member of a cluster, as the directory has it for as long as its node waits.
/// A plain value.
///
///   candidates := version u8 (1) | count varint | candidate*
///   candidate  := member u64 | name lengthPrefixed | zone lengthPrefixed | weight varint
public struct ClusterCandidate: Hashable, Sendable {
  /// The number of its store, by which it is admitted.
  public var id: MemberID
  /// Where its node listened when it registered, `host:port`.
  public var name: String
  /// What it says of itself: what fails together with it, empty where it says nothing.
  public var zone: String
  /// Its share of the partitions beside the others', 1 to 1000, unless it is admitted with another.
  public var weight: Int

  package init(id: MemberID, name: String, zone: String, weight: Int) {
    self.id = id
    self.name = name
    self.zone = zone
    self.weight = weight
  }

  package static func encode(_ candidates: [ClusterCandidate]) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(count: candidates.count)
    for candidate in candidates {
      writer.write(fixed: candidate.id.rawValue)
      writer.write(text: candidate.name)
      writer.write(text: candidate.zone)
      writer.write(count: candidate.weight)
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> [ClusterCandidate] {
    var reader = FieldReader(bytes, "a list of candidates")
    _ = try reader.readVersion(upTo: 1)
    var candidates: [ClusterCandidate] = []
    for _ in 0..<(try reader.readCount(of: 11)) {
      candidates.append(
        ClusterCandidate(
          id: MemberID(rawValue: try reader.readFixed()), name: try reader.readText(),
          zone: try reader.readText(), weight: Int(try reader.readOrdinal())))
    }
    try reader.readEnd()
    return candidates
  }
}

extension ClusterNode {
  /// Who asks to join, by rising number.
  ///
  /// - Throws: what the directory throws; `.closed`, `.notAMember` where this node is none any more.
  package func askingToJoin() throws(DatabaseError) -> [ClusterCandidate] {
    try checkServing()
    return try candidates().map {
      ClusterCandidate(id: $0.member, name: $0.name, zone: $0.zone, weight: $0.weight)
    }.sorted { $0.id < $1.id }
  }

  /// Waits until no change of the members is under way, as far as this node knows, on the calling thread.
  ///
  /// - Throws: `.deadlineExceeded` (says what is left and what this node waits for; the moves go on),
  ///   `.closed`, `.notAMember` where the cluster has no place for this node any more, `.unreachable` where
  ///   another process has its store.
  package func waitUntilSettled(_ timeout: Duration) throws(DatabaseError) {
    let deadline = now &+ min(max(timeout, .zero), .seconds(1 << 33)).wholeNanoseconds
    while true {
      try checkServing()
      let progress = changeProgress
      if !progress.isUnderWay { return }
      guard now < deadline else {
        let reason = progress.waitsFor.isEmpty ? "" : "; it waits because: \(progress.waitsFor)"
        throw DatabaseError(
          .deadlineExceeded,
          "after \(timeout) \(progress.movesLeft) moves and \(progress.dropsLeft) drops are left\(reason)")
      }
      // Nobody says that the ring was changed: it is looked at ten times a second. Closing is said.
      let look = min(deadline, now &+ 100_000_000)
      lock.withLock {
        if !isClosed { _ = environment.time.wait(on: peersChanged, untilMonotonicNanoseconds: look) }
      }
    }
  }
}
