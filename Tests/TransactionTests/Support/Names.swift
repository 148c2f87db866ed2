import RoostCausality
import RoostCluster
import RoostTransactions

/// Short names for what tests of transactions speak of.

/// The transaction that began `start` milliseconds after the clock's start: the less, the older.
func txn(_ start: UInt64, coordinator: UInt64 = 1) -> TransactionID {
  TransactionID(
    start: Timestamp(milliseconds: TestClock.start + start),
    coordinator: CoordinatorID(rawValue: coordinator))
}

func key(_ name: String, partition: Int = 0) -> KeyReference {
  KeyReference(keyspace: 1, partition: partition, key: Array(name.utf8))
}

func range(_ lower: String, _ upper: String?, partition: Int = 0) -> RangeReference {
  RangeReference(
    keyspace: 1, partition: partition, lower: Array(lower.utf8), upper: upper.map { Array($0.utf8) })
}

func put(_ name: String, _ value: String = "v", partition: Int = 0) -> TransactionWrite {
  TransactionWrite(key(name, partition: partition), Array(value.utf8))
}

func member(_ number: UInt64) -> MemberID { MemberID(rawValue: number) }

let here = Endpoint.coordinator(CoordinatorID(rawValue: 1))

/// A clock that tests turn by hand: physical, monotonic and hybrid logical in one.
struct TestClock {
  static let start: UInt64 = 1_000_000

  var physical = start
  var monotonic: UInt64 = 50
  var last = Timestamp(milliseconds: start)
  /// How far ahead of the last timestamp the bound is.
  var window: UInt64 = 4_000

  mutating func now() -> Instant {
    last = max(Timestamp(rawValue: last.rawValue + 1), Timestamp(milliseconds: physical))
    return Instant(
      physicalMilliseconds: physical, timestamp: last,
      bound: Timestamp(milliseconds: last.milliseconds + window), monotonicMilliseconds: monotonic)
  }

  mutating func advance(_ milliseconds: UInt64) {
    physical += milliseconds
    monotonic += milliseconds
  }

  mutating func observe(_ timestamp: Timestamp) { last = max(last, timestamp) }
}

func testTimes(clockBound: UInt64 = 0) -> ProtocolTimes {
  var times = ProtocolTimes()
  times.clockBoundMilliseconds = clockBound
  return times
}
