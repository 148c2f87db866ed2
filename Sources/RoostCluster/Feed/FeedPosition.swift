// What a change token seals:
//
//   payload := keyspace u64 | next varint | count varint | tenure* | partitions varint
//            | owners: run* | numbers: run* | end
//   tenure  := member u64 | tenancy varint
//   run     := length varint (at least 1) | value varint
//   end     := nothing, or bound varint (at least 1)
//            | 0 varint | beginnings: run* | bound varint, or 0
//
// `keyspace` is what contexts and tokens of the keyspace are bound to. The owners' runs give for each
// partition 0 where it has not been begun, else the place of its tenure in the list, counted from 1;
// their lengths add up to the partitions. The numbers' runs give the change number up to which each
// partition that was begun has been read. Tenures ascend, and each is used; runs that follow each
// other differ. The bound is that of a reading that ends at a change number, as an export does, and has
// not got there yet. The beginnings' runs, where any is not 0, give `Place.began` of each partition that
// was begun: 0, or more than its number. Fixed integers are little-endian. So a reader that is at the end
// everywhere has one run of numbers.

/// How far a reader has come in each partition of a keyspace's feed.
package struct FeedPosition: Hashable, Sendable {
  /// Where a partition's changes were read: a feed's numbers mean something only within one.
  package struct Tenure: Hashable, Comparable, Sendable {
    package var member: MemberID
    /// The ring's epoch at which the partition came to the member.
    package var tenancy: UInt64

    package init(member: MemberID, tenancy: UInt64) {
      self.member = member
      self.tenancy = tenancy
    }

    package static func < (a: Tenure, b: Tenure) -> Bool {
      (a.member, a.tenancy) < (b.member, b.tenancy)
    }
  }

  package struct Place: Hashable, Sendable {
    /// `nil` where nothing has been read.
    package var tenure: Tenure?
    /// All changes up to this number have been read.
    package var number: UInt64 = 0 {
      didSet { if number >= began { began = 0 } }
    }
    /// Where the partition is being told from its beginning, by a store that had reaped something of it: up
    /// to where all was in the store when that began, as long as ``number`` has not come so far. Of a key
    /// that was deleted by then this reader was told nothing. Else 0.
    package private(set) var began: UInt64 = 0

    /// - Parameter began: without meaning where `number` has come so far.
    package init(tenure: Tenure? = nil, number: UInt64 = 0, began: UInt64 = 0) {
      self.tenure = tenure
      self.number = number
      self.began = number < began ? began : 0
    }
  }

  /// By partition.
  package var places: [Place]
  /// The partition to go on with.
  package var next = 0

  /// Before all changes.
  package init(partitionCount: Int) {
    places = [Place](repeating: Place(), count: partitionCount)
  }
}

extension FeedPosition {
  static let partitionLimit = 32_768

  package func encoded(_ keyspace: UInt64, until bound: UInt64? = nil) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(fixed: keyspace)
    writer.write(count: next)
    let tenures = Set(places.compactMap(\.tenure)).sorted()
    var ordinals: [Tenure: UInt64] = [:]
    writer.write(count: tenures.count)
    for (index, tenure) in tenures.enumerated() {
      ordinals[tenure] = UInt64(index) + 1
      writer.write(fixed: tenure.member.rawValue)
      writer.write(varint: tenure.tenancy)
    }
    writer.write(count: places.count)
    Self.writeRuns(places.lazy.map { $0.tenure.map { ordinals[$0]! } ?? 0 }, &writer)
    Self.writeRuns(places.lazy.filter { $0.tenure != nil }.map(\.number), &writer)
    if places.contains(where: { $0.tenure != nil && $0.began > 0 }) {
      writer.write(varint: 0)
      Self.writeRuns(places.lazy.filter { $0.tenure != nil }.map(\.began), &writer)
      writer.write(varint: bound.map { max(1, $0) } ?? 0)
    } else if let bound {
      writer.write(varint: max(1, bound))
    }
    return writer.bytes
  }

  private static func writeRuns(_ values: some Sequence<UInt64>, _ writer: inout FieldWriter) {
    var current: UInt64?
    var length = 0
    func flush() {
      guard let current else { return }
      writer.write(count: length)
      writer.write(varint: current)
    }
    for value in values {
      if value != current {
        flush()
        current = value
        length = 0
      }
      length += 1
    }
    flush()
  }

  /// - Throws: `.damagedToken` for what ``encoded(_:)`` does not give.
  /// - Complexity: O(bytes + partitions), of which there are at most 32,768.
  package static func decode(
    _ bytes: [UInt8]
  ) throws(DatabaseError) -> (keyspace: UInt64, FeedPosition, until: UInt64?) {
    var reader = FieldReader(bytes, "a change token", .damagedToken)
    let keyspace = try reader.readFixed()
    let next = try reader.readVarint()
    var tenures: [Tenure] = []
    for _ in 0..<(try reader.readCount(of: 9)) {
      let tenure = Tenure(
        member: MemberID(rawValue: try reader.readFixed()), tenancy: try reader.readVarint())
      if let last = tenures.last, last >= tenure { throw reader.damaged("tenures are out of order") }
      tenures.append(tenure)
    }
    let count = try reader.readVarint()
    guard count >= 1, count <= UInt64(partitionLimit), next < count else {
      throw reader.damaged("\(count) partitions, to go on with \(next)")
    }
    var position = FeedPosition(partitionCount: Int(count))
    position.next = Int(next)
    var begun: [Int] = []
    var used = Set<Int>()
    for (partition, owner) in try readRuns(&reader, of: Int(count)).enumerated() where owner != 0 {
      guard owner <= UInt64(tenures.count) else { throw reader.damaged("tenure \(owner)") }
      used.insert(Int(owner))
      position.places[partition].tenure = tenures[Int(owner) - 1]
      begun.append(partition)
    }
    guard used.count == tenures.count else { throw reader.damaged("a tenure of no partition") }
    for (partition, number) in zip(begun, try readRuns(&reader, of: begun.count)) {
      position.places[partition].number = number
    }
    if reader.remaining == 0 { return (keyspace, position, nil) }
    var bound = try reader.readVarint()
    if bound == 0 {
      try position.readBeginnings(&reader, of: begun)
      bound = try reader.readVarint()
    }
    try reader.readEnd()
    return (keyspace, position, bound == 0 ? nil : bound)
  }

  private mutating func readBeginnings(
    _ reader: inout FieldReader, of begun: [Int]
  ) throws(DatabaseError) {
    let values = try Self.readRuns(&reader, of: begun.count)
    guard values.contains(where: { $0 > 0 }) else { throw reader.damaged("no partition is being begun") }
    for (partition, began) in zip(begun, values) {
      let place = places[partition]
      guard began == 0 || began > place.number else {
        throw reader.damaged("a beginning at \(began), which was read already")
      }
      places[partition] = Place(tenure: place.tenure, number: place.number, began: began)
    }
  }

  private static func readRuns(
    _ reader: inout FieldReader, of count: Int
  ) throws(DatabaseError) -> [UInt64] {
    var values: [UInt64] = []
    while values.count < count {
      let length = try reader.readVarint()
      let value = try reader.readVarint()
      guard length >= 1, length <= UInt64(count - values.count) else {
        throw reader.damaged("a run of \(length)")
      }
      guard value != values.last else { throw reader.damaged("a run goes on as another") }
      values += repeatElement(value, count: Int(length))
    }
    return values
  }
}
