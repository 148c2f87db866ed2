// What a node asks replicas for when it reads many keys at once, a page of each one's own:
//
//   request    := version u8 (1) | head (`MessageHead`) | index
//               | order u8 (0 ascending, 1 descending) | lower lengthPrefixed | bound (upper) | bound (tag)
//               | entries varint | bytes varint | partitions
//   index      := 0 u8, of records; or 1 u8 | name lengthPrefixed | version varint, of an index's entries
//   bound      := 0 u8, or 1 u8 | bytes lengthPrefixed
//   partitions := run count varint | (gap varint | length varint, at least 1)*
//   answer     := version u8 (1) | is end u8 | through lengthPrefixed (empty at the end) | count varint
//               | (key lengthPrefixed | record lengthPrefixed)*
//
// A run is a gap behind the run before it, or behind nothing, and so many partitions. An index's entries,
// which are term and key, stand in the place of keys, with records of no bytes.

/// Asks a replica for the next records of some of its partitions, in the order of their keys, or for the next
/// entries of an index. A plain value.
struct PageRequest: Equatable, Sendable {
  /// An index as a program has declared it.
  struct IndexName: Equatable, Sendable {
    var name: String
    var version: UInt64
  }

  /// By the lists of the partitions.
  var head: MessageHead
  /// Whose entries are asked for; `nil` for records.
  var index: IndexName?
  var order: ScanOrder
  /// Inclusive.
  var lower: [UInt8]
  /// Exclusive; `nil` for no bound.
  var upper: [UInt8]?
  /// Only keys of this tag; `nil` for any or none.
  var tag: [UInt8]?
  /// Most records.
  var entryLimit: Int
  /// Most bytes of keys and records, unless one alone has more.
  var byteLimit: Int
  /// Ascending.
  var partitions: [Int]

  /// The most that a replica looks at for one page, whatever it is asked.
  static let mostEntries = 4_096
  static let mostBytes = 256 << 10

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(head)
    writer.write(byte: index == nil ? 0 : 1)
    if let index {
      writer.write(text: index.name)
      writer.write(varint: index.version)
    }
    writer.write(byte: order.rawValue)
    writer.write(lengthPrefixed: lower)
    writer.write(bound: upper)
    writer.write(bound: tag)
    writer.write(count: entryLimit)
    writer.write(count: byteLimit)
    writer.write(partitions: partitions)
    return writer.bytes
  }

  init(
    _ head: MessageHead, _ plan: ScanPlan, _ order: ScanOrder, entryLimit: Int, byteLimit: Int,
    partitions: [Int]
  ) {
    self.init(
      head, index: nil, order, lower: plan.lower, upper: plan.upper, tag: plan.tag, entryLimit: entryLimit,
      byteLimit: byteLimit, partitions: partitions)
  }

  init(
    _ head: MessageHead, index: IndexName?, _ order: ScanOrder, lower: [UInt8], upper: [UInt8]?,
    tag: [UInt8]?, entryLimit: Int, byteLimit: Int, partitions: [Int]
  ) {
    self.head = head
    self.index = index
    self.order = order
    self.lower = lower
    self.upper = upper
    self.tag = tag
    self.entryLimit = entryLimit
    self.byteLimit = byteLimit
    self.partitions = partitions
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for a page", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    head = try reader.readHead()
    if try reader.readFlag() {
      index = IndexName(name: try reader.readText(), version: try reader.readVarint())
    }
    order = try reader.readOrder()
    lower = try reader.readLengthPrefixed()
    upper = try reader.readBound()
    tag = try reader.readBound()
    entryLimit = Int(try reader.readOrdinal())
    byteLimit = Int(try reader.readOrdinal())
    partitions = try reader.readPartitions()
    guard entryLimit >= 1 else { throw reader.damaged("a page of no entries") }
    try reader.readEnd()
  }
}

/// A replica's next records of some partitions. A plain value.
struct RecordPage: Equatable, Sendable {
  struct Entry: Equatable, Sendable {
    var key: [UInt8]
    /// Encoded: nearly always the same at all replicas, and then decoded once. Deleted and expired ones are
    /// among them, for the join. Empty for an entry of an index, which is in the place of the key.
    var record: [UInt8]
  }

  /// In the order that was asked for.
  var entries: [Entry] = []
  /// The last key that was looked at; `nil` where that was the last of all.
  var through: [UInt8]?

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: through == nil ? 1 : 0)
    writer.write(lengthPrefixed: through ?? [])
    writer.write(count: entries.count)
    for entry in entries {
      writer.write(lengthPrefixed: entry.key)
      writer.write(lengthPrefixed: entry.record)
    }
    return writer.bytes
  }

  init() {}

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a page of records")
    _ = try reader.readVersion(upTo: 1)
    let isAtEnd = try reader.readFlag()
    let last = try reader.readLengthPrefixed()
    guard isAtEnd == last.isEmpty else { throw reader.damaged("an end that is none") }
    through = isAtEnd ? nil : last
    let count = try reader.readCount(of: 3)
    entries.reserveCapacity(count)
    for _ in 0..<count {
      let key = try reader.readLengthPrefixed()
      guard (1...StoredKey.longestKey).contains(key.count) else {
        throw reader.damaged("a key of \(key.count) bytes")
      }
      entries.append(Entry(key: key, record: try reader.readLengthPrefixed()))
    }
    try reader.readEnd()
  }
}

extension FieldWriter {
  /// Bytes that may be missing.
  mutating func write(bound: [UInt8]?) {
    write(byte: bound == nil ? 0 : 1)
    if let bound { write(lengthPrefixed: bound) }
  }

  /// - Parameter partitions: ascending, each once.
  mutating func write(partitions: [Int]) {
    var runs: [(gap: Int, length: Int)] = []
    var end = 0
    for partition in partitions {
      if partition == end, !runs.isEmpty {
        runs[runs.count - 1].length += 1
      } else {
        runs.append((partition - end, 1))
      }
      end = partition + 1
    }
    write(count: runs.count)
    for run in runs {
      write(count: run.gap)
      write(count: run.length)
    }
  }
}

extension FieldReader {
  mutating func readBound() throws(DatabaseError) -> [UInt8]? {
    try readFlag() ? try readLengthPrefixed() : nil
  }

  mutating func readOrder() throws(DatabaseError) -> ScanOrder {
    let raw = try readByte()
    guard let order = ScanOrder(rawValue: raw) else { throw damaged("an order of \(raw)") }
    return order
  }

  /// What ``FieldWriter/write(partitions:)`` wrote: at least one partition, and none that no ring has.
  mutating func readPartitions() throws(DatabaseError) -> [Int] {
    var partitions: [Int] = []
    var end: UInt64 = 0
    for index in 0..<(try readCount(of: 2)) {
      let gap = try readOrdinal()
      let length = try readOrdinal()
      let limit = UInt64(FeedPosition.partitionLimit)
      guard length >= 1, gap >= 1 || index == 0, gap <= limit, length <= limit, end + gap + length <= limit
      else {
        throw damaged("a run of \(length) partitions behind a gap of \(gap)")
      }
      partitions += Int(end + gap)..<Int(end + gap + length)
      end += gap + length
    }
    if partitions.isEmpty { throw damaged("no partitions") }
    return partitions
  }
}
