import RoostEnvironment
import SystemPackage

/// Reads back what logs hold.
///
/// 1. Every log must be there, as long as the manifest says, with the header it says. All are
///    looked at before the first record is delivered.
/// 2. Frames are delivered in order up to the first place where none stands, in the first log that
///    has such a place: a *stop*. An end frame leads into the next log; nothing else does, so
///    replay never passes a hole.
/// 3. Is the stop before the highest mark, that is, before anything that some valid mark at or
///    behind it states as synced, in this log or a later one? Then synced bytes are gone:
///    corruption.
/// 4. Otherwise it is the end of the log where zeros stand and no frame follows, and a torn tail
///    where anything else does: records that were never synced, which are dropped and reported.
///
/// What this cannot decide: the last group of records that was synced, where its mark, which is
/// itself not synced, did not reach the disk. Damage there looks like a torn tail.
enum LogReplay {
  /// A log as the manifest names it.
  struct Log: Sendable, Equatable {
    var number: UInt64
    var salt: UInt64
    /// The file's size at least.
    var byteCount: Int
  }

  /// Records that were dropped, none of them known to have been synced.
  struct TornTail: Sendable, Equatable {
    var log: UInt64
    var file: String
    var offset: Int
    /// Bytes from there to the last one in the file that is not zero. In a recycled file some are
    /// older.
    var byteCount: Int
  }

  struct Report: Sendable, Equatable {
    var records = 0
    /// Payload bytes of the records.
    var bytes = 0
    /// Where replay stopped.
    var end = LogPosition(log: 0, offset: 0)
    /// The highest mark among the frames read.
    var highestMark: LogPosition?
    var tornTail: TornTail?
  }

  /// Replays the write-ahead logs that the manifest names, oldest first.
  ///
  /// - Parameter deliver: given each record's payload, valid within the call, and its place.
  /// - Throws: `.missingFile`; `.corruption`, also after records were delivered; `.newerFormat`;
  ///   `.io`; what `deliver` throws.
  static func replay(
    _ logs: [Log], _ fileSystem: any FileSystem, _ directory: FilePath, identity: UInt128,
    purpose: LogPurpose = .writeAhead,
    deliver: (ByteView, LogPosition) throws(StoreError) -> Void
  ) throws(StoreError) -> Report {
    func open(_ log: Log) throws(StoreError) -> LogReader {
      let path = directory.appending(purpose.fileName(log.number))
      let reader = try LogReader(fileSystem, path)
      let expected = LogHeader(
        purpose: purpose, number: log.number, salt: log.salt, identity: identity)
      guard reader.header == expected else {
        throw .corruption(
          "the log's header is not that of the log the manifest names", file: path.string, offset: 0
        )
      }
      guard reader.byteCount >= log.byteCount else {
        throw .corruption(
          "the log has \(reader.byteCount) bytes, the manifest says \(log.byteCount)",
          file: path.string, offset: Int64(reader.byteCount))
      }
      return reader
    }
    for log in logs { _ = try open(log) }

    var report = Report()
    for (index, log) in logs.enumerated() {
      let reader = try open(log)
      let next = index + 1 < logs.count ? logs[index + 1].number : nil
      if try !read(reader, next: next, &report, deliver) {
        try judge(
          reader, later: logs[(index + 1)...], open: open, &report)
        return report
      }
    }
    return report
  }

  /// Replays a log that is one file, whose salt its own header says: the manifest.
  ///
  /// - Throws: as ``replay(_:_:_:identity:purpose:deliver:)``.
  static func replay(
    _ purpose: LogPurpose, number: UInt64, _ fileSystem: any FileSystem, _ directory: FilePath,
    identity: UInt128, deliver: (ByteView, LogPosition) throws(StoreError) -> Void
  ) throws(StoreError) -> (report: Report, header: LogHeader) {
    let path = directory.appending(purpose.fileName(number))
    let reader = try LogReader(fileSystem, path)
    let header = reader.header
    guard header.purpose == purpose, header.number == number, header.identity == identity else {
      throw .corruption(
        "the header is that of another file or another store", file: path.string, offset: 0)
    }
    var report = Report()
    if try !read(reader, next: nil, &report, deliver) {
      try judge(reader, later: [], open: { _ throws(StoreError) in reader }, &report)
    }
    return (report, header)
  }

  /// Delivers a log's records. Returns whether an end frame leads to the next log.
  private static func read(
    _ reader: LogReader, next: UInt64?, _ report: inout Report,
    _ deliver: (ByteView, LogPosition) throws(StoreError) -> Void
  ) throws(StoreError) -> Bool {
    let number = reader.header.number
    while true {
      guard case .frame(let frame) = try reader.next() else {
        report.end = LogPosition(log: number, offset: reader.offset)
        return false
      }
      switch frame.kind {
      case .record:
        report.records += 1
        report.bytes += frame.payload.count
        try deliver(frame.payload, LogPosition(log: number, offset: frame.offset))
      case .mark:
        report.highestMark = max(report.highestMark ?? LogReader.mark(frame), LogReader.mark(frame))
      case .end:
        let named = frame.payload.loadUInt64(at: 0)
        report.end = LogPosition(log: number, offset: frame.end)
        guard named == next else {
          throw .corruption(
            "the log goes on in log \(named), which is not the next one that the manifest names",
            file: reader.path.string, offset: Int64(frame.offset))
        }
        return true
      }
    }
  }

  /// Decides what a stop is: the end, a torn tail, or corruption.
  private static func judge(
    _ reader: LogReader, later: ArraySlice<Log>,
    open: (Log) throws(StoreError) -> LogReader, _ report: inout Report
  ) throws(StoreError) {
    let stop = report.end
    let file = reader.path.string
    var framesFollow = false

    func search(_ reader: LogReader, from start: Int) throws(StoreError) {
      var effort = 2 * reader.byteCount
      var at = start
      while let frame = try reader.findFrame(
        from: at, effort: &effort, { $0 == .mark || !framesFollow })
      {
        framesFollow = true
        at = frame.end
        if frame.kind == .mark, LogReader.mark(frame) > stop {
          throw .corruption(
            "no valid frame stands here, yet the log had been synced up to \(LogReader.mark(frame))",
            file: file, offset: Int64(stop.offset))
        }
      }
    }
    try search(reader, from: stop.offset)
    for log in later { try search(try open(log), from: LogHeader.byteCount) }

    let contentEnd = try reader.contentEnd(from: stop.offset)
    reader.rewind(to: stop.offset)
    if case .end = try reader.next(), !framesFollow { return }
    report.tornTail = TornTail(
      log: stop.log, file: file, offset: stop.offset, byteCount: contentEnd - stop.offset)
  }
}
