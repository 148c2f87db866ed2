import RoostCausality
import RoostCluster

// The fields of messages about transactions; what they look like stands in Message+Bytes.swift.

extension FieldWriter {
  mutating func write(_ writes: [TransactionWrite]) {
    write(count: writes.count)
    for write in writes { self.write(write) }
  }

  mutating func write(optional value: UInt64?) {
    write(byte: value == nil ? 0 : 1)
    if let value { write(fixed: value) }
  }

  private mutating func write(_ range: RangeReference) {
    write(varint: range.keyspace)
    write(count: range.partition)
    write(lengthPrefixed: range.lower)
    write(byte: range.upper == nil ? 0 : 1)
    if let upper = range.upper { write(lengthPrefixed: upper) }
  }

  mutating func write(_ lock: LockTarget) {
    switch lock {
    case .shared(let target):
      write(byte: 1)
      write(target)
    case .exclusive(let target):
      write(byte: 2)
      write(target)
    case .sharedRange(let range):
      write(byte: 3)
      write(range)
    }
  }

  mutating func write(read: TransactionRead?) {
    switch read {
    case nil: write(byte: 0)
    case .keys(let keys):
      write(byte: 1)
      write(count: keys.count)
      for key in keys { write(key) }
    case .range(let range, let limit):
      write(byte: 2)
      write(range)
      write(count: limit)
    }
  }

  mutating func write(_ vote: Vote) {
    switch vote {
    case .yes(let prepared):
      write(byte: 1)
      write(fixed: prepared.rawValue)
    case .readOnly(let read, let bound):
      write(byte: 2)
      write(fixed: read.rawValue)
      write(fixed: bound.rawValue)
    case .no(let refusal):
      write(byte: 3)
      write(refusal)
    }
  }

  mutating func write(_ refusal: Refusal) {
    switch refusal {
    case .wounded: write(byte: 1)
    case .deadline: write(byte: 2)
    case .restarted: write(byte: 3)
    case .notOwner: write(byte: 4)
    case .moving: write(byte: 5)
    case .refusedBefore: write(byte: 6)
    case .expired: write(byte: 7)
    case .clock: write(byte: 8)
    case .failed(let text):
      write(byte: 9)
      write(text: text)
    }
  }
}

extension FieldReader {
  mutating func readTimestamp() throws(DatabaseError) -> Timestamp {
    let timestamp = Timestamp(rawValue: try readFixed())
    // Some eight thousand years are enough, and leave room to count on.
    guard timestamp.milliseconds < 1 << 47 else { throw damaged("a time too far in the future") }
    return timestamp
  }

  mutating func readWrites() throws(DatabaseError) -> [TransactionWrite] {
    var writes: [TransactionWrite] = []
    for _ in 0..<(try readCount(of: 5)) { writes.append(try readWrite()) }
    return writes
  }

  mutating func readOptional() throws(DatabaseError) -> UInt64? {
    try readFlag() ? try readFixed() : nil
  }

  mutating func readWait() throws(DatabaseError) -> UInt64 {
    let wait = try readVarint()
    guard wait <= 1 << 32 else { throw damaged("a wait of \(wait) ms") }
    return wait
  }

  private mutating func readRange() throws(DatabaseError) -> RangeReference {
    let keyspace = try readOrdinal()
    let partition = try readPartition()
    let lower = try readLengthPrefixed()
    let upper = try readFlag() ? try readLengthPrefixed() : nil
    return RangeReference(keyspace: keyspace, partition: partition, lower: lower, upper: upper)
  }

  mutating func readLock() throws(DatabaseError) -> LockTarget {
    switch try readByte() {
    case 1: .shared(try readKeyReference())
    case 2: .exclusive(try readKeyReference())
    case 3: .sharedRange(try readRange())
    case let other: throw damaged("a lock of kind \(other)")
    }
  }

  mutating func readRead() throws(DatabaseError) -> TransactionRead? {
    switch try readByte() {
    case 0: return nil
    case 1:
      var keys: [KeyReference] = []
      for _ in 0..<(try readCount(of: 4)) { keys.append(try readKeyReference()) }
      return .keys(keys)
    case 2:
      let range = try readRange()
      let limit = try readVarint()
      guard limit >= 1, limit <= 1 << 20 else { throw damaged("a limit of \(limit)") }
      return .range(range, limit: Int(limit))
    case let other: throw damaged("a read of kind \(other)")
    }
  }

  mutating func readVote() throws(DatabaseError) -> Vote {
    switch try readByte() {
    case 1: return .yes(try readTimestamp())
    case 2:
      let read = try readTimestamp()
      return .readOnly(read, bound: try readTimestamp())
    case 3: return .no(try readRefusal())
    case let other: throw damaged("a vote of kind \(other)")
    }
  }

  mutating func readRefusal() throws(DatabaseError) -> Refusal {
    switch try readByte() {
    case 1: .wounded
    case 2: .deadline
    case 3: .restarted
    case 4: .notOwner
    case 5: .moving
    case 6: .refusedBefore
    case 7: .expired
    case 8: .clock
    case 9: .failed(try readText())
    case let other: throw damaged("a refusal of kind \(other)")
    }
  }
}
