import RoostEnvironment
import SystemPackage

// Restoring a disk from a copy writes its files anew: with the bytes that they had, but as other files, with
// numbers and change times of their own. That is how a store can tell (DESIGN: incarnations), and a clone of
// a simulated disk keeps numbers and times; so a restored clone has its files rewritten.

extension SimulatedFileSystem {
  /// Replaces each file under a directory by one of the same bytes.
  ///
  /// - Throws: what the operations throw.
  func rewriteFiles(under directory: FilePath) throws(FileSystemError) {
    for name in try entries(of: directory) {
      let path = directory.appending(name)
      guard let info = try info(of: path) else { continue }
      if info.isDirectory {
        try rewriteFiles(under: path)
        continue
      }
      let copy = directory.appending(name + ".copy")
      let bytes = try bytes(of: path, byteCount: Int(info.byteCount))
      let file = try open(copy, .createNew)
      if !bytes.isEmpty { try unsafe file.write(bytes.span.bytes, at: 0) }
      try file.sync()
      file.close()
      try rename(copy, to: path)
    }
    try sync(directory: directory)
  }

  private func bytes(of path: FilePath, byteCount: Int) throws(FileSystemError) -> [UInt8] {
    let file = try open(path, .read)
    defer { file.close() }
    var bytes = [UInt8](repeating: 0, count: byteCount)
    if byteCount == 0 { return bytes }
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    let count = try file.read(into: &raw, at: 0)
    guard count == byteCount else {
      throw FileSystemError(.io, operation: "read", path: path.string, message: "the file is shorter")
    }
    return bytes
  }
}
