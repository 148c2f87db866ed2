import CPrefetch

/// An entry of a run. Valid until its reader reads the next one.
struct RunEntry {
  /// Of `key` behind what all share, turned round where the walk is descending: so the smaller one always
  /// comes first.
  var head: UInt64
  /// Without the bytes that do not count.
  var key: ByteView
  var value: ByteView
}

/// Reads a cursor run by run: some entries in a row, which stay together until the next run.
///
/// 1. Keys are copied: in a block they are put together anew for each entry.
/// 2. Values stay where they stand, in memtables, which the cursor holds, and in blocks, which are held
///    when the cursor leaves them. Descending cursors copy what they show from place to place, so
///    there values are copied as well.
/// 3. A run ends before a large value, which is then a run of its own, and where the blocks that are held
///    take too much.
///
/// Not thread-safe.
@safe
final class RunReader {
  /// Values above are runs of their own.
  private static let largestValue = 1_024
  /// Bytes of blocks that a run may hold, but for the last one of them.
  private static let largestHold = 128 << 10
  /// How far behind a value's beginning memory is asked for, where a block has the entries after the
  /// next few: to read one takes a small part of the time that memory takes.
  private static let prefetchedBytes: UInt = 512

  private let cursor: CursorCore
  private let skippedBytes: Int
  private let sharedBytes: Int
  private let isDescending: Bool
  private let longestRun: Int
  let left = LeftBlocks()
  /// The bytes of a run that are copied; never grows within a run.
  // Only ``read()`` touches it, which nothing that it calls calls.
  @exclusivity(unchecked) private var bytes = ByteBuffer(capacity: 192)
  /// Room for the longest run.
  let entries: UnsafeMutablePointer<RunEntry>
  private var runLength = 1
  /// Whether the run is the cursor's own entry.
  private var isDirect = false

  /// - Parameters:
  ///   - cursor: stands on its first entry.
  ///   - skippedBytes: how many bytes at the front of keys do not count.
  ///   - sharedBytes: in how many of those behind them all keys agree.
  ///   - longestRun: entries that are read ahead at most, at least 1.
  init(
    _ cursor: CursorCore, skippedBytes: Int, sharedBytes: Int, isDescending: Bool, longestRun: Int
  ) {
    self.cursor = cursor
    self.skippedBytes = skippedBytes
    self.sharedBytes = sharedBytes
    self.isDescending = isDescending
    self.longestRun = longestRun
    unsafe entries = .allocate(capacity: longestRun)
    if !isDescending { cursor.keepLeftBlocks(in: left) }
  }

  deinit { unsafe entries.deallocate() }

  @inline(__always)
  private func move() throws(StoreError) -> Bool {
    isDescending ? try cursor.previous() : try cursor.next()
  }

  /// Reads a run, from where the cursor stands.
  ///
  /// - Returns: its entries, valid until the next call: none where the cursor is at its end.
  /// - Throws: of no use then.
  @inline(never)
  func read() throws(StoreError) -> UnsafeMutableBufferPointer<RunEntry> {
    if isDirect { _ = try move() }
    isDirect = false
    left.removeAll()
    let length = runLength
    let mask: UInt64 = isDescending ? .max : 0
    unsafe bytes.truncate(to: 0)
    var count = 0
    var isMore = cursor.isPositioned
    while isMore, count < length, left.byteCount < Self.largestHold {
      let (key, value) = (shown(cursor.key), cursor.value)
      if value.count > Self.largestValue {
        if count > 0 { break }
        unsafe entries.initialize(to: RunEntry(head: head(key) ^ mask, key: key, value: value))
        isDirect = true
        count = 1
        break
      }
      let size = isDescending ? key.count &+ value.count : key.count
      // The first one's size tells those of the others, more or less; where it is too small, the run
      // is shorter.
      if count == 0 { unsafe bytes.reserve((size &+ size / 8 &+ 16) &* length) }
      if unsafe bytes.capacity &- bytes.count < size { break }
      let ownKey = unsafe bytes.appendAndView(key)
      let ownValue: ByteView
      if isDescending {
        ownValue = unsafe bytes.appendAndView(value)
      } else {
        ownValue = value
        left.noteShown()
        prefetch(behind: value)
      }
      unsafe (entries + count).initialize(
        to: RunEntry(head: head(key) ^ mask, key: ownKey, value: ownValue))
      count &+= 1
      isMore = try move()
    }
    runLength = min(length * 2, longestRun)
    return unsafe UnsafeMutableBufferPointer(start: entries, count: count)
  }

  /// Two lines: about what an entry takes. (Any address will do, so none is checked.)
  @inline(__always)
  private func prefetch(behind value: ByteView) {
    let ahead = unsafe UInt(bitPattern: value.base) &+ Self.prefetchedBytes
    unsafe roost_prefetch(UnsafeRawPointer(bitPattern: ahead))
    unsafe roost_prefetch(UnsafeRawPointer(bitPattern: ahead &+ 64))
  }

  /// The part of a key that counts. (Only damage gives a shorter key; it sorts as an empty one.)
  @inline(__always)
  private func shown(_ key: ByteView) -> ByteView { key.dropFirst(min(skippedBytes, key.count)) }

  @inline(__always)
  private func head(_ key: ByteView) -> UInt64 { key.head(skipping: min(sharedBytes, key.count)) }
}
