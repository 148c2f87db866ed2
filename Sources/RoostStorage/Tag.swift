/// What an entry does to its key.
package enum EntryKind: UInt8, Sendable {
  case delete = 0
  case put = 1
}

/// An entry's sequence number and kind in one word: `sequence << 8 | kind`.
///
/// Entries are ordered by user key ascending, then tag descending: the newest version of a key
/// comes first. Sequence numbers take 56 bits; 0 is for entries that no snapshot can tell from
/// older ones.
package struct Tag: Sendable, Equatable {
  package let word: UInt64

  @inline(__always) init(word: UInt64) { self.word = word }

  @inline(__always)
  init(sequence: UInt64, _ kind: EntryKind) {
    word = sequence << 8 | UInt64(kind.rawValue)
  }

  @inline(__always) package var sequence: UInt64 { word >> 8 }

  /// Whether the entry deletes its key. (Decoders refuse kinds they do not know.)
  @inline(__always) package var isDelete: Bool { word & 0xFF == UInt64(EntryKind.delete.rawValue) }

  /// Sorts before every entry of the same key whose sequence number is at most `sequence`, and
  /// after all newer ones: where a read at `sequence` begins.
  @inline(__always)
  static func seek(_ sequence: UInt64) -> Tag { Tag(word: sequence << 8 | 0xFF) }

  static let maxSequence: UInt64 = (1 << 56) - 1
}

/// Limits of what can be stored.
package enum Limits {
  /// A key has 1 to this many bytes.
  package static let keyBytes = 65_535
  package static let valueBytes = 1 << 30
  /// A batch's encoding: a log frame's length is 32 bits, and recovery must hold it.
  package static let batchBytes = 2 << 30
  /// A tree's name has 1 to this many bytes.
  package static let treeNameBytes = 255
}
