import RoostCausality
import RoostEnvironment

//   `reaping/MEMBER` := version u8 (1) | before u64, a timestamp
//
// in the cluster's directory, written by the member's node alone: what its store held up to then may have
// been reaped. It is there before the node agrees to any reaping, and a store that shows no sign of life
// after that time has gone back to before it: it may hold values whose tombstones no replica has any more.
//
// The sign of life is the store's own record of its clock, which every node that runs raises, and which the
// log keeps in one order with its writes. A store that was merely down keeps its last one, and what it agreed
// to lies a horizon before that: so however long it was away, it is let in.

/// What a node has told the directory of its reaping. Thread-safe.
final class ReapingEvidence: @unchecked Sendable {
  /// What the members' records begin with.
  static let names = "reaping/"

  static func name(_ member: MemberID) -> String {
    names + NodeID(rawValue: member.rawValue).description
  }

  private let lock = Lock()
  // Guarded by `lock`, which is held while the directory is written.
  private var known = Timestamp.zero

  /// Sees to it that the directory has what is about to be agreed to.
  ///
  /// - Parameters:
  ///   - before: the time of the youngest record that may go.
  ///   - rule: the record is written ahead, so that this happens eight times in a horizon.
  /// - Throws: `.busy` where somebody else wrote it meanwhile, what the directory throws.
  func cover(
    _ before: Timestamp, _ rule: ReapingRule, _ member: MemberID, _ directory: any ClusterDirectory
  ) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in
      if before <= known { return }
      let name = Self.name(member)
      let old = try directory.record(name)
      if let old { known = max(known, try Self.decode(old.value)) }
      if before <= known { return }
      let next = Timestamp(milliseconds: before.milliseconds + rule.horizon / 8)
      let version = try directory.compareAndSet(
        name, version: old?.version ?? 0, Self.encode(next), lease: nil)
      guard version != nil else {
        throw DatabaseError(.busy, "the directory's record `\(name)` was changed by somebody else")
      }
      known = next
    }
  }

  static func encode(_ before: Timestamp) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(fixed: before.rawValue)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> Timestamp {
    var reader = FieldReader(bytes, "a member's record of what it has reaped, in the cluster's directory")
    _ = try reader.readVersion(upTo: 1)
    let before = Timestamp(rawValue: try reader.readFixed())
    try reader.readEnd()
    return before
  }

  /// Refuses a store that has gone back to before it held what was reaped.
  ///
  /// - Parameter lastLife: the store's record of its clock, as it was found.
  /// - Throws: `.notAMember`, what the directory throws.
  static func check(
    _ member: MemberID, at path: String, lastLife: Timestamp, _ directory: any ClusterDirectory,
    slack: UInt64
  ) throws(DatabaseError) {
    guard let record = try directory.record(name(member)) else { return }
    let before = try decode(record.value)
    guard lastLife.milliseconds < before.milliseconds + slack else { return }
    throw DatabaseError(
      .notAMember,
      "the store in \(path) has gone back in time (a restored backup, an older disk): it was last in use at "
        + "\(lastLife.milliseconds) ms, and since then the cluster has dropped deletes from up to "
        + "\(before.milliseconds) ms for good, so that keys which it may still have would come back. Replace "
        + "the member by an empty store")
  }
}
