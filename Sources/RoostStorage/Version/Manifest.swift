import RoostEnvironment
import SystemPackage

// Rule 13: an edit that failed may be on disk all the same. So after a failure no file that the old
// or the new state names is removed, and the next edit goes to a whole new manifest, in a new file;
// the marker then decides.

/// The durable record of what a store consists of. Its calls are made with the store's `installing`
/// lock held.
final class Manifest: @unchecked Sendable {
  /// A manifest longer than this, and than ten times what a new one would take, is written anew.
  private static let rewriteBytes = 1 << 20

  private let fileSystem: any FileSystem
  private let directory: FilePath
  private let randomness: any Randomness
  private let identity: FileIdentity
  private let allocateNumber: () -> UInt64

  private(set) var contents: StoreContents
  private(set) var number: UInt64
  private var writer: LogWriter
  private var freshBytes: Int
  /// Whether an edit was appended that may or may not be on disk: the next one goes to a new
  /// manifest.
  private(set) var isFailed = false
  /// What was done to the disk, for statistics.
  private(set) var bytesWritten = 0

  /// Creates a new manifest with `contents` and points the marker at it.
  ///
  /// - Throws: with the old marker and all files that it names in place.
  init(
    _ fileSystem: any FileSystem, _ directory: FilePath, _ randomness: any Randomness,
    identity: FileIdentity, contents: StoreContents, allocateNumber: @escaping () -> UInt64
  ) throws(StoreError) {
    self.fileSystem = fileSystem
    self.directory = directory
    self.randomness = randomness
    self.identity = identity
    self.contents = contents
    self.allocateNumber = allocateNumber
    number = allocateNumber()
    writer = try Self.write(
      contents, number, fileSystem, directory, randomness, identity: identity)
    freshBytes = writer.bytesWritten
    try Marker(identity: identity, manifestNumber: number).install(in: directory, fileSystem)
  }

  /// Makes the edits durable, all or none, and applies them to ``contents``.
  ///
  /// - Throws: `.diskFull` (the edits are not in force, and may be tried again), `.outcomeUnknown`,
  ///   `.io`.
  func commit(_ edits: [VersionEdit]) throws(StoreError) {
    var next = contents
    for edit in edits {
      if let contradiction = next.apply(edit) { preconditionFailure(contradiction) }
    }
    // A mark that found no room after its record was synced ends the writer without a word.
    if isFailed || writer.state != .open
      || (writer.bytesWritten > Self.rewriteBytes && writer.bytesWritten > 10 * freshBytes)
    {
      try rewrite(next)
    } else {
      try append(edits)
    }
    contents = next
  }

  func close() throws(StoreError) { try writer.close() }

  private func append(_ edits: [VersionEdit]) throws(StoreError) {
    var record = ByteBuffer()
    for edit in edits { edit.encode(into: &record) }
    do throws(StoreError) {
      try writer.append(record.view)
      try writer.sync()
      bytesWritten += record.count
    } catch {
      isFailed = true
      throw error
    }
  }

  private func rewrite(_ next: StoreContents) throws(StoreError) {
    let newNumber = allocateNumber()
    var next = next
    next.nextFileNumber = max(next.nextFileNumber, newNumber + 1)
    let newWriter = try Self.write(
      next, newNumber, fileSystem, directory, randomness, identity: identity)
    do throws(StoreError) {
      try Marker(identity: identity, manifestNumber: newNumber).install(in: directory, fileSystem)
    } catch {
      // The marker may name either manifest: neither can be appended to, and both must stay.
      isFailed = true
      // On a full disk the old marker is in force, and the next try writes another manifest.
      if error.code == .diskFull {
        try? fileSystem.remove(directory.appending(FileNames.manifest(newNumber)))
      }
      throw error
    }
    let oldNumber = number
    try? writer.close()
    writer = newWriter
    number = newNumber
    freshBytes = newWriter.bytesWritten
    bytesWritten += freshBytes
    isFailed = false
    // The marker no longer names it; where this fails, the next open removes it.
    try? fileSystem.remove(directory.appending(FileNames.manifest(oldNumber)))
  }

  private static func write(
    _ contents: StoreContents, _ number: UInt64, _ fileSystem: any FileSystem,
    _ directory: FilePath, _ randomness: any Randomness, identity: FileIdentity
  ) throws(StoreError) -> LogWriter {
    let segment = try LogSegment.create(
      fileSystem, directory, number: number, salt: randomness.next(), purpose: .manifest,
      identity: identity.word, capacity: LogSegment.unlimited)
    let writer = LogWriter(segment)
    var record = ByteBuffer(capacity: 4096)
    for edit in contents.edits() { edit.encode(into: &record) }
    do throws(StoreError) {
      try writer.append(record.view)
      try writer.sync()
    } catch {
      // Nothing names the file.
      try? fileSystem.remove(directory.appending(FileNames.manifest(number)))
      throw error
    }
    return writer
  }

  /// What the manifest that `marker` names adds up to.
  ///
  /// - Throws: `.missingFile`, `.corruption`, `.newerFormat`, `.io`.
  static func read(
    _ marker: Marker, in directory: FilePath, _ fileSystem: any FileSystem
  ) throws(StoreError) -> StoreContents {
    let file = directory.appending(FileNames.manifest(marker.manifestNumber)).string
    var contents = StoreContents()
    _ = try LogReplay.replay(
      .manifest, number: marker.manifestNumber, fileSystem, directory,
      identity: marker.identity.word
    ) { (record, position) throws(StoreError) in
      guard let edits = VersionEdit.decode(record) else {
        throw .corruption(
          "a manifest record is not a list of edits", file: file, offset: Int64(position.offset))
      }
      for edit in edits {
        if let contradiction = contents.apply(edit) {
          throw .corruption(contradiction, file: file, offset: Int64(position.offset))
        }
      }
    }
    contents.nextFileNumber = max(contents.nextFileNumber, marker.manifestNumber + 1)
    return contents
  }
}
