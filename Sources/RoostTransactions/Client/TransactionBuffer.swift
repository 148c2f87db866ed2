package import RoostCluster

/// What a transaction has asked for and not sent yet: its writes and its effects. A value.
package struct TransactionBuffer: Sendable {
  package private(set) var writes: [KeyReference: [UInt8]?] = [:]
  package private(set) var effects: [EventualEffect] = []
  /// Bytes of keys and values.
  package private(set) var byteCount = 0
  private let largestBytes: Int
  private let mostKeys: Int

  package init(_ options: TransactionOptions) {
    largestBytes = options.largestBytes
    mostKeys = options.mostKeys
  }

  package var isEmpty: Bool { writes.isEmpty && effects.isEmpty }

  /// Notes a write; `nil` deletes. A later one of the same key wins.
  ///
  /// - Throws: `.transactionTooLarge`; nothing was noted then.
  package mutating func write(_ target: KeyReference, _ value: [UInt8]?) throws(DatabaseError) {
    var bytes = byteCount + (value?.count ?? 0)
    if let old = writes[target] {
      bytes -= old?.count ?? 0
    } else {
      bytes += target.key.count
      try check(count: writes.count + effects.count + 1)
    }
    try check(bytes: bytes)
    byteCount = bytes
    writes[target] = .some(value)
  }

  /// - Throws: `.transactionTooLarge`; nothing was noted then.
  package mutating func add(_ effect: EventualEffect) throws(DatabaseError) {
    try check(count: writes.count + effects.count + 1)
    let bytes = byteCount + effect.byteCount
    try check(bytes: bytes)
    byteCount = bytes
    effects.append(effect)
  }

  /// What the transaction itself wrote under a key: `nil` where nothing.
  package func ownWrite(_ target: KeyReference) -> [UInt8]?? { writes[target] }

  /// Puts the transaction's own writes over what a range held, in key order.
  package func overlay(_ entries: [ReadEntry], of range: RangeReference) -> [(key: [UInt8], value: [UInt8])] {
    var merged: [[UInt8]: [UInt8]] = [:]
    for entry in entries { merged[entry.target.key] = entry.value }
    for (target, value) in writes where range.contains(target) { merged[target.key] = value }
    return merged.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
  }

  private func check(count: Int) throws(DatabaseError) {
    if count <= mostKeys { return }
    throw DatabaseError(
      .transactionTooLarge, "a transaction may write \(mostKeys) keys; this one has more")
  }

  private func check(bytes: Int) throws(DatabaseError) {
    if bytes <= largestBytes { return }
    throw DatabaseError(
      .transactionTooLarge,
      "a transaction may write \(largestBytes) bytes of keys and values; this one has \(bytes)")
  }
}
