/// A cursor that is read a run ahead: one of those that a ``CursorTournament`` merges.
///
/// Merged one entry at a time, many cursors would be at many places of memory at once, and each step
/// would wait for memory that no prefetching foresees. So each reads some entries in a row and copies
/// them, beginning with one, so that a walk which ends soon has not read much too far. Large values
/// are not copied: a run ends before one, and the entry is shown where it is.
///
/// Not thread-safe. Views are valid until the next move.
@safe
final class CursorRun {
  private struct Entry {
    var key: Int
    var value: Int
    var end: Int
  }

  /// Values above are not copied.
  private static let largestValue = 1_024

  private let cursor: CursorCore
  private let skippedBytes: Int
  private let isDescending: Bool
  private let longestRun: Int
  private let bytes = GatheredBytes(capacity: 192)
  private var entries: [Entry] = []
  private var index = 0
  private var runLength = 1
  /// Whether the current entry is the cursor's own.
  private var isDirect = false
  private(set) var isPositioned = false

  /// - Parameters:
  ///   - cursor: stands on its first entry.
  ///   - longestRun: entries that are read ahead at most, at least 1.
  init(
    _ cursor: CursorCore, skippedBytes: Int, isDescending: Bool, longestRun: Int
  ) throws(StoreError) {
    self.cursor = cursor
    self.skippedBytes = skippedBytes
    self.isDescending = isDescending
    self.longestRun = longestRun
    try fill()
  }

  /// - Throws: of no use then.
  @inline(__always)
  func next() throws(StoreError) {
    if index &+ 1 < entries.count { index &+= 1 } else { try nextRun() }
  }

  @inline(never)
  private func nextRun() throws(StoreError) {
    if isDirect { _ = try move() }
    try fill()
  }

  @inline(__always)
  private func move() throws(StoreError) -> Bool {
    isDescending ? try cursor.previous() : try cursor.next()
  }

  /// Reads a run, from where the cursor stands.
  private func fill() throws(StoreError) {
    bytes.truncate(to: 0)
    entries.removeAll(keepingCapacity: true)
    index = 0
    isDirect = false
    isPositioned = cursor.isPositioned
    var isMore = isPositioned
    while isMore, entries.count < runLength {
      let value = cursor.value
      if value.count > Self.largestValue { break }
      let (key, start, end) = bytes.append(shown(cursor.key), value)
      entries.append(Entry(key: key, value: start, end: end))
      isMore = try move()
    }
    isDirect = isPositioned && entries.isEmpty
    runLength = min(runLength * 2, longestRun)
  }

  /// The part of a key that counts. (Only damage gives a shorter key; it sorts as an empty one.)
  @inline(__always)
  private func shown(_ key: ByteView) -> ByteView { key.dropFirst(min(skippedBytes, key.count)) }

  /// The current key without its first bytes.
  @inline(__always)
  var key: ByteView {
    if isDirect { return shown(cursor.key) }
    if index >= entries.count { return .empty }
    let entry = entries[index]
    return bytes.view(entry.key, entry.value)
  }

  @inline(__always)
  var value: ByteView {
    if isDirect { return cursor.value }
    if index >= entries.count { return .empty }
    let entry = entries[index]
    return bytes.view(entry.value, entry.end)
  }
}
