package import RoostEnvironment
import SystemPackage

// CURRENT is text, so that a person can read it too: four lines.
//
//   roost store 1               the word, and the format's version
//   identity HHHH…-HHHH…        the store's 128 bits, high half first, lower-case hexadecimal
//   manifest N                  the manifest's number, decimal
//   check HHHHHHHHHHHHHHHH      XXH64, seed 0, of all bytes before this line
//
// It is written beside itself, synced, renamed over the old one, and its directory synced.

/// The marker file: which store this is, and which manifest tells what it consists of.
package struct Marker: Sendable, Equatable {
  /// The version of the layout of all files together. A reader refuses later ones.
  package static let formatVersion = 1

  package var identity: FileIdentity
  package var manifestNumber: UInt64

  func encoded() -> [UInt8] {
    let body =
      "roost store \(Marker.formatVersion)\nidentity \(identity)\nmanifest \(manifestNumber)\n"
    let bytes = Array(body.utf8)
    return bytes + Array("check \(hexadecimal(bytes.withByteView { XXH64.hash($0) }))\n".utf8)
  }

  /// - Throws: `.newerFormat`, or `.corruption` where the text is not exactly what a writer gives.
  package static func decode(_ bytes: [UInt8], file: String) throws(StoreError) -> Marker {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw .corruption("the marker is not text", file: file, offset: 0)
    }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first, first.hasPrefix("roost store "),
      let version = Int(first.dropFirst(12))
    else { throw .corruption("the marker does not begin with `roost store`", file: file, offset: 0) }
    guard version <= formatVersion else {
      throw StoreError(
        .newerFormat,
        "the store has format \(version), this Roost reads up to \(formatVersion)", file: file)
    }
    guard lines.count == 5, lines[1].hasPrefix("identity "), lines[2].hasPrefix("manifest "),
      let identity = FileIdentity(String(lines[1].dropFirst(9))),
      let manifest = UInt64(lines[2].dropFirst(9))
    else { throw .corruption("the marker's lines are not as they should be", file: file, offset: 0) }
    let marker = Marker(identity: identity, manifestNumber: manifest)
    // Written out again it must give the same bytes: that checks the checksum and every spelling at
    // once.
    guard marker.encoded() == bytes else {
      throw .corruption("the marker's checksum does not match", file: file, offset: 0)
    }
    return marker
  }

  /// Replaces the marker atomically and durably.
  ///
  /// - Throws: `.outcomeUnknown` where either marker may be in force; else the old one is.
  func install(in directory: FilePath, _ fileSystem: any FileSystem) throws(StoreError) {
    let file = ReplacedFile(
      directory.string, name: FileNames.marker, temporaryName: FileNames.markerInProgress, fileSystem)
    try file.replace(encoded())
  }

  static func read(in directory: FilePath, _ fileSystem: any FileSystem) throws(StoreError) -> Marker {
    let path = directory.appending(FileNames.marker)
    let bytes = try readWholeFile(path, fileSystem, limit: 4096)
    return try decode(bytes, file: path.string)
  }
}

extension Store {
  /// What the file of the marker of a store in `directory` is now. Every opening replaces it, and
  /// so does whoever puts another store or a copy in its place: looked at before opening, it is the
  /// one that the last process left, or a stranger.
  ///
  /// - Returns: `nil` where there is no marker, and so no store.
  /// - Throws: `.permissionDenied`, `.io`.
  package static func markerInfo(
    in directory: String, _ fileSystem: any FileSystem
  ) throws(StoreError) -> FileInfo? {
    try doing("look at the marker") { () throws(FileSystemError) in
      try fileSystem.info(of: FilePath(directory).appending(FileNames.marker))
    }
  }
}

/// The 16 lower-case hexadecimal digits of a word.
package func hexadecimal(_ word: UInt64) -> String {
  let digits = String(word, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}

extension FileIdentity: CustomStringConvertible {
  package var description: String { "\(hexadecimal(high))-\(hexadecimal(low))" }

  /// The inverse of ``description``.
  init?(_ text: String) {
    let halves = text.split(separator: "-", omittingEmptySubsequences: false)
    guard halves.count == 2, halves[0].utf8.count == 16, halves[1].utf8.count == 16,
      let high = UInt64(halves[0], radix: 16), let low = UInt64(halves[1], radix: 16)
    else { return nil }
    self.init(low: low, high: high)
  }
}

/// All bytes of a small file.
///
/// - Throws: `.corruption` where it is longer than `limit`.
func readWholeFile(
  _ path: FilePath, _ fileSystem: any FileSystem, limit: Int
) throws(StoreError) -> [UInt8] {
  let file = try doing("open \(path.string)") { () throws(FileSystemError) in
    try fileSystem.open(path, .read)
  }
  defer { file.close() }
  let size = try doing("read \(path.string)") { () throws(FileSystemError) in try file.size() }
  guard size <= Int64(limit) else {
    throw .corruption("the file has \(size) bytes, more than \(limit)", file: path.string)
  }
  var bytes = [UInt8](repeating: 0, count: Int(size))
  var read = 0
  if size > 0 {
    do {
      var span = bytes.mutableSpan
      var raw = unsafe span.mutableBytes
      read = try file.read(into: &raw, at: 0)
    } catch { throw StoreError("read \(path.string)", error) }
  }
  if read < bytes.count { bytes.removeLast(bytes.count - read) }
  return bytes
}
