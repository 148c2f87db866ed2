import RoostCausality
import RoostCluster

// The keys of a store's tree `transactions`:
//
//   key := kind u8 | start u64 big-endian | coordinator u64 big-endian | index u32 big-endian, of marks only
//   kind := p (0x70) a prepared transaction, o (0x6F) an outcome, m (0x6D) an effect that was done,
//           f (0x66) what an operator decided, c (0x63) a coordinator that is over, with a start of 0
//
// Keys of a kind ascend by the transactions' age.

/// Keys of the tree of transactions.
package enum TransactionKey {
  package enum Kind: UInt8, CaseIterable, Sendable {
    case prepared = 0x70
    case outcome = 0x6F
    case mark = 0x6D
    case forced = 0x66
    case ended = 0x63
  }

  package static let byteCount = 17
  static let markByteCount = 21

  package static func make(_ kind: Kind, _ transaction: TransactionID) -> [UInt8] {
    var key = [kind.rawValue]
    append(transaction.start.rawValue, 64, to: &key)
    append(transaction.coordinator.rawValue, 64, to: &key)
    return key
  }

  package static func mark(_ transaction: TransactionID, index: Int) -> [UInt8] {
    var key = make(.mark, transaction)
    append(UInt64(UInt32(clamping: index)), 32, to: &key)
    return key
  }

  /// The first key of a kind whose transaction began at or after a time.
  static func first(_ kind: Kind, since start: Timestamp) -> [UInt8] {
    make(kind, TransactionID(start: start, coordinator: CoordinatorID(rawValue: 0)))
  }

  /// The first key behind all of a kind.
  static func end(of kind: Kind) -> [UInt8] { [kind.rawValue + 1] }

  /// The parts of a key; `nil` where it is none.
  package static func split(_ key: [UInt8]) -> (kind: Kind, transaction: TransactionID, index: Int?)? {
    guard let first = key.first, let kind = Kind(rawValue: first),
      key.count == (kind == .mark ? markByteCount : byteCount)
    else { return nil }
    func number(_ range: Range<Int>) -> UInt64 { key[range].reduce(0) { $0 << 8 | UInt64($1) } }
    let transaction = TransactionID(
      start: Timestamp(rawValue: number(1..<9)), coordinator: CoordinatorID(rawValue: number(9..<17)))
    return (kind, transaction, kind == .mark ? Int(number(17..<21)) : nil)
  }

  private static func append(_ value: UInt64, _ bits: Int, to key: inout [UInt8]) {
    for shift in stride(from: bits - 8, through: 0, by: -8) {
      key.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
    }
  }
}
