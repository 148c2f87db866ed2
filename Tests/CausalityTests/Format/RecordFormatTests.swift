import RoostCausality
import TestSupport
import Testing

/// FORMAT.md's examples of records are what is written, byte for byte, and what is read.
///
/// A changed byte means that the format has changed, and with it the version of records.
// Budget: 1 s
@Suite struct RecordFormatTests {
  private let n1 = ReplicaID(rawValue: 0x00A1_0000_0000_0001)
  private let n2 = ReplicaID(rawValue: 0x3F02_0000_0000_0002)

  private func dot(_ replica: ReplicaID, _ counter: UInt64) -> Dot { Dot(replica: replica, counter: counter) }

  private func expectShown(_ record: Record, _ name: String) throws {
    let shown = try FormatDocument.example(name)
    #expect(record.encoded == shown)
    #expect(try Record(decoding: shown) == record)
  }

  @Test func `the siblings are those shown`() throws {
    var record = Record()
    try record.put(
      Array("Ada".utf8), replacing: VersionVector(), dot: dot(n1, 300),
      timestamp: Timestamp(milliseconds: 1_700_000_000_000))
    var other = Record()
    try other.put(
      Array("Grace".utf8), expiry: 1_700_003_600_000, replacing: VersionVector(), dot: dot(n2, 4),
      timestamp: Timestamp(milliseconds: 1_700_000_000_001, logical: 2))
    record.join(other)
    try expectShown(record, "record-siblings")
  }

  @Test func `the counter is the one shown`() throws {
    var record = Record()
    try record.update(PNCounter.self, dot: dot(n1, 17)) { try $0.increment(by: 1, dot: $1) }
    try record.update(PNCounter.self, dot: dot(n2, 3)) { try $0.increment(by: 300, dot: $1) }
    try record.update(PNCounter.self, dot: dot(n2, 4)) { try $0.increment(by: -299, dot: $1) }
    #expect(try record.state(as: PNCounter.self).value() == 2)
    try expectShown(record, "record-counter")
  }

  @Test func `the counter that remembers increments is the one shown`() throws {
    var record = Record()
    try record.update(PNCounter.self, dot: dot(n1, 17)) { try $0.increment(by: 1, dot: $1) }
    let operation = OperationID(high: 1_700_000_000_000 << 16 | 0x0102, low: 0x0304_0506_0708_090A)
    _ = try record.update(PNCounter.self, dot: dot(n2, 4)) {
      try $0.increment(by: -3, operation: operation, dot: $1)
    }
    #expect(try record.state(as: PNCounter.self).value() == -2)
    #expect("\(operation)" == "018bcfe568000102030405060708090a")
    try expectShown(record, "record-operation")
  }

  @Test func `the grow-only counter is the one shown`() throws {
    var record = Record()
    try record.update(GCounter.self, dot: dot(n1, 1)) { try $0.increment(by: 100, dot: $1) }
    try record.update(GCounter.self, dot: dot(n1, 2)) { try $0.increment(by: 200, dot: $1) }
    try expectShown(record, "record-grow-only")
  }

  @Test func `the register is the one shown`() throws {
    var record = Record()
    try record.update(LWWRegister.self, dot: dot(n1, 1)) {
      $0.assign(Array("Ada".utf8), timestamp: Timestamp(milliseconds: 1_700_000_000_000), dot: $1)
    }
    try expectShown(record, "record-register")
  }

  @Test func `the flag is the one shown`() throws {
    var record = Record()
    try record.update(EnableWinsFlag.self, dot: dot(n1, 1)) { $0.enable(dot: $1) }
    try record.update(EnableWinsFlag.self, dot: dot(n1, 2)) { flag, _ in flag.disable() }
    try record.update(EnableWinsFlag.self, dot: dot(n1, 3)) { $0.enable(dot: $1) }
    try expectShown(record, "record-flag")
  }

  @Test func `the set is the one shown`() throws {
    var record = Record()
    try record.update(ORSet.self, dot: dot(n1, 1)) { $0.insert(Array("jazz".utf8), dot: $1) }
    var other = record
    try record.update(ORSet.self, dot: dot(n1, 2)) { $0.insert(Array("folk".utf8), dot: $1) }
    try other.update(ORSet.self, dot: dot(n2, 7)) { $0.insert(Array("folk".utf8), dot: $1) }
    record.join(other)
    try record.update(ORSet.self, dot: dot(n1, 3)) { set, _ in set.remove(Array("jazz".utf8)) }
    try record.update(ORSet.self, dot: dot(n1, 4)) { $0.insert(Array("soul".utf8), dot: $1) }
    try expectShown(record, "record-set")
  }

  @Test func `the map is the one shown`() throws {
    var record = Record()
    try record.update(ORMap.self, dot: dot(n1, 1)) { map, dot in
      map.update(Array("name".utf8), as: LWWRegister.self) {
        $0.assign(Array("Roost".utf8), timestamp: Timestamp(milliseconds: 1_700_000_000_000), dot: dot)
      }
      map.update(Array("open".utf8), as: EnableWinsFlag.self) { $0.enable(dot: dot) }
    }
    try record.update(ORMap.self, dot: dot(n1, 2)) { map, dot in
      try map.update(Array("plays".utf8), as: GCounter.self) { try $0.increment(by: 9, dot: dot) }
    }
    try expectShown(record, "record-map")
  }
}
