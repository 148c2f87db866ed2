public import RoostCausality
import RoostCluster

/// What a read of a key found.
public struct Read: Sendable {
  private let found: FoundRecord
  /// What the keyspace's policy makes of siblings; of a record that has several, or none.
  private let shown: [Sibling]
  private let binding: UInt64

  /// The key's values, as the keyspace's policy shows them: none where it is absent, deleted or
  /// expired, one in the ordinary case, several where concurrent writes left siblings.
  public var values: [[UInt8]] { siblings.map(\.value) }

  /// The values with what is known of their writes.
  public var siblings: [Sibling] {
    if case .sole(let sole) = found { return [sole.sibling] }
    return shown
  }

  /// What was seen: hand it back with the write that replaces it.
  public var context: CausalContext { CausalContext(binding: binding, vector: found.context) }

  /// The record as it is stored, typed state and siblings; `nil` where the key was never written.
  public var record: Record? { found.record }

  /// The value, where there is just one.
  public var value: [UInt8]? {
    if case .sole(let sole) = found { return sole.value }
    return shown.count == 1 ? shown[0].value : nil
  }

  /// The value as text, where there is just one; bytes that are not UTF-8 show as U+FFFD.
  public var text: String? { value.map { String(decoding: $0, as: UTF8.self) } }

  /// Whether nothing is stored under the key: no value and no typed state.
  public var isEmpty: Bool {
    switch found {
    case .absent: true
    case .sole: false
    case .whole(let record): record.isTombstone
    }
  }

  /// The kinds of typed state that the key holds: one, where all writers agree.
  public var kinds: [RecordKind] {
    if case .whole(let record) = found { return record.states.map(\.kind) }
    return []
  }

  init(_ found: FoundRecord, shown: [Sibling], binding: UInt64) {
    self.found = found
    self.shown = shown
    self.binding = binding
  }
}

extension KeyspaceCore {
  func read(_ key: RawSpan) throws(DatabaseError) -> Read {
    read(try find(key), binding: binding(key))
  }

  func read(_ found: FoundRecord, binding: UInt64) -> Read {
    if case .whole(let record) = found {
      return Read(found, shown: visible(record), binding: binding)
    }
    return Read(found, shown: [], binding: binding)
  }

  /// A record that was found otherwise, as a read would show it now.
  func read(_ key: RawSpan, _ record: Record) -> Read {
    read(.whole(unexpired(record)), binding: binding(key))
  }
}
