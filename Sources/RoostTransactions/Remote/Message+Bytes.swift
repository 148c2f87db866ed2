import RoostCausality
import RoostCluster

// What a message says, between nodes. Ids and effects are as in the coordinator log, writes as in prepared
// records; fixed integers are little-endian.
//
//   body := 1 u8 | request varint | age id | lock count varint | lock* | read | known epoch | wait varint
//         | 2 u8 | epoch u64 | writes | writer count varint | member u64* | synced u8 (0, 1)
//         | 3 u8 | committed u64
//         | 4 u8                                                       the transaction is aborted
//         | 5 u8 | request varint | age id | known epoch | writes | wait varint | synced u8
//         | 6 u8 | effect | index varint | outcome
//         | 7 u8                                                       marks of effects may go
//         | 8 u8 | request varint | epoch u64 | answer of a read
//         | 9 u8 | request varint | refusal
//         | 10 u8                                                      wounded
//         | 11 u8 | vote
//         | 12 u8                                                      acknowledged
//         | 13 u8 | request varint | committed u64
//         | 14 u8 | index varint
//         | 15 u8 | index varint | text lengthPrefixed
//         | 16 u8                                                      what became of it?
//         | 17 u8 | (1 u8 | committed u64 · 2 u8, aborted · 3 u8, not known)
//   known epoch, outcome := 0 u8 | 1 u8 | u64
//   writes  := count varint | write*
//   lock    := kind u8 (1 shared, 2 exclusive) | key · 3 u8 | range
//   read    := 0 u8, nothing | 1 u8 | count varint | key* · 2 u8 | range | limit varint
//   key     := keyspace varint | partition varint | key lengthPrefixed
//   range   := keyspace varint | partition varint | lower lengthPrefixed | (0 u8 · 1 u8 | upper
//   lengthPrefixed) answer of a read := flags u8 (1 complete, 2 a key to go on from) | count varint | entry*
//            | next lengthPrefixed, of flag 2
//   entry   := key | value lengthPrefixed | committed u64
//   vote    := 1 u8 | prepared u64 · 2 u8 | read u64 | bound u64 · 3 u8 | refusal
//   refusal := kind u8 | text lengthPrefixed, of kind 9

extension Message.Body {
  func write(to writer: inout FieldWriter) {
    switch self {
    case .acquire(let request):
      writer.write(byte: 1)
      writer.write(varint: request.request)
      writer.write(request.age)
      writer.write(count: request.locks.count)
      for lock in request.locks { writer.write(lock) }
      writer.write(read: request.read)
      writer.write(optional: request.epoch)
      writer.write(varint: request.waitMilliseconds)
    case .prepare(let request):
      writer.write(byte: 2)
      writer.write(fixed: request.epoch)
      writer.write(request.writes)
      writer.write(count: request.writers.count)
      for member in request.writers { writer.write(fixed: member.rawValue) }
      writer.write(byte: request.isSynced ? 1 : 0)
    case .commit(let timestamp):
      writer.write(byte: 3)
      writer.write(fixed: timestamp.rawValue)
    case .abort: writer.write(byte: 4)
    case .commitAtOnce(let request):
      writer.write(byte: 5)
      writer.write(varint: request.request)
      writer.write(request.age)
      writer.write(optional: request.epoch)
      writer.write(request.writes)
      writer.write(varint: request.waitMilliseconds)
      writer.write(byte: request.isSynced ? 1 : 0)
    case .effect(let effect, let index, let outcome):
      writer.write(byte: 6)
      writer.write(effect)
      writer.write(count: index)
      writer.write(optional: outcome?.rawValue)
    case .forgetEffects: writer.write(byte: 7)
    case .acquired(let request, let epoch, let answer):
      writer.write(byte: 8)
      writer.write(varint: request)
      writer.write(fixed: epoch)
      answer.write(to: &writer)
    case .refused(let request, let refusal):
      writer.write(byte: 9)
      writer.write(varint: request)
      writer.write(refusal)
    case .wounded: writer.write(byte: 10)
    case .vote(let vote):
      writer.write(byte: 11)
      writer.write(vote)
    case .acknowledged: writer.write(byte: 12)
    case .committedAtOnce(let request, let timestamp):
      writer.write(byte: 13)
      writer.write(varint: request)
      writer.write(fixed: timestamp.rawValue)
    case .effectDone(let index):
      writer.write(byte: 14)
      writer.write(count: index)
    case .effectFailed(let index, let text):
      writer.write(byte: 15)
      writer.write(count: index)
      writer.write(text: text)
    case .inquire: writer.write(byte: 16)
    case .answer(let answer):
      writer.write(byte: 17)
      switch answer {
      case .committed(let timestamp):
        writer.write(byte: 1)
        writer.write(fixed: timestamp.rawValue)
      case .aborted: writer.write(byte: 2)
      case .unknown: writer.write(byte: 3)
      }
    }
  }

  /// - Throws: `.invalidArgument`, or as the reader says.
  init(from reader: inout FieldReader) throws(DatabaseError) {
    switch try reader.readByte() {
    case 1:
      let request = try reader.readVarint()
      let age = try reader.readTransactionID()
      var locks: [LockTarget] = []
      for _ in 0..<(try reader.readCount(of: 5)) { locks.append(try reader.readLock()) }
      let read = try reader.readRead()
      self = .acquire(
        AcquireRequest(
          request: request, age: age, locks: locks, read: read, epoch: try reader.readOptional(),
          waitMilliseconds: try reader.readWait()))
    case 2:
      let epoch = try reader.readFixed()
      let writes = try reader.readWrites()
      var writers: [MemberID] = []
      for _ in 0..<(try reader.readCount(of: 8)) {
        writers.append(MemberID(rawValue: try reader.readFixed()))
      }
      self = .prepare(
        PrepareRequest(epoch: epoch, writes: writes, writers: writers, isSynced: try reader.readFlag()))
    case 3: self = .commit(try reader.readTimestamp())
    case 4: self = .abort
    case 5:
      let request = try reader.readVarint()
      let age = try reader.readTransactionID()
      let epoch = try reader.readOptional()
      let writes = try reader.readWrites()
      let wait = try reader.readWait()
      self = .commitAtOnce(
        CommitAtOnceRequest(
          request: request, age: age, epoch: epoch, writes: writes, waitMilliseconds: wait,
          isSynced: try reader.readFlag()))
    case 6:
      let effect = try reader.readEffect()
      let index = Int(try reader.readOrdinal())
      self = .effect(effect, index: index, outcome: try reader.readOptional().map { Timestamp(rawValue: $0) })
    case 7: self = .forgetEffects
    case 8:
      let request = try reader.readVarint()
      let epoch = try reader.readFixed()
      self = .acquired(request: request, epoch: epoch, try ReadAnswer(from: &reader))
    case 9:
      let request = try reader.readVarint()
      self = .refused(request: request, try reader.readRefusal())
    case 10: self = .wounded
    case 11: self = .vote(try reader.readVote())
    case 12: self = .acknowledged
    case 13:
      let request = try reader.readVarint()
      self = .committedAtOnce(request: request, try reader.readTimestamp())
    case 14: self = .effectDone(index: Int(try reader.readOrdinal()))
    case 15:
      let index = Int(try reader.readOrdinal())
      self = .effectFailed(index: index, try reader.readText())
    case 16: self = .inquire
    case 17:
      switch try reader.readByte() {
      case 1: self = .answer(.committed(try reader.readTimestamp()))
      case 2: self = .answer(.aborted)
      case 3: self = .answer(.unknown)
      case let other: throw reader.damaged("an answer of kind \(other)")
      }
    case let other: throw reader.damaged("a body of kind \(other)")
    }
  }

  /// The keyspaces that whoever gets it must know.
  var keyspaces: Set<UInt64> {
    switch self {
    case .acquire(let request):
      Set(request.locks.map(\.place.keyspace)).union(request.read?.keyspaces ?? [])
    case .prepare(let request): Set(request.writes.map(\.target.keyspace))
    case .commitAtOnce(let request): Set(request.writes.map(\.target.keyspace))
    case .effect(let effect, index: _, outcome: _): [effect.keyspace]
    default: []
    }
  }
}

extension TransactionRead {
  var keyspaces: Set<UInt64> {
    switch self {
    case .keys(let keys): Set(keys.map(\.keyspace))
    case .range(let range, limit: _): [range.keyspace]
    }
  }
}

extension ReadAnswer {
  func write(to writer: inout FieldWriter) {
    writer.write(byte: (isComplete ? 1 : 0) | (next == nil ? 0 : 2))
    writer.write(count: entries.count)
    for entry in entries {
      writer.write(entry.target)
      writer.write(lengthPrefixed: entry.value)
      writer.write(fixed: entry.timestamp.rawValue)
    }
    if let next { writer.write(lengthPrefixed: next) }
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    let flags = try reader.readByte()
    guard flags < 4 else { throw reader.damaged("flags of \(flags)") }
    var entries: [ReadEntry] = []
    for _ in 0..<(try reader.readCount(of: 13)) {
      let target = try reader.readKeyReference()
      let value = try reader.readLengthPrefixed()
      entries.append(ReadEntry(target, value, at: try reader.readTimestamp()))
    }
    let next = flags & 2 == 0 ? nil : try reader.readLengthPrefixed()
    self.init(entries, isComplete: flags & 1 != 0, next: next)
  }

  /// What of a range's answer fits into a message; whoever reads the range goes on behind it.
  ///
  /// - Returns: `nil` where not even the first entry does.
  func fitting(byteCount limit: Int) -> ReadAnswer? {
    var bytes = next?.count ?? 0
    for (index, entry) in entries.enumerated() {
      // Of the lengths and numbers beside key and value.
      bytes += entry.target.key.count + entry.value.count + 40
      if bytes <= limit { continue }
      if index == 0 { return nil }
      return ReadAnswer(Array(entries[..<index]), isComplete: false, next: entry.target.key)
    }
    return self
  }
}
