/// A store as the ring knows it. A value.
///
/// Two are equal where all four parts are, text compared byte for byte, so that equal rings have
/// equal encodings.
public struct RingMember: Hashable, Sendable, CustomStringConvertible {
  public let id: MemberID
  /// What people call it: the last component of its directory, say. At most 255 bytes of UTF-8.
  public var name: String
  /// How much it takes compared with others, 1 to 1000: a member of weight 2 holds twice the
  /// partitions of one of weight 1.
  public var weight: Int
  /// What fails together with it: a disk shelf, a host, a room. Replicas of a partition are kept in
  /// distinct zones where that is possible. At most 255 bytes of UTF-8; empty says nothing, and then
  /// the member counts as a zone of its own.
  public var zone: String

  /// The weights that a ring takes.
  public static let weights = 1...1000
  /// Bytes of UTF-8 of the longest name and zone.
  public static let maximumTextBytes = 255

  public init(id: MemberID, name: String, weight: Int = 1, zone: String = "") {
    self.id = id
    self.name = name
    self.weight = weight
    self.zone = zone
  }

  public static func == (a: RingMember, b: RingMember) -> Bool {
    a.id == b.id && a.weight == b.weight && a.name.utf8.elementsEqual(b.name.utf8)
      && a.zone.utf8.elementsEqual(b.zone.utf8)
  }

  public func hash(into hasher: inout Hasher) { hasher.combine(id) }

  public var description: String {
    "\(name) (weight \(weight)" + (zone.isEmpty ? ")" : ", zone \(zone))")
  }
}

/// One replica of one partition goes from one member to another.
///
/// Whoever carries it out copies the partition to `to` while `from` goes on serving it, then applies
/// it to the ring. Moves of one partition are carried out one after the other, in the plan's order.
public struct PartitionMove: Hashable, Sendable {
  public let partition: Int
  /// The place in the partition's preference list; 0 is the coordinator's.
  public let slot: Int
  public let from: MemberID
  public let to: MemberID

  public init(partition: Int, slot: Int, from: MemberID, to: MemberID) {
    self.partition = partition
    self.slot = slot
    self.from = from
    self.to = to
  }
}
