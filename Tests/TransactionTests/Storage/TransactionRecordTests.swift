import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostTransactions

/// The records of transactions, in stores and in the coordinator's log: FORMAT.md's examples are what is
/// written and read, and damage never traps.
// Budget: 5 s
@Suite struct TransactionRecordTests {
  static let first = Timestamp(milliseconds: 1_735_689_600_000, logical: 7)
  static let second = Timestamp(milliseconds: 1_735_689_601_000)
  static let id = TransactionID(start: first, coordinator: CoordinatorID(rawValue: 0xC0FF_EE00_0000_0001))
  static let near = MemberID(rawValue: 0x20)
  static let far = MemberID(rawValue: 0x1122_3344_5566_7788)

  static let prepared = PreparedRecord(
    transaction: id, timestamp: second,
    writes: [
      TransactionWrite(KeyReference(keyspace: 1, partition: 3, key: Array("A".utf8)), Array("25".utf8)),
      TransactionWrite(KeyReference(keyspace: 1, partition: 300, key: Array("B".utf8)), nil),
    ], writers: [near, far], isSynced: true)
  static let commit = CommitRecord(
    transaction: id, timestamp: second, writers: [far],
    effects: [EventualEffect(keyspace: 2, key: Array("n".utf8), change: .increment(-3), target: near)],
    isSynced: true)
  static let beginning = LogBeginning(
    id.coordinator, log: LogBeginning.File(device: 2_049, inode: 140),
    place: LogBeginning.File(device: 2_049, inode: 131), changeNanoseconds: 1_700_000_000_000_000_000,
    commits: [commit])

  @Test func `versions are as FORMAT says`() throws {
    let key: [UInt8] = [0x61, 0, 0x62]
    let current = StoredVersion(Self.second, Array("25".utf8)).encoded()
    #expect(VersionKey.current(3, key) + current == (try FormatDocument.example("version-current")))
    let history = StoredVersion(Self.second, Array("30".utf8)).encoded()
    #expect(
      VersionKey.history(3, key, Self.first.rawValue) + history
        == (try FormatDocument.example("version-history")))
  }

  @Test func `records in stores are as FORMAT says`() throws {
    let prepared = try FormatDocument.example("prepared")
    #expect(TransactionKey.make(.prepared, Self.id) + Self.prepared.encoded() == prepared)
    #expect(try PreparedRecord(Self.id, decoding: Array(prepared.dropFirst(17))) == Self.prepared)
    let outcome = OutcomeRecord(
      .committed(Self.second), recorded: Timestamp(rawValue: Self.second.rawValue + 1))
    let shown = try FormatDocument.example("outcome")
    #expect(TransactionKey.make(.outcome, Self.id) + outcome.encoded() == shown)
    #expect(try OutcomeRecord(Self.id, decoding: Array(shown.dropFirst(17))) == outcome)
    let mark = try FormatDocument.example("effect-mark")
    #expect(
      TransactionKey.mark(Self.id, index: 2) + EffectMark(recorded: Self.second).encoded() == mark)
    let split = try #require(TransactionKey.split(Array(mark.prefix(21))))
    #expect(split.kind == .mark && split.transaction == Self.id && split.index == 2)
    let over = try FormatDocument.example("coordinator-over")
    let nameless = TransactionID(start: .zero, coordinator: Self.id.coordinator)
    #expect(
      TransactionKey.make(.ended, nameless) + EffectMark(recorded: Self.second).encoded() == over)
  }

  @Test func `records of the coordinator log are as FORMAT says`() throws {
    for (name, record) in [
      ("coordinator-commit", CoordinatorRecord.commit(Self.commit)), ("coordinator-end", .end(Self.id)),
      ("coordinator-begin", .begin(Self.beginning)),
    ] {
      let bytes = try FormatDocument.example(name)
      #expect(record.encoded() == bytes)
      #expect(try CoordinatorRecord(decoding: bytes) == record)
    }
  }

  @Test func `every kind of effect comes back`() throws {
    var record = Self.commit
    record.effects = [
      EventualEffect(keyspace: 9, key: [1], change: .put([1, 2], context: nil), target: Self.near),
      EventualEffect(keyspace: 9, key: [2], change: .put([], context: [7]), target: Self.near),
      EventualEffect(keyspace: 9, key: [3], change: .delete(context: []), target: Self.far),
      EventualEffect(keyspace: 9, key: [4], change: .delete(context: nil), target: Self.far),
    ]
    let whole = CoordinatorRecord.commit(record)
    #expect(try CoordinatorRecord(decoding: whole.encoded()) == whole)
  }

  @Test func `every byte may be damaged, cut off, or one too many`() throws {
    let id = Self.id
    let decoders: [(good: [UInt8], again: ([UInt8]) throws -> [UInt8])] = [
      (Self.prepared.encoded(), { try PreparedRecord(id, decoding: $0).encoded() }),
      (
        OutcomeRecord(.aborted, recorded: Self.second).encoded(),
        { try OutcomeRecord(id, decoding: $0).encoded() }
      ),
      (
        OutcomeRecord(.committed(Self.first), recorded: Self.second).encoded(),
        { try OutcomeRecord(id, decoding: $0).encoded() }
      ),
      (EffectMark(recorded: Self.first).encoded(), { try EffectMark(id, decoding: $0).encoded() }),
      (
        CoordinatorRecord.begin(Self.beginning).encoded(),
        { try CoordinatorRecord(decoding: $0).encoded() }
      ),
      (CoordinatorRecord.commit(Self.commit).encoded(), { try CoordinatorRecord(decoding: $0).encoded() }),
    ]
    for (good, again) in decoders {
      #expect(try again(good) == good)
      for index in good.indices {
        for value in UInt8.min ... .max where value != good[index] {
          var damaged = good
          damaged[index] = value
          do {
            // What decodes is what a writer gives.
            let bytes = try again(damaged)
            #expect(bytes == damaged)
          } catch let error as DatabaseError {
            #expect(error.code == .corruption || error.code == .newerFormat)
          }
        }
        #expect(thrown { _ = try again(Array(good.prefix(index))) }?.code == .corruption)
      }
      #expect(thrown { _ = try again(good + [0]) }?.code == .corruption)
    }
  }

  @Test func `later versions are refused by name`() {
    func newer(_ bytes: [UInt8], at index: Int, _ decode: ([UInt8]) throws -> Void) {
      var bytes = bytes
      #expect(bytes[index] == 1)
      bytes[index] = 2
      #expect(thrown { try decode(bytes) }?.code == .newerFormat)
    }
    newer(Self.prepared.encoded(), at: 0) { _ = try PreparedRecord(Self.id, decoding: $0) }
    newer(OutcomeRecord(.aborted, recorded: .zero).encoded(), at: 0) {
      _ = try OutcomeRecord(Self.id, decoding: $0)
    }
    newer(EffectMark(recorded: .zero).encoded(), at: 0) { _ = try EffectMark(Self.id, decoding: $0) }
    newer(CoordinatorRecord.begin(Self.beginning).encoded(), at: 1) {
      _ = try CoordinatorRecord(decoding: $0)
    }
  }
}
