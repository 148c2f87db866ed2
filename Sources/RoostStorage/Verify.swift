import RoostEnvironment
import SystemPackage

/// How far ``Store/verify(progress:)`` has come.
public struct VerifyProgress: Sendable, Equatable {
  public var bytesDone: Int64
  public var bytesTotal: Int64
}

/// What ``Store/verify(progress:)`` found.
public struct VerifyReport: Sendable {
  /// Everything that is wrong, with file and offset; empty for a healthy store.
  public var problems: [StoreError] = []
  public var trees = 0
  public var tables = 0
  /// Entries in tables, old versions and deletions included.
  public var entries: UInt64 = 0
  /// Bytes of tables read.
  public var tableBytes: Int64 = 0
  public var logs = 0
  public var logRecords = 0
  public var logBytes = 0

  public var isHealthy: Bool { problems.isEmpty }
}

extension Store {
  /// Reads everything and checks all that must hold: every checksum of every table, log and
  /// manifest; the order of keys in blocks, between blocks and between tables; indexes and
  /// properties against contents; that no filter denies a key that is there; the manifest on disk
  /// against the state in memory, and the files against the manifest.
  ///
  /// Goes on after a problem, to find all. Reads and writes go on beside it, but no table is
  /// installed while the logs are read.
  ///
  /// - Parameter progress: told now and then, on the calling thread.
  /// - Returns: what was checked and what is wrong.
  /// - Throws: `.closed`. Damage is reported, not thrown.
  /// - Complexity: reads all bytes once.
  public func verify(
    progress: ((VerifyProgress) -> Void)? = nil
  ) throws(StoreError) -> VerifyReport {
    try checkOpen()
    var report = VerifyReport()
    let states = try checkOutline(&report)
    report.trees = states.count
    var done = VerifyProgress(
      bytesDone: 0,
      bytesTotal: states.reduce(0) { $0 + $1.state.levels.reduce(0) { $0 + $1.byteCount } })
    for (tree, state) in states {
      for (number, level) in state.levels.enumerated() {
        checkOrder(of: level, number, tree, &report)
        for file in level.files {
          try checkOpen()
          check(file, &report) { bytes in
            progress?(
              VerifyProgress(
                bytesDone: done.bytesDone + Int64(clamping: bytes), bytesTotal: done.bytesTotal))
          }
          done.bytesDone += file.metadata.byteCount
          report.tables += 1
          report.tableBytes += file.metadata.byteCount
          report.entries += file.metadata.entryCount
          progress?(done)
        }
      }
    }
    return report
  }

  /// Checks manifest and logs.
  ///
  /// - Returns: the trees and the states whose tables are to be checked.
  private func checkOutline(
    _ report: inout VerifyReport
  ) throws(StoreError) -> [(tree: TreeCore, state: TreeState)] {
    try commits.lead()
    // Under the lead nothing is being written; what comes after this position is not looked at.
    let end = writer.position
    installing.lock()
    commits.release()
    // Held so that no log is retired while it is read.
    defer { installing.unlock() }
    let states = stateLock.withLock { trees.values.map { ($0, $0.current) } }
    checkManifest(states, &report)
    checkLogs(upTo: end, &report)
    return states.sorted { $0.0.id < $1.0.id }
  }

  private func check(
    _ file: TableFile, _ report: inout VerifyReport, progress: (UInt64) -> Void
  ) {
    let metadata = file.metadata
    let reader: TableReader
    do throws(StoreError) { reader = try tables.reader(of: file) } catch {
      report.problems.append(error)
      return
    }
    var problems: [StoreError] = []
    reader.verify(progress: progress) { problems.append($0) }
    let found = TableMetadata(
      number: metadata.number, identity: reader.identity, summary: reader.summary)
    if problems.isEmpty, found != metadata {
      problems.append(
        .corruption("the table's properties are not those that the manifest holds", file: reader.path))
    }
    report.problems += problems
  }

  /// Below level 0, each table must end before the next begins; level 0 is newest first.
  private func checkOrder(
    of level: Level, _ number: Int, _ tree: TreeCore, _ report: inout VerifyReport
  ) {
    for (file, next) in zip(level.files, level.files.dropFirst()) {
      let inOrder = number == 0 ? file.number > next.number : file.endsBefore(next.smallest)
      if !inOrder {
        report.problems.append(
          .corruption(
            "level \(number) of the tree `\(tree.name)`: "
              + "tables \(file.number) and \(next.number) are out of order",
            file: directory.appending(FileNames.table(next.number)).string))
      }
    }
  }

  /// With `installing` held.
  private func checkManifest(
    _ states: [(TreeCore, TreeState)], _ report: inout VerifyReport
  ) {
    let contents = manifest.contents
    do throws(StoreError) {
      let marker = try Marker.read(in: directory, fileSystem)
      let path = directory.appending(FileNames.marker).string
      if marker.identity != identity || marker.manifestNumber != manifest.number {
        report.problems.append(
          .corruption("the marker names another store or another manifest", file: path))
      }
      let onDisk = try Manifest.read(marker, in: directory, fileSystem)
      if onDisk.trees != contents.trees || onDisk.logs != contents.logs {
        report.problems.append(
          .corruption(
            "the manifest on disk does not add up to the state in memory",
            file: directory.appending(FileNames.manifest(manifest.number)).string))
      }
    } catch { report.problems.append(error) }
    for (tree, state) in states {
      let expected = contents.trees[tree.id]?.levels ?? []
      if state.levels.map({ $0.files.map(\.metadata) }) != expected {
        report.problems.append(
          .corruption(
            "the tree `\(tree.name)` has other tables than the manifest says",
            file: directory.appending(FileNames.manifest(manifest.number)).string))
      }
      for level in expected {
        for table in level { checkFile(of: table, &report) }
      }
    }
  }

  private func checkFile(of table: TableMetadata, _ report: inout VerifyReport) {
    let path = directory.appending(FileNames.table(table.number))
    do throws(FileSystemError) {
      guard let info = try fileSystem.info(of: path) else {
        report.problems.append(
          StoreError(.missingFile, "the manifest names a table that is not there", file: path.string))
        return
      }
      if info.byteCount != table.byteCount {
        report.problems.append(
          .corruption(
            "the table has \(info.byteCount) bytes, the manifest says \(table.byteCount)",
            file: path.string))
      }
    } catch {
      report.problems.append(StoreError("look at a table", error))
    }
  }

  /// Reads the logs' frames. With `installing` held.
  private func checkLogs(upTo end: LogPosition, _ report: inout VerifyReport) {
    for log in manifest.contents.logs where log.number <= end.log {
      report.logs += 1
      do throws(StoreError) {
        let path = directory.appending(FileNames.log(log.number))
        let reader = try LogReader(fileSystem, path)
        guard reader.header.salt == log.salt, reader.header.number == log.number else {
          throw .corruption(
            "the log's header is not that of the log the manifest names", file: path.string, offset: 0)
        }
        try checkFrames(reader, until: log.number == end.log ? end.offset : .max, &report)
      } catch { report.problems.append(error) }
    }
  }

  private func checkFrames(
    _ reader: LogReader, until end: Int, _ report: inout VerifyReport
  ) throws(StoreError) {
    while reader.offset < end {
      switch try reader.next() {
      case .frame(let frame):
        report.logBytes += frame.end - frame.offset
        if frame.kind == .record {
          report.logRecords += 1
          var decoder = try WriteBatchDecoder(frame.payload)
          while try decoder.next() != nil {}
        } else if frame.kind == .end {
          return
        }
      case .end(let offset), .damaged(let offset):
        throw .corruption(
          "the log ends or is damaged before its last record", file: reader.path.string,
          offset: Int64(offset))
      }
    }
  }
}
