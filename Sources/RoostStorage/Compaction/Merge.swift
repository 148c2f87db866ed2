// What a merge keeps (a flush is a merge of one memtable, its late deletes besides, at level 0):
//
// 1. Entries come in internal order: of each key the newest version first.
// 2. A version is dropped when a newer version of its key lies in the same snapshot stripe: nobody
//    can read it.
// 3. A version is dropped when a range tombstone hides it from everyone who could see it.
// 4. A deletion is dropped when all snapshots see it and no deeper level may hold its key: it hides
//    nothing.
// 5. At the bottom, a value that all snapshots see gets sequence 0, unless range tombstones are
//    about: they compare by sequence.
// 6. Range tombstones: per fragment and stripe the newest stays; it goes by rule 4, asked for its
//    whole range.

/// One merge of sorted runs into table files. Not thread-safe; used once.
struct Merge {
  var source: SourceCursor
  /// The inputs' range tombstones, merged; `nil` where there are none.
  var tombstones: RangeTombstoneList?
  var filter: VisibilityFilter
  /// Whether no table below the output may hold the key.
  var isBottom: (ByteView) -> Bool
  /// Whether no table below the output may hold any key from the first up to the second.
  var isBottomRange: (ByteView, ByteView) -> Bool
  /// The filter that the keys of what is kept are added to, where not all are in it.
  var keyFilter: KeyFilter?
  /// Asked now and then; the merge throws `.closed` when it says so.
  var isStopping: () -> Bool

  struct Counts {
    var entriesIn = 0
    var entriesOut = 0
  }

  /// The range tombstones that the outputs must hold.
  func keptTombstones() -> RangeTombstoneList? {
    guard let tombstones else { return nil }
    var builder = RangeTombstoneBuilder()
    for fragment in tombstones.fragments {
      var lastStripe = -1
      for sequence in tombstones.sequences(of: fragment) {
        let stripe = filter.stripe(of: sequence)
        if stripe == lastStripe { continue }
        lastStripe = stripe
        if filter.isSettled(sequence), isBottomRange(fragment.start, fragment.end) { continue }
        builder.add(from: fragment.start, to: fragment.end, sequence: sequence)
      }
    }
    let kept = builder.build()
    return kept.isEmpty ? nil : kept
  }

  /// Writes what is kept to `output`.
  func run(into output: TableOutput) throws(StoreError) -> Counts {
    var counts = Counts()
    var key = ByteBuffer(capacity: 64)
    var hasKey = false
    var lastStripe = 0
    try source.seekToFirst()
    while source.isValid {
      counts.entriesIn &+= 1
      if counts.entriesIn & 1023 == 1, isStopping() {
        throw StoreError(.closed, "the store is closing")
      }
      let sequence = source.tag.sequence
      let stripe = filter.stripe(of: sequence)
      if hasKey, key.view == source.key {
        // Rule 2.
        if stripe == lastStripe {
          try source.next()
          continue
        }
      } else {
        key.removeAll()
        key.append(source.key)
        hasKey = true
      }
      lastStripe = stripe
      if try keep(sequence, &counts, output) { counts.entriesOut &+= 1 }
      try source.next()
    }
    return counts
  }

  @inline(__always)
  private func keep(
    _ sequence: UInt64, _ counts: inout Counts, _ output: TableOutput
  ) throws(StoreError) -> Bool {
    if let tombstones {
      let newest = tombstones.newestSequence(
        covering: source.key, at: filter.stripeEnd(of: sequence))
      if newest > sequence { return false }
    }
    var tag = source.tag
    if filter.isSettled(sequence) {
      if tag.isDelete {
        if isBottom(source.key) { return false }
      } else if tombstones == nil, sequence != 0, isBottom(source.key) {
        tag = Tag(sequence: 0, .put)
      }
    }
    if let keyFilter { keyFilter.add(BloomFilter.hash(source.key)) }
    try output.add(source.key, tag, source.value)
    return true
  }
}
