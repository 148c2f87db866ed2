import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostTransactions
import TestSupport

/// Where the simulated clients' data are. Each keyspace's keys are spread over the participants.
enum Keys {
  enum Kind: UInt64 {
    case account = 1
    /// One key with a list in it: appending reads it first.
    case list = 2
    /// A range with one key an element: appending writes a key that was not there.
    case span = 3
    case register = 4
  }

  static func owner(_ number: Int, _ count: Int) -> Int { number % count }

  static func key(_ kind: Kind, _ number: Int, element: Int? = nil, _ count: Int) -> KeyReference {
    var name = digits(number)
    if let element { name += ":" + digits(element) }
    return KeyReference(
      keyspace: kind.rawValue, partition: owner(number, count), key: Array(name.utf8))
  }

  /// All elements of a span.
  static func span(_ number: Int, _ count: Int) -> RangeReference {
    RangeReference(
      keyspace: Kind.span.rawValue, partition: owner(number, count),
      lower: Array((digits(number) + ":").utf8), upper: Array((digits(number) + ";").utf8))
  }

  /// All keys of a kind at one participant.
  static func all(_ kind: Kind, at participant: Int) -> RangeReference {
    RangeReference(keyspace: kind.rawValue, partition: participant, lower: [], upper: nil)
  }

  private static func digits(_ number: Int) -> String { String(100_000 + number) }

  static func number(_ key: [UInt8]) -> Int {
    (Int(String(decoding: key.prefix(6), as: UTF8.self)) ?? 100_000) - 100_000
  }

  static func encode(_ numbers: [Int]) -> [UInt8] {
    Array(numbers.map(String.init).joined(separator: ",").utf8)
  }

  static func decode(_ bytes: [UInt8]?) -> [Int] {
    String(decoding: bytes ?? [], as: UTF8.self).split(separator: ",").compactMap { Int($0) }
  }

  /// The elements of a span in the order in which they came.
  static func list(_ entries: [ReadEntry]) -> [Int] {
    entries.map { ($0.timestamp, decode($0.value)) }
      .sorted { $0.0 != $1.0 ? $0.0 < $1.0 : $0.1.lexicographicallyPrecedes($1.1) }
      .flatMap(\.1)
  }
}

/// Which of the histories a transaction belongs to.
enum HistoryKind: Hashable {
  case bank
  case lists
  case registers
}

/// A transaction that a client runs: reads one after the other, then what it writes by what it read.
struct TransactionProgram {
  struct Step {
    var participant: Int
    var locks: [LockTarget]
    var read: TransactionRead?
  }

  struct Result {
    /// By participant. Those locked before are there without.
    var writes: [Int: [TransactionWrite]] = [:]
    var operations: [HistoryOperation] = []
    /// Wants no commit, for a reason of its own: an account would be overdrawn.
    var isAborted = false
    var hasEffect = false
    /// All balances, where it read them.
    var balances: [Int]?
    /// Of what to whom: by account.
    var transfer: [Int: Int] = [:]
  }

  var kind: HistoryKind
  var steps: [Step]
  /// The operations as far as they are known when it begins, then with what was read.
  var finish: ([ReadAnswer]?) -> Result
}

extension TransactionProgram {
  static func transfer(_ options: SimulationOptions, _ random: inout SplitMix64) -> TransactionProgram {
    let count = options.participantCount
    let accounts = options.workload.accountCount
    let from = random.below(accounts)
    let to = (from + 1 + random.below(accounts - 1)) % accounts
    let amount = 1 + random.below(60)
    let isExclusive = random.below(2) == 0
    let hasEffect = random.below(2) == 0
    let keys = [from, to].map { Keys.key(.account, $0, count) }
    return TransactionProgram(
      kind: .bank,
      steps: keys.map {
        Step(
          participant: $0.partition, locks: [isExclusive ? .exclusive($0) : .shared($0)],
          read: .keys([$0]))
      }
    ) { answers in
      guard let answers else { return Result() }
      let balances = answers.map { Keys.decode($0.entries.first?.value).first ?? 0 }
      var result = Result()
      if balances[0] < amount {
        result.isAborted = true
        return result
      }
      result.writes[keys[0].partition, default: []].append(
        TransactionWrite(keys[0], Keys.encode([balances[0] - amount])))
      result.writes[keys[1].partition, default: []].append(
        TransactionWrite(keys[1], Keys.encode([balances[1] + amount])))
      result.hasEffect = hasEffect
      result.transfer = [from: -amount, to: amount]
      return result
    }
  }

  /// All accounts under range locks, without writes.
  static func audit(_ options: SimulationOptions) -> TransactionProgram {
    TransactionProgram(
      kind: .bank,
      steps: (0..<options.participantCount).map {
        let range = Keys.all(.account, at: $0)
        return Step(participant: $0, locks: [.sharedRange(range)], read: .range(range, limit: 1_000))
      }
    ) { answers in
      var result = Result()
      result.balances = answers?.flatMap(\.entries).map { Keys.decode($0.value).first ?? 0 }
      return result
    }
  }

  /// Some of the lists, read or appended to. `value` is new.
  static func lists(
    _ options: SimulationOptions, value: Int, _ random: inout SplitMix64
  ) -> TransactionProgram {
    let count = options.participantCount
    let all = (0..<options.workload.listCount).shuffled(using: &random)
    let chosen = all.prefix(1 + random.below(3))
    // Number, whether it is a span, whether it is appended to.
    let parts = chosen.map { ($0, random.below(2) == 0, random.below(2) == 0) }
    var steps: [Step] = []
    for (number, isSpan, isAppended) in parts {
      if isSpan {
        let range = Keys.span(number, count)
        if isAppended { continue }
        steps.append(
          Step(
            participant: range.partition, locks: [.sharedRange(range)],
            read: .range(range, limit: 1_000)))
      } else {
        let key = Keys.key(.list, number, count)
        steps.append(
          Step(
            participant: key.partition, locks: [isAppended ? .exclusive(key) : .shared(key)],
            read: .keys([key])))
      }
    }
    return TransactionProgram(kind: .lists, steps: steps) { answers in
      var result = Result()
      var rest = answers?[...]
      for (number, isSpan, isAppended) in parts {
        if isSpan, isAppended {
          let key = Keys.key(.span, number, element: value, count)
          result.writes[key.partition, default: []].append(TransactionWrite(key, Keys.encode([value])))
          result.operations.append(.append("s\(number)", value))
          continue
        }
        let entries = rest?.popFirst()?.entries
        if isSpan {
          result.operations.append(.readList("s\(number)", entries.map(Keys.list)))
        } else {
          let list = entries.map { Keys.decode($0.first?.value) }
          result.operations.append(.readList("l\(number)", list))
          guard isAppended else { continue }
          let key = Keys.key(.list, number, count)
          result.writes[key.partition, default: []].append(
            TransactionWrite(key, Keys.encode((list ?? []) + [value])))
          result.operations.append(.append("l\(number)", value))
        }
      }
      return result
    }
  }

  /// Some registers, read or overwritten unread.
  static func registers(
    _ options: SimulationOptions, value: Int, _ random: inout SplitMix64
  ) -> TransactionProgram {
    let count = options.participantCount
    let all = (0..<options.workload.registerCount).shuffled(using: &random)
    let chosen = all.prefix(1 + random.below(2))
    let parts = chosen.map { ($0, random.below(3) == 0, random.below(3) > 0) }
    // What is read and then written may be read for an update.
    let forUpdate = random.below(2) == 0
    let steps = parts.filter(\.1).map { number, _, isWritten in
      let key = Keys.key(.register, number, count)
      let lock = forUpdate && isWritten ? LockTarget.exclusive(key) : .shared(key)
      return Step(participant: key.partition, locks: [lock], read: .keys([key]))
    }
    return TransactionProgram(kind: .registers, steps: steps) { answers in
      var result = Result()
      var rest = answers?[...]
      for (number, isRead, isWritten) in parts {
        let key = Keys.key(.register, number, count)
        if isRead {
          result.operations.append(
            .read("r\(number)", rest?.popFirst()?.entries.first.flatMap { Keys.decode($0.value).first }))
        }
        if isWritten || !isRead {
          result.writes[key.partition, default: []].append(TransactionWrite(key, Keys.encode([value])))
          result.operations.append(.write("r\(number)", value))
        }
      }
      return result
    }
  }
}
