// A ring in bytes:
//
//   ring   := version u8 (1) | partition count varint | replicas varint | epoch varint |
//             member count varint | member* | slot*
//   member := id u64 | state u8 (0 stays, 1 leaves) | weight varint |
//             name lengthPrefixed | zone lengthPrefixed
//   slot   := place of a member in the list above, varint
//
// Members stand by rising id, slots partition by partition, `replicas` each. Integers are
// little-endian, varints as short as they can be, texts UTF-8. So each ring has one encoding, and a
// decoder refuses every other.

extension Ring {
  /// The version of the encoding that this writes, and the highest that it reads.
  public static let formatVersion: UInt8 = 1

  /// The ring in bytes. Equal rings have equal bytes. O(members + slots).
  public func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32 + members.count * 32 + slots.count * 2)
    bytes.append(Self.formatVersion)
    bytes.append(varint: UInt64(partitionCount))
    bytes.append(varint: UInt64(replicas))
    bytes.append(varint: epoch)
    bytes.append(varint: UInt64(members.count))
    for (member, leaves) in zip(members, isLeaving) {
      for shift in stride(from: 0, to: 64, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: member.id.rawValue >> UInt64(shift)))
      }
      bytes.append(leaves ? 1 : 0)
      bytes.append(varint: UInt64(member.weight))
      bytes.append(lengthPrefixed: member.name)
      bytes.append(lengthPrefixed: member.zone)
    }
    for slot in slots { bytes.append(varint: UInt64(slot)) }
    return bytes
  }

  /// The ring that `bytes` encode.
  ///
  /// - Throws: ``RingError`` with code `.newerFormat`; `.damaged` where the bytes are not exactly what
  ///   ``encoded()`` gives for some ring (names the offset). Nothing else, whatever the bytes; and no
  ///   more memory is taken than a small multiple of them.
  /// - Complexity: O(bytes).
  public init(decoding bytes: [UInt8]) throws(RingError) {
    var reader = RingReader(bytes)
    let version = try reader.byte("format version")
    guard version <= Self.formatVersion else {
      throw RingError(
        .newerFormat, "a ring of format \(version); this version of Roost reads up to 1", offset: 0)
    }
    guard version == 1 else { throw reader.damaged("format version 0", at: 0) }
    let partitionCount = try reader.integer("number of partitions", in: Ring.partitionCounts)
    let replicas = try reader.integer("number of replicas", in: Ring.replicaCounts)
    let epoch = try reader.varint("epoch")
    guard epoch <= Ring.maximumEpoch else { throw reader.damaged("an epoch above 2^62") }
    let memberCount = try reader.integer("number of members", in: replicas...Ring.maximumMembers)

    var members: [RingMember] = []
    var isLeaving: [Bool] = []
    for _ in 0..<memberCount {
      let (member, leaves) = try reader.member()
      if let last = members.last, last.id >= member.id {
        throw reader.damaged("members that are not in order")
      }
      members.append(member)
      isLeaving.append(leaves)
    }
    guard isLeaving.count(where: { !$0 }) >= replicas else {
      throw reader.damaged("fewer members that stay than replicas")
    }

    // A slot takes at least a byte.
    guard reader.remaining >= partitionCount * replicas else {
      throw reader.damaged("\(partitionCount * replicas) slots in \(reader.remaining) bytes")
    }
    var slots: [UInt16] = []
    slots.reserveCapacity(partitionCount * replicas)
    for _ in 0..<partitionCount {
      let first = slots.count
      for _ in 0..<replicas {
        let slot = UInt16(try reader.integer("member of a slot", in: 0...memberCount - 1))
        guard !slots[first...].contains(slot) else {
          throw reader.damaged("one member twice in a partition")
        }
        slots.append(slot)
      }
    }
    guard reader.remaining == 0 else { throw reader.damaged("bytes behind the last slot") }
    var holds = Array(repeating: false, count: memberCount)
    for slot in slots { holds[Int(slot)] = true }
    guard !zip(isLeaving, holds).contains(where: { $0 && !$1 }) else {
      throw reader.damaged("a leaving member that holds nothing")
    }
    self.init(
      partitionCount: partitionCount, replicas: replicas, epoch: epoch, members: members,
      isLeaving: isLeaving, slots: slots)
  }
}

/// Reads a ring's parts off the front of bytes that may be anything.
private struct RingReader {
  private let bytes: [UInt8]
  private var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var remaining: Int { bytes.count - offset }

  func damaged(_ what: String, at place: Int? = nil) -> RingError {
    RingError(.damaged, "the ring has \(what)", offset: place ?? offset)
  }

  func cut(_ what: String) -> RingError {
    RingError(.damaged, "the ring ends within its \(what)", offset: offset)
  }

  mutating func byte(_ what: String) throws(RingError) -> UInt8 {
    guard remaining >= 1 else { throw cut(what) }
    defer { offset += 1 }
    return bytes[offset]
  }

  /// A varint of the least possible length.
  mutating func varint(_ what: String) throws(RingError) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte(what)
      if shift == 63, byte > 1 { throw damaged("a \(what) above 2^64", at: start) }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 {
        if byte == 0, shift > 0 { throw damaged("a \(what) with bytes to spare", at: start) }
        return value
      }
      shift += 7
    }
  }

  mutating func integer(_ what: String, in range: ClosedRange<Int>) throws(RingError) -> Int {
    let start = offset
    let value = try varint(what)
    guard let number = Int(exactly: value), range.contains(number) else {
      throw damaged("\(value) as its \(what)", at: start)
    }
    return number
  }

  mutating func text(_ what: String) throws(RingError) -> String {
    let count = try integer("length of a \(what)", in: 0...RingMember.maximumTextBytes)
    guard count <= remaining else { throw cut(what) }
    guard let text = String(validating: bytes[offset..<offset + count], as: UTF8.self) else {
      throw damaged("a \(what) that is not UTF-8")
    }
    offset += count
    return text
  }

  mutating func member() throws(RingError) -> (RingMember, leaves: Bool) {
    var id: UInt64 = 0
    for shift in stride(from: 0, to: 64, by: 8) { id |= UInt64(try byte("member")) << UInt64(shift) }
    let state = try byte("member")
    guard state <= 1 else { throw damaged("a member of state \(state)", at: offset - 1) }
    let weight = try integer("weight", in: RingMember.weights)
    let name = try text("name")
    let zone = try text("zone")
    return (RingMember(id: MemberID(rawValue: id), name: name, weight: weight, zone: zone), state == 1)
  }
}

extension [UInt8] {
  fileprivate mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }

  fileprivate mutating func append(lengthPrefixed text: String) {
    append(varint: UInt64(text.utf8.count))
    append(contentsOf: text.utf8)
  }
}
