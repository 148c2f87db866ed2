import Roost
import RoostCausality
import RoostCluster
import RoostStorage

// Keyspaces as commands for whole trees see them: keys, each with one value.

extension KeyspaceCore {
  /// Calls `body` with each key of a range and what it holds, in order.
  func forEach(_ range: KeyRange, _ body: ([UInt8], Record) throws -> Void) throws {
    var wanted = ScanRange()
    wanted.lower = range.lower
    wanted.upper = range.upper
    let scan = try KeyspaceScan(self, wanted, .ascending, after: nil, KeyspaceScan.Limits())
    while !scan.isAtEnd {
      let page = try scan.page(limit: 512)
      for index in 0..<page.count {
        try body(page.key(index), page.found(index).record ?? Record())
      }
    }
  }

  /// Writes a value in place of all that is there.
  func replace(_ key: [UInt8], _ value: [UInt8]) throws {
    try key.withKeyBytes { key in
      _ = try put(key, value, context: context(key, try record(key)))
    }
  }
}

extension DatabaseCore {
  /// Makes all that was written durable.
  func syncAll() throws {
    for member in presentMembers { try member.store.sync() }
  }
}

extension Record {
  /// The one value of it.
  ///
  /// - Parameters:
  ///   - visible: its values as the keyspace's policy shows them.
  ///   - ways: what to do with it, beside making it one value.
  /// - Throws: ``Failure`` where it holds siblings, or a counter, a set and the like.
  func soleValue(_ visible: [Sibling], of key: String, ways: String) throws -> [UInt8] {
    if visible.count == 1, states.isEmpty { return visible[0].value }
    let held = states.first.map { "a \($0.kind)" } ?? "\(Format.count(visible.count, "sibling"))"
    throw Failure.usage(
      "the key `\(key)` holds \(held); an export has one value a key: resolve it first (`roost put "
        + "--replace`), \(ways)")
  }
}
