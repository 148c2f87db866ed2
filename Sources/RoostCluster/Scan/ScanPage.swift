import RoostCausality
import RoostStorage

/// The entries of one page of a scan: keys and stored records in one piece of memory, copied out only
/// where someone asks.
///
/// Immutable.
@usableFromInline
package final class ScanEntries: Sendable {
  /// Where an entry's bytes are.
  struct Slot {
    var key: Int
    var record: Int
    var end: Int
    /// Where the value is, of a record that is one value and nothing else.
    var value: Range<Int>
    /// Which of `decoded` the record is, of any other; -1 for none.
    var decoded: Int

    /// A record that is one value, which stands at a place of it.
    @inline(__always)
    init(_ entry: GatheredEntry, _ value: Range<Int>) {
      (key, record, end) = (entry.key, entry.value, entry.end)
      self.value = (record &+ value.lowerBound)..<(record &+ value.upperBound)
      decoded = -1
    }

    /// Any other record.
    init(_ entry: GatheredEntry, decoded: Int) {
      (key, record, end) = (entry.key, entry.value, entry.end)
      value = 0..<0
      self.decoded = decoded
    }
  }

  /// What a page is made of while it is filled.
  struct Draft {
    let bytes: GatheredBytes
    var slots: [Slot] = []
    var decoded: [Record] = []

    /// - Parameters:
    ///   - expectedCount: of entries.
    ///   - entryBytes: what each is expected to take.
    init(_ expectedCount: Int, entryBytes: Int) {
      bytes = GatheredBytes(capacity: min(expectedCount * entryBytes, 1 << 20))
      slots.reserveCapacity(expectedCount)
    }

    /// In the memory of a page that is no more.
    fileprivate init(_ bytes: GatheredBytes, _ slots: [Slot]) {
      self.bytes = bytes
      self.slots = slots
    }

    /// The last key that is shown.
    var lastKey: [UInt8]? { slots.last.map { bytes.array($0.key, $0.record) } }
  }

  package let keyspace: KeyspaceCore
  private let bytes: GatheredBytes
  private let slots: [Slot]
  private let decoded: [Record]

  init(_ keyspace: KeyspaceCore, _ draft: Draft) {
    self.keyspace = keyspace
    bytes = draft.bytes
    slots = draft.slots
    decoded = draft.decoded
  }

  /// Memory above is given back rather than filled again.
  private static let largestReclaimedBytes = 256 << 10

  /// Makes an empty draft of a page's memory, where nobody else has the page: it is gone then.
  static func reclaim(_ page: inout ScanEntries?) -> Draft? {
    guard isKnownUniquelyReferenced(&page) else { return nil }
    // With its last holder the page goes, before its memory is written to.
    guard var draft = page.take()?.memory else { return nil }
    draft.bytes.truncate(to: 0)
    draft.slots.removeAll(keepingCapacity: true)
    return draft
  }

  private var memory: Draft? {
    bytes.capacity <= Self.largestReclaimedBytes ? Draft(bytes, slots) : nil
  }

  /// The entries of a transactional keyspace, in order.
  package init(_ keyspace: KeyspaceCore, _ versions: [VersionedEntry]) {
    self.keyspace = keyspace
    decoded = []
    let bytes = GatheredBytes(capacity: versions.reduce(0) { $0 + $1.key.count + $1.value.count + 64 })
    var slots: [Slot] = []
    slots.reserveCapacity(versions.count)
    for version in versions {
      var encoded: [UInt8] = []
      SoleRecord(committedAt: version.timestamp, version.value).record.encode(into: &encoded)
      let entry = unsafe bytes.append(version.key.span.bytes, encoded.span.bytes)
      guard let value = unsafe SoleSibling.value(in: encoded.span.bytes, at: 0) else {
        preconditionFailure("a record of one value is not read as one")
      }
      slots.append(Slot(entry, value))
    }
    self.bytes = bytes
    self.slots = slots
  }

  /// The entries that a node has gathered from replicas, in order.
  package init(_ keyspace: KeyspaceCore, _ entries: [ScanAnswer.Entry]) {
    self.keyspace = keyspace
    decoded = entries.map(\.record)
    let bytes = GatheredBytes(capacity: entries.reduce(0) { $0 + $1.key.count })
    let none: [UInt8] = []
    slots = entries.enumerated().map { index, entry in
      Slot(unsafe bytes.append(entry.key.span.bytes, none.span.bytes), decoded: index)
    }
    self.bytes = bytes
  }

  package var count: Int { slots.count }

  package func key(_ index: Int) -> [UInt8] {
    let slot = slots[index]
    return bytes.array(slot.key, slot.record)
  }

  /// The key, without a copy.
  @_lifetime(borrow self)
  package func keySpan(_ index: Int) -> RawSpan {
    let slot = slots[index]
    return unsafe _overrideLifetime(bytes.unguardedSpan(slot.key, slot.record), borrowing: self)
  }

  /// The value without a copy, where the record is one value and nothing else.
  @_lifetime(borrow self)
  package func soleValueSpan(_ index: Int) -> RawSpan? {
    let slot = slots[index]
    guard slot.decoded < 0 else { return nil }
    return unsafe _overrideLifetime(
      bytes.unguardedSpan(slot.value.lowerBound, slot.value.upperBound), borrowing: self)
  }

  /// A copy of the value, where the record is one value and nothing else.
  package func soleValue(_ index: Int) -> [UInt8]? {
    let slot = slots[index]
    return slot.decoded < 0 ? bytes.array(slot.value.lowerBound, slot.value.upperBound) : nil
  }

  package func found(_ index: Int) -> FoundRecord {
    let slot = slots[index]
    if slot.decoded >= 0 { return .whole(decoded[slot.decoded]) }
    let bytes = bytes
    let span = bytes.span(slot.record, slot.end)
    // It was found when the page was filled; whatever expired since then had not at that time.
    guard let sole = SoleSibling(in: span, at: 0) else { return .absent }
    return .sole(SoleRecord(sole, in: span))
  }
}
