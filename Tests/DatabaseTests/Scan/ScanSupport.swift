import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// What a scan showed of a key.
struct Shown: Equatable, CustomStringConvertible {
  var key: [UInt8]
  var values: [[UInt8]]
  var kinds: [RecordKind]

  var description: String { "\(String(decoding: key, as: UTF8.self)):\(values.count)" }
}

extension KeyspaceScan {
  /// The next page, as a read of each key would show it.
  func shownPage(limit: Int) throws(DatabaseError) -> [Shown] { try page(limit: limit).shown }

  /// All that is left, by pages of `limit`.
  func rest(limit: Int = 100) throws(DatabaseError) -> [Shown] {
    var shown: [Shown] = []
    while !isAtEnd { shown += try shownPage(limit: limit) }
    return shown
  }
}

extension ScanEntries {
  /// The entries, as a read of each key would show it.
  var shown: [Shown] {
    (0..<count).map { index in
      let found = found(index)
      return Shown(
        key: key(index), values: keyspace.visible(found.record).map(\.value).sorted(by: <),
        kinds: found.record?.states.map(\.kind) ?? [])
    }
  }
}

func < (a: [UInt8], b: [UInt8]) -> Bool { a.lexicographicallyPrecedes(b) }

extension SynchronousDatabase {
  func scan(
    _ range: ScanRange = .all, _ order: ScanOrder = .ascending, after token: ScanToken? = nil,
    _ limits: KeyspaceScan.Limits = KeyspaceScan.Limits()
  ) throws(DatabaseError) -> KeyspaceScan {
    try KeyspaceScan(posts, range, order, after: token, limits)
  }

  /// The keys of a scan as text.
  func keys(_ range: ScanRange = .all, _ order: ScanOrder = .ascending) throws -> [String] {
    try scan(range, order).rest().map { String(decoding: $0.key, as: UTF8.self) }
  }

  /// Moves one replica of a partition to another store by hand: copies its records, tells the route
  /// table, and drops them at the source. No write may run meanwhile.
  func move(_ partition: Int, replica: Int = 0, to target: Int) throws {
    let shared = core.shared
    let source = shared.routes.owner(partition, replica)
    guard source != target else { return }
    let from = try #require(posts.parts[source])
    let to = try #require(posts.parts[target])
    let start = StoredKey.make(partition)
    let end = try #require(StoredKey.end(of: partition))
    var cursor = try from.records.cursor(from: start, to: end)
    while try cursor.next() { try to.records.put(cursor.keyBytes, cursor.valueBytes) }
    shared.locks.withAll {
      var owners = (0..<shared.routes.replicas).map { shared.routes.owner(partition, $0) }
      owners[replica] = target
      shared.routes.set(
        partition, owners: owners, tenancies: owners.map { _ in 2 }, pending: nil)
    }
    try from.records.deleteRange(from: start, to: end)
  }
}
