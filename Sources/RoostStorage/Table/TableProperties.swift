/// The properties block: names and values that describe a table for readers and for people.
///
///     properties := (name lengthPrefixed | value lengthPrefixed)*     names ascending
///
/// A number's value is a varint, a key's the bytes themselves. Readers pass over names they do not
/// know, and none is needed to read the table.
enum TableProperties {
  static func encode(
    _ summary: TableSummary, _ options: TreeOptions, to out: inout ByteBuffer
  ) {
    var pairs: [(name: String, value: [UInt8])] = []
    func number(_ name: String, _ value: UInt64) {
      var bytes = ByteBuffer()
      bytes.append(varint: value)
      pairs.append((name, bytes.view.array))
    }
    number("block-bytes", UInt64(options.blockBytes))
    number("compression", UInt64(options.compression.rawValue))
    number("data-blocks", summary.dataBlockCount)
    number("deletes", summary.deleteCount)
    number("entries", summary.entryCount)
    number("filter-bits-per-key", UInt64(options.filterBitsPerKey))
    pairs.append(("largest", summary.largest))
    number("largest-is-exclusive", summary.largestIsExclusive ? 1 : 0)
    number("largest-sequence", summary.largestSequence)
    number("range-tombstones", summary.rangeTombstoneCount)
    number("raw-key-bytes", summary.rawKeyBytes)
    number("raw-value-bytes", summary.rawValueBytes)
    number("restart-interval", UInt64(options.restartInterval))
    pairs.append(("smallest", summary.smallest))
    number("smallest-sequence", summary.smallestSequence)
    for pair in pairs {
      Array(pair.name.utf8).withByteView { out.append(lengthPrefixed: $0) }
      pair.value.withByteView { out.append(lengthPrefixed: $0) }
    }
  }

  /// All pairs in order; `nil` where the bytes are not pairs with ascending names.
  static func decode(_ bytes: ByteView) -> [(name: String, value: [UInt8])]? {
    var reader = ByteReader(bytes)
    var pairs: [(name: String, value: [UInt8])] = []
    while !reader.isAtEnd {
      guard let name = reader.readLengthPrefixed(), let value = reader.readLengthPrefixed() else {
        return nil
      }
      let text = String(decoding: name.array, as: UTF8.self)
      if let last = pairs.last, last.name >= text { return nil }
      pairs.append((text, value.array))
    }
    return pairs
  }

  /// The summary that pairs describe, as far as they do; `nil` where a known number is not one.
  static func summary(
    _ pairs: [(name: String, value: [UInt8])], byteSize: UInt64
  ) -> TableSummary? {
    var summary = TableSummary()
    summary.byteSize = byteSize
    for pair in pairs {
      if pair.name == "smallest" { summary.smallest = pair.value }
      if pair.name == "largest" { summary.largest = pair.value }
      guard isNumber(pair.name) else { continue }
      guard let value = number(pair.value) else { return nil }
      switch pair.name {
      case "data-blocks": summary.dataBlockCount = value
      case "deletes": summary.deleteCount = value
      case "entries": summary.entryCount = value
      case "largest-is-exclusive": summary.largestIsExclusive = value != 0
      case "largest-sequence": summary.largestSequence = value
      case "range-tombstones": summary.rangeTombstoneCount = value
      case "raw-key-bytes": summary.rawKeyBytes = value
      case "raw-value-bytes": summary.rawValueBytes = value
      case "smallest-sequence": summary.smallestSequence = value
      default: break
      }
    }
    return summary
  }

  /// Whether the property of this name is known to hold a number.
  static func isNumber(_ name: String) -> Bool { numbers.contains(name) }

  static func number(_ value: [UInt8]) -> UInt64? {
    value.withByteView { view in
      var reader = ByteReader(view)
      guard let number = reader.readVarint(), reader.isAtEnd else { return nil }
      return number
    }
  }

  private static let numbers: Set<String> = [
    "block-bytes", "compression", "data-blocks", "deletes", "entries", "filter-bits-per-key",
    "largest-is-exclusive", "largest-sequence", "range-tombstones", "raw-key-bytes",
    "raw-value-bytes", "restart-interval", "smallest-sequence",
  ]
}

/// The range-tombstone block.
///
///     tombstones := fragment*
///     fragment   := start lengthPrefixed | end lengthPrefixed | varint count | varint sequence*
///
/// Fragments ascend and do not overlap; each deletes the keys from `start` up to, not including,
/// `end` for every one of its sequence numbers, which descend.
enum RangeTombstoneBlock {
  static func append(
    _ start: ByteView, _ end: ByteView, _ sequences: [UInt64], to out: inout ByteBuffer
  ) {
    out.append(lengthPrefixed: start)
    out.append(lengthPrefixed: end)
    out.append(varint: sequences.count)
    for sequence in sequences { out.append(varint: sequence) }
  }

  /// The fragments as a list with bytes of its own; `nil` where the bytes are no fragments in
  /// order.
  static func decode(_ bytes: ByteView) -> RangeTombstoneList? {
    var pieces = RangeTombstoneList.Pieces()
    let isValid = forEach(bytes) { start, end, sequences in
      pieces.append(from: start, to: end, sequences: sequences)
    }
    return isValid ? RangeTombstoneList(pieces) : nil
  }

  /// Calls `body` with each fragment. Returns `false`, perhaps after some calls, where the bytes
  /// are no fragments in order.
  static func forEach(
    _ bytes: ByteView, _ body: (_ start: ByteView, _ end: ByteView, _ sequences: [UInt64]) -> Void
  ) -> Bool {
    var reader = ByteReader(bytes)
    var last = ByteView.empty
    while !reader.isAtEnd {
      guard let start = reader.readLengthPrefixed(), let end = reader.readLengthPrefixed(),
        let count = reader.readCount(), count >= 1, count <= reader.remaining,
        start.count >= 1, end.count <= Limits.keyBytes, last <= start, start < end
      else { return false }
      var sequences: [UInt64] = []
      sequences.reserveCapacity(count)
      for _ in 0..<count {
        guard let sequence = reader.readVarint(), sequence <= Tag.maxSequence,
          sequences.last.map({ $0 > sequence }) ?? true
        else { return false }
        sequences.append(sequence)
      }
      body(start, end, sequences)
      last = end
    }
    return true
  }
}
