/// Collects range tombstones in any order, overlapping as they may, and makes a list of fragments.
///
/// Copies the keys it is given. Not thread-safe.
struct RangeTombstoneBuilder: ~Copyable {
  /// Offsets into `bytes`, whose memory moves as it grows.
  private struct Raw {
    var start: Int
    var startCount: Int
    var end: Int
    var endCount: Int
    var sequence: UInt64
  }

  private var bytes = ByteBuffer()
  private var raws: [Raw] = []

  init() {}

  var isEmpty: Bool { raws.isEmpty }

  /// Adds a tombstone over the keys from `start` up to `end`; nothing where that is no key.
  mutating func add(from start: ByteView, to end: ByteView, sequence: UInt64) {
    guard start < end else { return }
    let at = bytes.count
    bytes.append(start)
    bytes.append(end)
    raws.append(
      Raw(
        start: at, startCount: start.count, end: at + start.count, endCount: end.count,
        sequence: sequence))
  }

  /// Adds all of a list.
  mutating func add(_ list: RangeTombstoneList) {
    for fragment in list.fragments {
      for sequence in list.sequences(of: fragment) {
        add(from: fragment.start, to: fragment.end, sequence: sequence)
      }
    }
  }

  /// The fragments of all that was added. O(n log n), and as much as the result is long: n
  /// tombstones around each other make n² sequence numbers.
  consuming func build() -> RangeTombstoneList {
    let all = bytes.view
    func start(_ raw: Raw) -> ByteView { all.slice(raw.start, raw.start + raw.startCount) }
    func end(_ raw: Raw) -> ByteView { all.slice(raw.end, raw.end + raw.endCount) }

    raws.sort { start($0) < start($1) }
    var bounds: [ByteView] = []
    bounds.reserveCapacity(raws.count * 2)
    for raw in raws {
      bounds.append(start(raw))
      bounds.append(end(raw))
    }
    bounds.sort { $0 < $1 }

    var pieces = RangeTombstoneList.Pieces()
    // The tombstones over the stretch that begins at the bound, newest first.
    var active: [(end: ByteView, sequence: UInt64)] = []
    var nextRaw = 0
    for i in bounds.indices.dropLast() {
      let from = bounds[i]
      if from == bounds[i + 1] { continue }
      active.removeAll { $0.end <= from }
      while nextRaw < raws.count, start(raws[nextRaw]) <= from {
        let raw = raws[nextRaw]
        let place = active.firstIndex { $0.sequence <= raw.sequence } ?? active.count
        active.insert((end(raw), raw.sequence), at: place)
        nextRaw += 1
      }
      pieces.append(from: from, to: bounds[i + 1], sequences: active.lazy.map(\.sequence))
    }
    let list = RangeTombstoneList(pieces)
    // The pieces' views are of these bytes.
    extendLifetime(bytes)
    return list
  }
}
