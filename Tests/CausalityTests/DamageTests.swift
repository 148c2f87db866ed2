import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCausality

/// Whatever bytes there are, reading them throws or gives a record that is written as it was read; and a
/// record that was read does everything records do.
// Budget: 20 s
@Suite struct DamageTests {
  /// - Returns: whether the bytes were taken.
  @discardableResult
  private func checkRead(_ bytes: [UInt8], beside other: Record) throws -> Bool {
    var record: Record
    do { record = try Record(decoding: bytes) } catch {
      try check(error.code == .damaged || error.code == .newerFormat, "\(error)")
      try check(error.offset.map { $0 >= 0 && $0 <= bytes.count } ?? false, "\(error)")
      try check(SoleSibling(in: bytes.rawSpan, at: 0) == nil, "the quick path takes what is damaged")
      try check(SoleSibling.value(in: bytes.rawSpan, at: 0) == nil, "the quickest takes what is damaged")
      return false
    }
    try check(record.encoded == bytes, "another spelling was taken")
    try checkQuickPath(bytes, record)
    // Nothing that is done with it traps, and what comes of it reads back.
    var joined = other.joined(record)
    try check(try Record(decoding: joined.encoded) == joined, "a join reads back")
    record.join(other)
    try check(try Record(decoding: record.encoded) == record, "a join reads back")
    _ = record.compare(to: other)
    _ = record.highestTimestamp
    _ = record.description
    for state in record.states {
      switch state {
      case .gCounter(let counter): _ = try? counter.value()
      case .counter(let counter): _ = try? counter.value()
      default: break
      }
    }
    let dot = Dot(replica: ReplicaID(rawValue: .max), counter: .max)
    if (try? joined.put([], replacing: record.context, dot: dot, timestamp: .zero)) != nil {
      try check(try Record(decoding: joined.encoded) == joined, "a write on it reads back")
    }
    return true
  }

  /// The quick path says what the whole says, wherever there is one value, and else nothing.
  private func checkQuickPath(_ bytes: [UInt8], _ record: Record) throws {
    for time in [0, 50, 1 << 40] as [UInt64] {
      let sole = SoleSibling(in: bytes.rawSpan, at: time)
      try check(SoleSibling.value(in: bytes.rawSpan, at: time) == sole?.value, "the value alone")
      let sibling = record.siblings.elements.first
      guard let sibling, record.siblings.count == 1, record.states.isEmpty, !sibling.isExpired(at: time)
      else {
        try check(sole == nil, "the quick path sees one value in \(record) at \(time)")
        continue
      }
      let found = sole.map {
        Sibling(dot: $0.dot, timestamp: $0.timestamp, expiry: $0.expiry, value: Array(bytes[$0.value]))
      }
      try check(found == sibling, "the quick path sees \(String(describing: found)) in \(record) at \(time)")
      let context = try sole.map { try VersionVector(decoding: bytes.rawSpan.extracting($0.context)) }
      try check(context == record.context, "the quick path's context")
    }
  }

  @Test func `every byte damaged in every way, every truncation`() throws {
    var taken = 0
    try withSeeds("DamageTests", count: TestSize.of(quick: 20, full: 200)) { _, random in
      let history = try History<Record>(replicas: 3, steps: 12, &random)
      let other = random.pick(history.past)
      let bytes = random.pick(history.current).encoded
      try checkRead(bytes, beside: other)
      for position in bytes.indices {
        let isCut = try checkRead(Array(bytes[..<position]), beside: other)
        try check(!isCut, "a part was taken for the whole")
        for value in UInt8.min ... .max where value != bytes[position] {
          var damaged = bytes
          damaged[position] = value
          if try checkRead(damaged, beside: other) { taken += 1 }
        }
      }
    }
    // Most of a record has no redundancy: its store checksums it.
    #expect(taken > 0)
  }

  @Test func `bytes inserted, removed and moved`() throws {
    try withSeeds("DamageTests", count: TestSize.of(quick: 2000, full: 20_000)) { _, random in
      let history = try History<Record>(replicas: 3, steps: 8, &random)
      var bytes = random.pick(history.current).encoded
      for _ in 0...random.below(3) where !bytes.isEmpty {
        switch random.below(3) {
        case 0: bytes.insert(UInt8(random.below(256)), at: random.below(bytes.count + 1))
        case 1: bytes.remove(at: random.below(bytes.count))
        default: bytes.swapAt(random.below(bytes.count), random.below(bytes.count))
        }
      }
      try checkRead(bytes, beside: random.pick(history.past))
    }
  }

  @Test func `random bytes`() throws {
    try withSeeds("DamageTests", count: TestSize.of(quick: 20_000, full: 200_000)) { _, random in
      // Small numbers, and the beginning of a record: so that some of it is taken for one.
      var bytes = random.bytes(random.below(80)).map { $0 < 128 ? $0 % 8 : $0 }
      if random.chance(3, of: 4) { bytes.insert(contentsOf: [1, 1, 5, 0, 0, 0, 0, 0, 0, 0, 9], at: 0) }
      if random.chance(1, of: 4) { bytes.append(0) }
      try checkRead(bytes, beside: Record())
    }
  }

  /// Many records of one value: the damage tests above meet few.
  @Test func `the quick path over records of one value`() throws {
    var found = 0
    try withSeeds("DamageTests", count: TestSize.of(quick: 200, full: 1000)) { _, random in
      var record = Record()
      var counter: UInt64 = 0
      for _ in 0...random.below(3) {
        counter += UInt64(1 + random.below(150))
        let replica = ReplicaID(rawValue: UInt64(random.below(3)))
        try record.put(
          random.bytes(random.below(6)), expiry: random.pick([0, 0, 50, 300]), replacing: record.context,
          dot: Dot(replica: replica, counter: counter), timestamp: Timestamp(rawValue: random.next()))
      }
      let bytes = record.encoded
      try checkRead(bytes, beside: Record())
      for position in bytes.indices {
        let other = bytes[position] ^ 1
        for value in [0, 1, 2, 0x7F, 0x80, 0xFF, other] as [UInt8] where value != bytes[position] {
          var damaged = bytes
          damaged[position] = value
          if try checkRead(damaged, beside: record) { found += 1 }
        }
      }
    }
    #expect(found > 0)
  }
}
