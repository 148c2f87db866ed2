/// What the members of a cluster are on their way to, as the directory's record `database` has it beside the
/// ring: that names who stays and who leaves. A plain value.
struct MembershipChange: Hashable, Sendable {
  /// The revision of the ring state that began it.
  var number: UInt64
  /// Members whose stores are gone for good: nothing is copied from them, and nobody waits for them.
  var dead: [MemberID] = []
  /// Whether partitions may move of which so many replicas are dead that acknowledged writes may be lost. All
  /// that are not dead take part all the same.
  var isForced = false
  /// Whether no more moves are begun.
  var isCancelled = false

  init(number: UInt64) { self.number = number }

  func write(to writer: inout FieldWriter) {
    writer.write(varint: number)
    writer.write(byte: (isForced ? 1 : 0) | (isCancelled ? 2 : 0))
    writer.write(count: dead.count)
    for member in dead { writer.write(fixed: member.rawValue) }
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    number = try reader.readOrdinal()
    let flags = try reader.readByte()
    guard flags < 4 else { throw reader.damaged("flags of \(flags)") }
    isForced = flags & 1 != 0
    isCancelled = flags & 2 != 0
    for _ in 0..<(try reader.readCount(of: 8)) { dead.append(MemberID(rawValue: try reader.readFixed())) }
  }
}

/// How an operator changes who the members of a cluster are, or cancels such a change.
///
///   request := version u8 (1) | flags u8 (bit 0 forced, bit 1 cancels) | count varint | change*
///   change  := kind u8 | member u64 | rest
///   rest    := of admit (1): weight varint (0: as the candidate says) | has zone u8 | zone lengthPrefixed,
///              where it has one
///            | of remove (2): is dead u8
///            | of weigh (3): weight varint
///            | of replace (4): candidate u64 | is dead u8
package struct MembersRequest: Hashable, Sendable {
  package enum Change: Hashable, Sendable {
    /// A candidate becomes a member. Weight and zone: as it says itself, where they are `nil`.
    case admit(MemberID, weight: Int?, zone: String?)
    /// A member gives all its partitions away and goes; a dead one's are brought by the other replicas.
    case remove(MemberID, isDead: Bool)
    /// 1 to 1000.
    case weigh(MemberID, Int)
    /// A candidate takes a member's place, with its weight.
    case replace(MemberID, by: MemberID, isDead: Bool)
  }

  /// At most 64; none where it cancels.
  package var changes: [Change]
  /// Whether partitions of dead members may move though too few replicas are left to tell what was
  /// acknowledged; and whether a member may be called dead that seems to be there.
  package var isForced: Bool
  /// Ends the change under way: moves that have begun are given up, those that are done stay so.
  package var cancels: Bool

  static let mostChanges = 64

  package init(_ changes: [Change], isForced: Bool = false) {
    self.changes = changes
    self.isForced = isForced
    cancels = false
  }

  /// The request that ends the change under way.
  package static var cancel: MembersRequest {
    var request = MembersRequest([])
    request.cancels = true
    return request
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: (isForced ? 1 : 0) | (cancels ? 2 : 0))
    writer.write(count: changes.count)
    for change in changes {
      switch change {
      case .admit(let member, let weight, let zone):
        writer.write(byte: 1)
        writer.write(fixed: member.rawValue)
        writer.write(varint: UInt64(max(0, weight ?? 0)))
        writer.write(byte: zone == nil ? 0 : 1)
        if let zone { writer.write(text: zone) }
      case .remove(let member, let isDead):
        writer.write(byte: 2)
        writer.write(fixed: member.rawValue)
        writer.write(byte: isDead ? 1 : 0)
      case .weigh(let member, let weight):
        writer.write(byte: 3)
        writer.write(fixed: member.rawValue)
        writer.write(varint: UInt64(max(0, weight)))
      case .replace(let member, let candidate, let isDead):
        writer.write(byte: 4)
        writer.write(fixed: member.rawValue)
        writer.write(fixed: candidate.rawValue)
        writer.write(byte: isDead ? 1 : 0)
      }
    }
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request to change members", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    let flags = try reader.readByte()
    guard flags < 4 else { throw reader.damaged("flags of \(flags)") }
    isForced = flags & 1 != 0
    cancels = flags & 2 != 0
    changes = []
    for _ in 0..<(try reader.readCount(of: 10)) {
      let kind = try reader.readByte()
      let member = MemberID(rawValue: try reader.readFixed())
      switch kind {
      case 1:
        let weight = Int(try reader.readOrdinal())
        let zone: String? = try reader.readFlag() ? try reader.readText() : nil
        changes.append(.admit(member, weight: weight == 0 ? nil : weight, zone: zone))
      case 2: changes.append(.remove(member, isDead: try reader.readFlag()))
      case 3: changes.append(.weigh(member, Int(try reader.readOrdinal())))
      case 4:
        let candidate = MemberID(rawValue: try reader.readFixed())
        changes.append(.replace(member, by: candidate, isDead: try reader.readFlag()))
      default: throw reader.damaged("a change of kind \(kind)")
      }
    }
    try reader.readEnd()
  }
}
