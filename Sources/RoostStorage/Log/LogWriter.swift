import RoostEnvironment

/// Appends frames to a log, and goes on in the next file when one is full.
///
/// Invariants:
/// - Frames stand in the file in the order of `commit`; none follows a failed write.
/// - Behind every record there is room for a mark and an end frame, behind every mark for an end frame.
/// - A mark states only what a sync that returned had covered.
/// - Behind the last frame of a mapped or recycled segment stands a header of zeros.
///
/// Where the segment is mapped, a committed frame is in the operating system's hands at once.
/// Otherwise frames are staged in memory until ``flush()``.
///
/// Used by one thread at a time; the caller sees to that.
@safe
final class LogWriter: @unchecked Sendable {
  /// Why nothing more is appended.
  enum Failure: Sendable {
    /// A write found the disk full. Nothing since the last `flush` is in the log.
    case diskFull
    /// A write failed. Nothing since the last `flush` is known to be in the log.
    case write
    /// A sync failed. Nothing since the last `sync` is known to be on disk.
    case sync
  }

  enum State: Sendable, Equatable {
    case open
    case failed(Failure)
    case closed
  }

  private(set) var state = State.open
  /// The segment that is being written.
  private(set) var segment: LogSegment
  /// Complete segments that this writer knows of no sync of, oldest first. Someone else may have
  /// synced them since (``LogSegment/isSynced``).
  private(set) var unsyncedEnded: [LogSegment] = []
  /// Syncs that were asked of the system for records, one a segment.
  private(set) var syncCount = 0

  // The hot state. Offsets are in the file; the byte at `windowStart` stands at `base`.
  private var base: UnsafeMutableRawPointer
  private var windowStart: Int
  /// Where the next frame begins.
  private var cursor: Int
  /// Where a record's frame must end at the latest. 0 when no record may be appended.
  private var limit: Int
  private var salt: UInt64
  private var isMapped: Bool
  /// Keeps the memory at `base`.
  private var mapping: (any MappedFile)?
  /// Payload bytes of the frame under construction; negative when there is none.
  private var reserved = -1

  private var staging: ByteBuffer
  /// Everything before it is on disk.
  private var syncedOffset: Int
  /// Where the last mark ends: a cursor still there has nothing to sync but that mark.
  private var cleanOffset: Int
  private var isMarkUnsynced = false
  private var endedBytes = 0
  private let nextSegment: ((_ minimumCapacity: Int) throws(StoreError) -> LogSegment)?

  private static let stagingBytes = 64 << 10
  /// Staged bytes past which a record waits for no flush of the caller's.
  private static let stagingLimit = 1 << 20

  /// - Parameters:
  ///   - segment: fresh, without a frame.
  ///   - nextSegment: makes the segment that goes on when one is full, of at least the capacity it
  ///     is given, and records it where replay will look before it returns. When it throws, so does
  ///     the append, and the writer stays usable. `nil` for a log that never goes on.
  init(
    _ segment: LogSegment,
    nextSegment: ((_ minimumCapacity: Int) throws(StoreError) -> LogSegment)? = nil
  ) {
    self.segment = segment
    self.nextSegment = nextSegment
    mapping = segment.mapping
    staging = ByteBuffer(capacity: mapping == nil ? Self.stagingBytes : 16)
    unsafe base = staging.base
    windowStart = 0
    cursor = segment.end
    limit = 0
    salt = segment.salt
    isMapped = false
    syncedOffset = segment.end
    cleanOffset = segment.end
    adopt(segment)
  }

  // MARK: Counters

  /// Where the next frame goes.
  var position: LogPosition { LogPosition(log: segment.number, offset: cursor) }
  /// Bytes of frames appended since the writer was made.
  var bytesWritten: Int { endedBytes + cursor - LogHeader.byteCount }
  /// Bytes that a sync would make durable. A lone mark counts for nothing.
  var unsyncedBytes: Int {
    unsyncedEnded.reduce(0) { $0 + $1.end - LogHeader.byteCount }
      + (cursor == cleanOffset ? 0 : cursor - syncedOffset)
  }

  /// Whether it is time to have the next segment made ready: a quarter of this one is used.
  @inline(__always)
  var wantsNext: Bool { cursor > limit / 4 }

  /// Whether the segment is about to be full: the next one must then be named in the manifest
  /// before the write goes on.
  @inline(__always)
  var isEnding: Bool { segment.capacity - cursor < min(64 << 10, segment.capacity / 16) }

  // MARK: Appending

  /// Begins a frame: the memory for up to `byteCount` bytes of payload, to be filled before
  /// ``commit``. A reservation that is not committed leaves no trace.
  ///
  /// - Throws: `.tooLarge`; `.readOnly` after a failure; `.closed`; what `nextSegment` or a write
  ///   throws.
  /// - Complexity: O(1), but for a new segment or a full stage.
  @inline(__always)
  func reserve(_ byteCount: Int) throws(StoreError) -> UnsafeMutableRawBufferPointer {
    if UInt(bitPattern: byteCount) > UInt(bitPattern: LogFrame.maxPayloadBytes)
      || cursor &+ LogFrame.headerBytes &+ byteCount > limit
    {
      try makeRoom(byteCount)
    }
    reserved = byteCount
    return unsafe UnsafeMutableRawBufferPointer(
      start: base + (cursor &- windowStart &+ LogFrame.headerBytes), count: byteCount)
  }

  /// Ends the frame that `reserve` began, whose payload is the first `byteCount` bytes of the
  /// memory.
  ///
  /// - Complexity: O(`byteCount`), for the checksum.
  @inline(__always)
  func commit(_ byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= reserved)
    reserved = -1
    let offset = cursor
    let frame = unsafe base + (offset &- windowStart)
    let size = LogFrame.byteCount(payload: byteCount)
    // The padding, and then a header of zeros; the reserve behind the frame has room for it.
    unsafe frame.storeUnaligned(0, at: LogFrame.headerBytes &+ byteCount)
    unsafe frame.storeUnaligned(0, at: size)
    unsafe frame.storeUnaligned(0, at: size &+ 8)
    unsafe frame.storeUnaligned(LogFrame.word(.record, length: byteCount), at: 8)
    let checksum = unsafe LogFrame.checksum(
      ByteView(UnsafeRawPointer(frame + 8), count: 8 &+ byteCount), at: offset, salt: salt)
    unsafe frame.storeUnaligned(checksum, at: 0)
    cursor = offset &+ size
  }

  /// Appends a record.
  ///
  /// - Returns: where its frame begins.
  /// - Throws: as ``reserve(_:)``.
  @discardableResult
  func append(_ payload: ByteView) throws(StoreError) -> LogPosition {
    let region = unsafe try reserve(payload.count)
    if let start = region.baseAddress { unsafe payload.copy(to: start) }
    let position = self.position
    commit(payload.count)
    return position
  }

  // MARK: Handing over

  /// Hands all committed frames to the operating system: they then survive the end of the process.
  ///
  /// - Throws: `.diskFull` or `.io`: nothing since the last flush is acknowledged and the segment
  ///   has ended; `.readOnly` after an earlier failure; `.closed`.
  @inline(__always)
  func flush() throws(StoreError) {
    if !isMapped || limit == 0 { try flushStaged() }
  }

  /// Makes all committed frames durable, those of older segments first, and then notes so in a
  /// mark.
  ///
  /// - Throws: as ``flush()``; `.outcomeUnknown` where a sync fails: what was appended since the
  ///   last sync may or may not survive, and nothing more is appended.
  func sync() throws(StoreError) {
    try checkOpen()
    guard cursor != cleanOffset || !unsyncedEnded.isEmpty else { return }
    try flush()
    try syncFiles()
    noteSynced(cursor)
  }

  /// What is to be synced beside the writer, and how far that reaches.
  struct SyncTarget {
    /// The oldest first.
    fileprivate(set) var segments: [LogSegment]
    fileprivate(set) var position: LogPosition
  }

  /// Hands over what is committed, for someone who syncs it while others go on appending.
  ///
  /// - Returns: `nil` where nothing is to be synced. Else each segment is to be synced, in order, and
  ///   ``endSync(_:)`` to be called where that succeeds.
  /// - Throws: as ``flush()``.
  func beginSync() throws(StoreError) -> SyncTarget? {
    try checkOpen()
    guard cursor != cleanOffset || !unsyncedEnded.isEmpty else { return nil }
    try flush()
    let segments = unsyncedEnded.filter { !$0.isSynced.load(ordering: .acquiring) } + [segment]
    return SyncTarget(segments: segments, position: position)
  }

  /// Notes in a mark that what ``beginSync()`` handed over is durable.
  func endSync(_ target: SyncTarget) {
    unsyncedEnded.removeAll { $0.isSynced.load(ordering: .acquiring) }
    // In a later segment, or behind a later sync, there is nothing new to say.
    guard state == .open, target.position.log == segment.number, target.position.offset > syncedOffset
    else { return }
    noteSynced(target.position.offset)
  }

  /// All before `offset` is durable.
  private func noteSynced(_ offset: Int) {
    syncedOffset = offset
    let isAll = cursor == offset
    // Behind a record there is room for one mark. A second one, of a sync beside the writer, may find none at
    // the segment's end: the next segment's marks state it.
    if cursor <= limit {
      appendMark(offset)
      isMarkUnsynced = true
    }
    if isAll { cleanOffset = cursor }
    // Where the mark cannot be written the records are safe all the same: only later appends fail.
    try? flush()
  }

  /// Ends writing, because something that the log depends on has failed.
  func poison(_ failure: Failure) {
    guard state == .open else { return }
    state = .failed(failure)
    limit = 0
  }

  /// Makes everything durable, the last mark included, and closes the segment's file. After a
  /// failure, only closes.
  ///
  /// - Throws: as ``sync()``. The file is closed in any case.
  func close() throws(StoreError) {
    guard state == .open else {
      if state != .closed { segment.file.close() }
      state = .closed
      return
    }
    defer {
      state = .closed
      limit = 0
      segment.file.close()
    }
    try sync()
    if isMarkUnsynced, state == .open {
      try syncFiles()
      isMarkUnsynced = false
    }
  }

  // MARK: The slow paths

  private func checkOpen() throws(StoreError) {
    switch state {
    case .open: return
    case .closed: throw StoreError(.closed, "the \(segment.purpose.name) is closed")
    case .failed(let failure):
      throw StoreError(
        .readOnly, "an earlier failure (\(failure)) ended the \(segment.purpose.name)",
        file: segment.path.string)
    }
  }

  /// Sees to it that a frame of `byteCount` payload bytes fits at the cursor.
  @inline(never)
  private func makeRoom(_ byteCount: Int) throws(StoreError) {
    try checkOpen()
    precondition(byteCount >= 0)
    guard byteCount <= LogFrame.maxPayloadBytes else {
      throw StoreError(.tooLarge, "a log record of \(byteCount) bytes; 4 GiB is the limit")
    }
    let needed = LogFrame.byteCount(payload: byteCount) + LogFrame.reserveBytes
    if needed > segment.capacity - cursor { try roll(LogHeader.byteCount + needed) }
    guard !isMapped, needed > windowStart + staging.capacity - cursor else { return }
    if cursor - windowStart >= Self.stagingLimit { try flushStaged() }
    staging.setCount(cursor - windowStart)
    staging.reserve(needed)
    unsafe base = staging.base
    setLimit()
  }

  /// Ends the segment and goes on in a new one.
  private func roll(_ minimumCapacity: Int) throws(StoreError) {
    guard let nextSegment else {
      throw StoreError(.tooLarge, "the \(segment.purpose.name) is full", file: segment.path.string)
    }
    let next = try nextSegment(minimumCapacity)
    precondition(next.capacity >= minimumCapacity && next.number > segment.number)
    precondition(next.end == LogHeader.byteCount)
    appendEnd(next.number)
    try flush()
    segment.end = cursor
    segment.isEnded.store(true, ordering: .releasing)
    unsyncedEnded.removeAll { $0.isSynced.load(ordering: .acquiring) }
    unsyncedEnded.append(segment)
    endedBytes += cursor - LogHeader.byteCount
    adopt(next)
  }

  private func adopt(_ next: LogSegment) {
    segment = next
    salt = next.salt
    cursor = next.end
    syncedOffset = next.end
    cleanOffset = next.end
    isMarkUnsynced = false
    mapping = next.mapping
    isMapped = mapping != nil
    if let mapping {
      precondition(mapping.byteCount >= next.capacity)
      unsafe base = mapping.base
      windowStart = 0
    } else {
      unsafe base = staging.base
      windowStart = cursor
    }
    setLimit()
  }

  private func setLimit() {
    let windowEnd =
      isMapped
      ? segment.capacity
      : min(segment.capacity, windowStart + staging.capacity & ~(LogFrame.alignment - 1))
    limit = windowEnd - LogFrame.reserveBytes
  }

  @inline(never)
  private func flushStaged() throws(StoreError) {
    try checkOpen()
    let count = cursor - windowStart
    guard !isMapped, count > 0 else { return }
    // Where old frames may follow, a header of zeros goes behind the last one, if there is room.
    var written = count
    if segment.isRecycled {
      unsafe base.storeUnaligned(0, at: count)
      unsafe base.storeUnaligned(0, at: count + 8)
      written += min(LogFrame.headerBytes, segment.capacity - cursor)
    }
    do {
      let bytes = unsafe ByteView(UnsafeRawPointer(base), count: written)
      try segment.file.write(bytes.span, at: Int64(windowStart))
    } catch {
      poison(error.code == .noSpace ? .diskFull : .write)
      throw StoreError("write the \(segment.purpose.name)", error)
    }
    windowStart = cursor
    segment.end = cursor
    staging.removeAll()
    if staging.capacity > 2 * Self.stagingLimit {
      staging = ByteBuffer(capacity: Self.stagingBytes)
      unsafe base = staging.base
    }
    setLimit()
  }

  private func syncFiles() throws(StoreError) {
    do {
      for ended in unsyncedEnded where !ended.isSynced.load(ordering: .acquiring) {
        syncCount += 1
        try ended.sync()
      }
      unsyncedEnded.removeAll()
      syncCount += 1
      try segment.sync()
    } catch {
      poison(.sync)
      throw error
    }
  }

  /// Notes that all before `offset` is durable. A cursor that is not behind the limit has room for a mark
  /// and an end.
  private func appendMark(_ offset: Int) {
    appendControl(.mark, segment.number, UInt64(offset))
  }

  private func appendEnd(_ next: UInt64) {
    appendControl(.end, next, nil)
  }

  private func appendControl(_ kind: LogFrame.Kind, _ first: UInt64, _ second: UInt64?) {
    let length = second == nil ? 8 : 16
    let size = LogFrame.byteCount(payload: length)
    precondition(size <= segment.capacity - cursor)
    let frame = unsafe base + (cursor - windowStart)
    unsafe frame.storeUnaligned(LogFrame.word(kind, length: length), at: 8)
    unsafe frame.storeUnaligned(first, at: 16)
    if let second { unsafe frame.storeUnaligned(second, at: 24) }
    if kind != .end {
      unsafe frame.storeUnaligned(0, at: size)
      unsafe frame.storeUnaligned(0, at: size + 8)
    }
    let checksum = unsafe LogFrame.checksum(
      ByteView(UnsafeRawPointer(frame + 8), count: 8 + length), at: cursor, salt: salt)
    unsafe frame.storeUnaligned(checksum, at: 0)
    cursor += size
  }
}
