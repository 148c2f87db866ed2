import RoostCausality
package import RoostCluster
package import RoostEnvironment
package import RoostStorage

// How a coordinator log is opened:
//
// 1. The highest file that is whole (that has its first record) counts. Those above it were never finished,
//    those below it are replaced: both go.
// 2. Its records say what was decided and not ended. A torn tail was never synced and is dropped; damage
//    before what is known to have been synced is an error.
// 3. If the file is the one that it was made as, and so is PLACE, the coordinator goes on as the one that it
//    was, and what its log does not have it has not decided. Else this is a copy, which may lack what
//    the original decided since: it becomes another coordinator, and finishes what it finds.
// 4. A new file is begun with all that: nothing is appended to one that was found.

extension CoordinatorLog {
  /// What an earlier process left.
  package struct Recovered: Sendable {
    /// Decided and not ended, the oldest first: also by another coordinator, where this is a copy.
    package var commits: [CommitRecord] = []
    /// Decided and ended, as far as the file still told.
    package var ended: [CommitRecord] = []
    /// Of what log this is a copy. Nothing follows from that one's having no decision here.
    package var copyOf: CoordinatorID?
    /// Bytes that were never synced, and were dropped.
    package var tail: RecordLogFiles.Tail?
  }

  /// A file that nobody writes to once it is there: by its device, inode and time of change a copy is told
  /// from the original, even where the system gives an inode out again.
  package static let place = "PLACE"
  private static let placeText = Array("the place of a coordinator log\n".utf8)

  /// Opens the coordinator log in a store's directory, or begins one.
  ///
  /// - Parameters:
  ///   - database: whose decisions they are: a log of another is refused.
  ///   - rewriteBytes: a log longer than this, and than ten times what a new one would take, is written anew.
  /// - Throws: `.corruption` with file and offset, `.newerFormat`; `.storage` with what the engine threw (a
  ///   full disk, where the new file has no room).
  /// - Complexity: O(bytes of the log).
  package static func open(
    in directory: String, of database: DatabaseID, rewriteBytes: Int = 1 << 20, _ environment: Environment
  ) throws(DatabaseError) -> (log: CoordinatorLog, recovered: Recovered) {
    let files = RecordLogFiles(
      .coordinator, in: directory, folder: folder,
      identity: UInt128(database.high) << 64 | UInt128(database.low), environment)
    var result = Recovered()
    let log = try storing("the coordinator log in \(files.path) could not be opened") {
      () throws(StoreError) in
      try files.makeFolder()
      let numbers = try files.numbers()
      let found = try newest(numbers, files, &result)
      let beginning = try settle(found, files, &result, environment)
      let next = try files.create((numbers.last ?? 0) + 1)
      try begin(next, files, beginning)
      for number in numbers { try? files.remove(number) }
      return CoordinatorLog(files, beginning, next, rewriteBytes: rewriteBytes)
    }
    return (log, result)
  }

  /// Whether a store's directory has a coordinator log.
  package static func exists(
    in directory: String, _ environment: Environment
  ) throws(DatabaseError) -> Bool {
    let files = RecordLogFiles(.coordinator, in: directory, folder: folder, identity: 0, environment)
    return try storing("\(files.path) could not be read") { () throws(StoreError) in
      try !files.numbers().isEmpty
    }
  }

  private struct Found {
    var number: UInt64
    var beginning: LogBeginning
  }

  /// Reads the file that counts.
  private static func newest(
    _ numbers: [UInt64], _ files: RecordLogFiles, _ result: inout Recovered
  ) throws(StoreError) -> Found? {
    for number in numbers.reversed() {
      var replay = CoordinatorReplay()
      let (_, tail) = try files.replay(number) { (bytes, offset) throws(StoreError) in
        if let problem = replay.take(bytes) {
          throw StoreError(
            problem.code == .newerFormat ? .newerFormat : .corruption, problem.message,
            file: files.damage("", in: number, at: offset).file, offset: offset)
        }
      }
      if let beginning = replay.beginning {
        result.commits = replay.live.values.sorted { $0.transaction < $1.transaction }
        result.ended = replay.ended
        result.tail = tail
        return Found(number: number, beginning: beginning)
      }
    }
    return nil
  }

  /// Decides who the coordinator is.
  private static func settle(
    _ found: Found?, _ files: RecordLogFiles, _ result: inout Recovered, _ environment: Environment
  ) throws(StoreError) -> LogBeginning {
    if let found, try isOriginal(found, files) {
      var beginning = found.beginning
      beginning.commits = result.commits
      return beginning
    }
    result.copyOf = found?.beginning.coordinator
    try files.write(placeText, named: place)
    guard let info = try files.info(named: place) else {
      throw StoreError(.missingFile, "PLACE was just written and is not there", file: files.path)
    }
    var id: UInt64 = 0
    while id == 0 || id == found?.beginning.coordinator.rawValue { id = environment.randomness.next() }
    return LogBeginning(
      CoordinatorID(rawValue: id), log: LogBeginning.File(device: 0, inode: 0),
      place: LogBeginning.File(device: info.device, inode: info.inode),
      changeNanoseconds: info.changeNanoseconds, commits: result.commits)
  }

  private static func isOriginal(_ found: Found, _ files: RecordLogFiles) throws(StoreError) -> Bool {
    guard let log = try files.info(found.number), let info = try files.info(named: place) else {
      return false
    }
    return LogBeginning.File(device: log.device, inode: log.inode) == found.beginning.log
      && LogBeginning.File(device: info.device, inode: info.inode) == found.beginning.place
      && info.changeNanoseconds == found.beginning.changeNanoseconds
  }
}

/// What the records of a log add up to. A value.
package struct CoordinatorReplay {
  package private(set) var beginning: LogBeginning?
  package private(set) var live: [TransactionID: CommitRecord] = [:]
  package private(set) var ended: [CommitRecord] = []

  package init() {}

  /// Takes the next record.
  ///
  /// - Returns: what is wrong with it, if anything.
  package mutating func take(_ bytes: [UInt8]) -> DatabaseError? {
    do throws(DatabaseError) {
      try take(try CoordinatorRecord(decoding: bytes))
      return nil
    } catch { return error }
  }

  private mutating func take(_ record: CoordinatorRecord) throws(DatabaseError) {
    switch record {
    case .begin(let first):
      guard beginning == nil else { throw damage("a coordinator log begins twice") }
      beginning = first
      for commit in first.commits { try decide(commit) }
    case .commit(let commit): try decide(commit)
    case .end(let id):
      guard beginning != nil else { throw damage("a coordinator log does not begin with who it is") }
      // One that was told twice has gone already.
      if let commit = live.removeValue(forKey: id) { ended.append(commit) }
    }
  }

  private mutating func decide(_ commit: CommitRecord) throws(DatabaseError) {
    guard beginning != nil else { throw damage("a coordinator log does not begin with who it is") }
    if let known = live.updateValue(commit, forKey: commit.transaction), known != commit {
      throw damage("\(commit.transaction) is decided in two ways")
    }
  }

  private func damage(_ message: String) -> DatabaseError { DatabaseError(.corruption, message) }
}
