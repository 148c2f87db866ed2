import RoostStorage

// A directory's content, and its encoding:
//
//   directory := magic 8 bytes "ROOSTDIR" | version u8 (1) | revision varint | last lease varint
//              | lease count varint | lease* | record count varint | record*
//              | checksum u64 little-endian, XXH64 of all before it, seed 0
//   lease     := id varint | duration varint, ms | ends varint, ms since 1970
//   record    := name lengthPrefixed | version varint | lease varint (0 none) | value lengthPrefixed
//
// Leases in order of their ids, records in order of their names.

/// All that a directory holds. A value without I/O: the times come from the caller.
///
/// Invariants: versions are at most `revision`; a record's lease is one of `leases`.
struct DirectoryState: Hashable, Sendable {
  struct Lease: Hashable, Sendable {
    var milliseconds: UInt64
    /// When it is over, by the wall clock.
    var ends: UInt64
  }

  static let formatVersion: UInt8 = 1
  private static let magic = Array("ROOSTDIR".utf8)
  /// More than any state within the limits takes.
  static let largestFile =
    DirectoryLimits.bytes + 64 * (DirectoryLimits.records + DirectoryLimits.leases) + 64

  private(set) var revision: UInt64 = 0
  private var lastLease: UInt64 = 0
  private var leases: [UInt64: Lease] = [:]
  private var all: [String: DirectoryRecord] = [:]
  private var byteCount = 0

  // MARK: - Reading

  /// The record, unless its lease is over at `now` (ms since 1970).
  func record(_ name: String, at now: UInt64) -> DirectoryRecord? {
    guard let found = all[name], isAlive(found, at: now) else { return nil }
    return found
  }

  func records(prefix: String, at now: UInt64) -> [DirectoryRecord] {
    let bytes = prefix.utf8
    return all.values.filter { $0.name.utf8.starts(with: bytes) && isAlive($0, at: now) }
      .sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  private func isAlive(_ record: DirectoryRecord, at now: UInt64) -> Bool {
    guard let lease = record.lease else { return true }
    return (leases[lease.rawValue]?.ends ?? 0) > now
  }

  // MARK: - Changing

  static func check(name: String) throws(DatabaseError) {
    guard (1...DirectoryLimits.nameBytes).contains(name.utf8.count) else {
      throw DatabaseError(
        .invalidArgument, "a name in a cluster's directory has 1 to 255 bytes, not \(name.utf8.count)")
    }
  }

  /// See ``ClusterDirectory/compareAndSet(_:version:_:lease:)``.
  mutating func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease?, at now: UInt64
  ) throws(DatabaseError) -> UInt64? {
    try Self.check(name: name)
    if let value, value.count > DirectoryLimits.valueBytes {
      throw DatabaseError(
        .invalidArgument,
        "a record of a cluster's directory has at most \(DirectoryLimits.valueBytes) bytes, "
          + "not \(value.count)")
    }
    dropExpired(at: now)
    if let lease, leases[lease.rawValue] == nil {
      throw DatabaseError(.invalidArgument, "the lease \(lease.rawValue) is over")
    }
    let old = all[name]
    guard (old?.version ?? 0) == version else { return nil }
    let freed = old.map { $0.name.utf8.count + $0.value.count } ?? 0
    guard let value else {
      if old == nil { return revision }
      remove(name)
      return take()
    }
    let needed = name.utf8.count + value.count
    guard byteCount - freed + needed <= DirectoryLimits.bytes,
      old != nil || all.count < DirectoryLimits.records
    else {
      throw DatabaseError(
        .busy, "the cluster's directory is full: \(all.count) records of \(byteCount) bytes")
    }
    byteCount += needed - freed
    let change = take()
    all[name] = DirectoryRecord(name: name, version: change, value: value, lease: lease)
    return change
  }

  mutating func grant(_ duration: Duration, at now: UInt64) throws(DatabaseError) -> DirectoryLease {
    guard DirectoryLimits.leaseDuration.contains(duration) else {
      throw DatabaseError(.invalidArgument, "a lease lasts 100 milliseconds to a day, not \(duration)")
    }
    dropExpired(at: now)
    guard leases.count < DirectoryLimits.leases else {
      throw DatabaseError(.busy, "the cluster's directory has \(leases.count) leases already")
    }
    let (seconds, attoseconds) = duration.components
    let milliseconds = UInt64(seconds) * 1_000 + UInt64(attoseconds / 1_000_000_000_000_000)
    lastLease += 1
    leases[lastLease] = Lease(milliseconds: milliseconds, ends: now &+ milliseconds)
    return DirectoryLease(rawValue: lastLease)
  }

  /// - Returns: `false` where it is over.
  mutating func renew(_ lease: DirectoryLease, at now: UInt64) -> Bool {
    guard var found = leases[lease.rawValue], found.ends > now else { return false }
    found.ends = now &+ found.milliseconds
    leases[lease.rawValue] = found
    return true
  }

  /// - Returns: `false` where it is over already.
  mutating func revoke(_ lease: DirectoryLease) -> Bool {
    guard leases.removeValue(forKey: lease.rawValue) != nil else { return false }
    dropOrphans()
    return true
  }

  /// A lease is over once its time has come, whoever looks first: nobody can renew it after.
  private mutating func dropExpired(at now: UInt64) {
    let over = leases.filter { $0.value.ends <= now }
    if over.isEmpty { return }
    for id in over.keys { leases[id] = nil }
    dropOrphans()
  }

  private mutating func dropOrphans() {
    let orphans = all.values.filter { record in record.lease.map { leases[$0.rawValue] == nil } ?? false }
    for record in orphans.sorted(by: { $0.name < $1.name }) {
      remove(record.name)
      _ = take()
    }
  }

  private mutating func remove(_ name: String) {
    guard let old = all.removeValue(forKey: name) else { return }
    byteCount -= old.name.utf8.count + old.value.count
  }

  private mutating func take() -> UInt64 {
    revision += 1
    return revision
  }

  // MARK: - Encoding

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    for byte in Self.magic { writer.write(byte: byte) }
    writer.write(byte: Self.formatVersion)
    writer.write(varint: revision)
    writer.write(varint: lastLease)
    writer.write(count: leases.count)
    for (id, lease) in leases.sorted(by: { $0.key < $1.key }) {
      writer.write(varint: id)
      writer.write(varint: lease.milliseconds)
      writer.write(varint: lease.ends)
    }
    writer.write(count: all.count)
    for record in all.values.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      writer.write(text: record.name)
      writer.write(varint: record.version)
      writer.write(varint: record.lease?.rawValue ?? 0)
      writer.write(lengthPrefixed: record.value)
    }
    writer.write(fixed: Checksum.xxh64(writer.bytes))
    return writer.bytes
  }

  init() {}

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8], _ what: String) throws(DatabaseError) {
    guard bytes.count > 17, bytes.starts(with: Self.magic) else {
      throw DatabaseError(.corruption, "\(what) is no cluster directory")
    }
    var trailer = FieldReader(Array(bytes.suffix(8)), what)
    // A later version may be sealed in another way.
    guard bytes[8] <= Self.formatVersion else {
      throw DatabaseError(
        .newerFormat, "\(what) has version \(bytes[8]); this Roost reads up to \(Self.formatVersion)")
    }
    let body = Array(bytes.dropLast(8))
    guard try trailer.readFixed() == Checksum.xxh64(body) else {
      throw DatabaseError(.corruption, "\(what) is damaged: its checksum does not match")
    }
    var reader = FieldReader(Array(body.dropFirst(8)), what)
    _ = try reader.readVersion(upTo: Self.formatVersion)
    revision = try reader.readOrdinal()
    lastLease = try reader.readOrdinal()
    for _ in 0..<(try reader.readCount(of: 3)) {
      let id = try reader.readOrdinal()
      let milliseconds = try reader.readOrdinal()
      let ends = try reader.readOrdinal()
      guard id >= 1, id <= lastLease, leases[id] == nil else { throw reader.damaged("a lease of id \(id)") }
      leases[id] = Lease(milliseconds: milliseconds, ends: ends)
    }
    for _ in 0..<(try reader.readCount(of: 4)) {
      let name = try reader.readText()
      let version = try reader.readOrdinal()
      let lease = try reader.readOrdinal()
      let value = try reader.readLengthPrefixed()
      guard (1...DirectoryLimits.nameBytes).contains(name.utf8.count), all[name] == nil,
        (1...max(1, revision)).contains(version), revision > 0, lease == 0 || leases[lease] != nil,
        value.count <= DirectoryLimits.valueBytes
      else { throw reader.damaged("a record of the name `\(name.prefix(40))`") }
      all[name] = DirectoryRecord(
        name: name, version: version, value: value,
        lease: lease == 0 ? nil : DirectoryLease(rawValue: lease))
      byteCount += name.utf8.count + value.count
    }
    try reader.readEnd()
    guard encoded() == bytes else { throw DatabaseError(.corruption, "\(what) is not in its one encoding") }
  }
}
