// An index has a tree of its own in each store, `index/<keyspace>/<name>/<generation>`, with an entry
// for each term of each record in the store:
//
//   entry   := partition u16 big-endian | escaped | key -> empty
//   escaped := the term, each 00 as 00 FF, then 00 01
//
// So entries of a partition are one range, in the order of their terms and then of their keys, and
// what follows the first 00 01 is the key.

/// The keys of an index's entries.
package enum IndexKey {
  /// What a store's tree allows a key.
  static let longest = 65_535

  /// A term's bytes in an entry, up to the mark of its end, which is left out: what the entries of
  /// all terms that begin with it begin with.
  package static func escape(_ term: [UInt8]) -> [UInt8] {
    var escaped: [UInt8] = []
    escaped.reserveCapacity(term.count + 2)
    for byte in term {
      escaped.append(byte)
      if byte == 0 { escaped.append(0xFF) }
    }
    return escaped
  }

  /// What follows the partition in an entry: term and key.
  package static func suffix(_ term: [UInt8], _ key: [UInt8]) -> [UInt8] { escape(term) + [0, 1] + key }

  /// - Returns: `nil` where it is too long for an entry.
  package static func make(_ partition: Int, _ term: [UInt8], _ key: [UInt8]) -> [UInt8]? {
    let entry = StoredKey.make(partition, suffix(term, key))
    return entry.count <= longest ? entry : nil
  }

  /// Term and key of what follows the partition; `nil` for what no entry is.
  package static func split(_ suffix: [UInt8]) -> (term: [UInt8], key: [UInt8])? {
    var term: [UInt8] = []
    var index = 0
    while index < suffix.count {
      let byte = suffix[index]
      index += 1
      if byte != 0 {
        term.append(byte)
        continue
      }
      guard index < suffix.count else { return nil }
      let mark = suffix[index]
      index += 1
      switch mark {
      case 0xFF: term.append(0)
      case 0x01: return (term, Array(suffix[index...]))
      default: return nil
      }
    }
    return nil
  }

  /// The least bytes that no string beginning with `prefix` is below; `nil` where there are none.
  static func end(ofPrefix prefix: [UInt8]) -> [UInt8]? {
    var end = prefix
    while let last = end.last {
      if last < 0xFF {
        end[end.count - 1] = last + 1
        return end
      }
      end.removeLast()
    }
    return nil
  }
}

/// Which terms a query is for. A plain value.
public enum TermRange: Hashable, Sendable {
  case all
  case equals([UInt8])
  /// The terms that begin with these bytes.
  case prefix([UInt8])
  /// The terms from the first up to, and not with, the second. Missing bounds are open.
  case range(from: [UInt8]?, to: [UInt8]?)

  /// The entries' bounds, behind the partition: the first, and the first that is too large.
  var bounds: (lower: [UInt8], upper: [UInt8]?) {
    switch self {
    case .all: ([], nil)
    case .equals(let term):
      (IndexKey.escape(term) + [0, 1], IndexKey.escape(term) + [0, 2])
    case .prefix(let prefix):
      (IndexKey.escape(prefix), IndexKey.end(ofPrefix: IndexKey.escape(prefix)))
    case .range(let lower, let upper):
      (lower.map(IndexKey.escape) ?? [], upper.map(IndexKey.escape))
    }
  }
}
