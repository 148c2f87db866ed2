public import RoostCausality
public import RoostCluster

/// A key of a scan and what it holds. Nothing is copied or decoded until it is asked for; each ask does
/// so again. A plain value, which keeps its page's memory.
public struct ScanEntry: Sendable {
  let entries: ScanEntries
  let index: Int

  @usableFromInline
  init(entries: ScanEntries, index: Int) {
    self.entries = entries
    self.index = index
  }

  /// A copy of the key.
  public var key: [UInt8] { entries.key(index) }

  /// The key as text; bytes that are not UTF-8 show as U+FFFD.
  public var keyText: String { String(decoding: key, as: UTF8.self) }

  /// The key's one value, as of ``Read/value``.
  public var value: [UInt8]? { entries.soleValue(index) ?? read.value }

  /// The key's one value as text, as of ``Read/text``.
  public var text: String? { value.map { String(decoding: $0, as: UTF8.self) } }

  /// The key's values, as the keyspace's policy shows them: none beside typed states.
  public var values: [[UInt8]] { read.values }

  /// What was seen: hand it back with the write that replaces it.
  public var context: CausalContext { read.context }

  /// The kinds of typed state that the key holds.
  public var kinds: [RecordKind] { read.kinds }

  /// All that a get would give.
  public var read: Read {
    let keyspace = entries.keyspace
    return keyspace.read(entries.found(index), binding: keyspace.binding(entries.keySpan(index)))
  }

  /// The key, without a copy.
  public var keyBytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(entries.keySpan(index), borrowing: self) }
  }

  /// The value without a copy, where the key holds one value and no write beside it left another;
  /// else `nil`.
  public var valueBytes: RawSpan? {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(entries.soleValueSpan(index), borrowing: self) }
  }
}

/// Some entries of a scan, in order, and where it goes on. A plain value.
public struct ScanPage: RandomAccessCollection, Sendable {
  let entries: ScanEntries

  /// Where to go on; `nil` where no key is left. A page without entries may have one.
  public let token: ScanToken?

  public var startIndex: Int { 0 }
  public var endIndex: Int { entries.count }
  public subscript(index: Int) -> ScanEntry {
    precondition(index >= 0 && index < entries.count)
    return ScanEntry(entries: entries, index: index)
  }
}
