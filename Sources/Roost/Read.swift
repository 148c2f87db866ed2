public import RoostCausality
import RoostCluster

/// What a read of a key found.
public struct Read: Sendable {
  /// The key's values, as the keyspace's policy shows them: none where it is absent, deleted or
  /// expired, one in the ordinary case, several where concurrent writes left siblings.
  public var values: [[UInt8]] { siblings.map(\.value) }

  /// The values with what is known of their writes.
  public let siblings: [Sibling]

  /// What was seen: hand it back with the write that replaces it.
  public let context: CausalContext

  /// The record as it is stored, typed state and siblings; `nil` where the key was never written.
  public let record: Record?

  /// The value, where there is just one.
  public var value: [UInt8]? { siblings.count == 1 ? siblings[0].value : nil }

  /// The value as text, where there is just one; bytes that are not UTF-8 show as U+FFFD.
  public var text: String? { value.map { String(decoding: $0, as: UTF8.self) } }

  /// Whether nothing is stored under the key: no value and no typed state.
  public var isEmpty: Bool { record?.isTombstone ?? true }

  /// The kinds of typed state that the key holds: one, where all writers agree.
  public var kinds: [RecordKind] { record?.states.map(\.kind) ?? [] }
}

extension KeyspaceCore {
  func read(_ key: RawSpan) throws(DatabaseError) -> Read {
    let record = try record(key)
    return Read(siblings: visible(record), context: context(key, record), record: record)
  }

  /// A record that was found otherwise, as a read would show it now.
  func read(_ key: RawSpan, _ record: Record) -> Read {
    let record = unexpired(record)
    return Read(siblings: visible(record), context: context(key, record), record: record)
  }
}
