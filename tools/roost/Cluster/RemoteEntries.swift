import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

// A cluster's keyspaces as commands that go over many keys see them, eventual and transactional ones alike.

/// A key of a cluster, and what it holds.
struct RemoteEntry {
  enum Held {
    /// Of a transactional keyspace: what was committed last.
    case version([UInt8])
    /// Of an eventual one: what the replicas hold together, and its values as the policy shows them.
    case record(Record, visible: [Sibling])
  }

  var key: [UInt8]
  var held: Held

  /// The value of a key that holds one; `nil` where there are siblings, or a counter, a set and the like.
  var value: [UInt8]? {
    switch held {
    case .version(let value): value
    case .record(let record, let visible):
      visible.count == 1 && record.states.isEmpty ? visible[0].value : nil
    }
  }

  /// The same, for an export.
  ///
  /// - Throws: ``Failure`` where it holds something else.
  func soleValue(_ bytes: BytesOptions) throws -> [UInt8] {
    switch held {
    case .version(let value): value
    case .record(let record, let visible):
      try record.soleValue(visible, of: bytes.text(key), ways: "or show all with `roost scan --json`")
    }
  }

  /// What it holds, in one line: the value alone, where it is one.
  func text(_ bytes: BytesOptions) -> String {
    if let value { return bytes.text(value) }
    guard case .record(let record, _) = held else { return "" }
    return RecordView(bytes: bytes).line(record)
  }
}

extension PlaceOptions {
  /// Calls `body` with the entries of a range in order, page by page, at least once: of an eventual keyspace
  /// as a quorum of each partition's replicas holds them when the page is made, of a transactional one as of
  /// one moment.
  ///
  /// - Parameter limit: most entries.
  /// - Throws: ``Failure``, ``DatabaseError``, what `body` throws.
  func forEachEntry(
    of keys: RemoteKeys, in keyspace: String, _ range: KeyRange, limit: Int? = nil,
    _ body: ([RemoteEntry]) async throws -> Void
  ) async throws {
    var request = ScanRequest(range.scan, in: keyspace, limit: limit ?? .max)
    request.quorum = quorum
    do {
      _ = try await keys.client.forEachPage(request, limit: limit, isResumable: false) { page in
        try await body(
          page.entries.map { entry in
            let visible = page.policy.visible(entry.record)
            return RemoteEntry(key: entry.key, held: .record(entry.record, visible: visible))
          })
      }
    } catch let error as DatabaseError {
      try requireTransactional(error)
      try await keys.cluster.forEachVersion(in: keyspace, range, limit: limit) { entries in
        try await body(entries.map { RemoteEntry(key: $0.key, held: .version($0.value)) })
      }
    }
  }
}
