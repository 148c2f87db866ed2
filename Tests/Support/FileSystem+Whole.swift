public import RoostEnvironment
public import SystemPackage

/// Whole files, for tests.
extension FileSystem {
  /// Creates or empties a file and writes `bytes`. Nothing is synced unless asked for.
  public func writeWhole(
    _ path: FilePath, _ bytes: [UInt8], synced: Bool = false
  ) throws(FileSystemError) {
    let file = try open(path, .createOrTruncate)
    try file.write(bytes, at: 0)
    if synced { try file.sync() }
    file.close()
  }

  public func readWhole(_ path: FilePath) throws(FileSystemError) -> [UInt8] {
    let file = try open(path, .read)
    return try file.read(0, Int(file.size()))
  }

  /// All files below a directory by path, for comparing whole file systems.
  public func tree(_ directory: FilePath) throws(FileSystemError) -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in try entries(of: directory) {
      let path = directory.appending(name)
      if try info(of: path)?.isDirectory == true {
        files[path.string + "/"] = []
        for (path, bytes) in try tree(path) { files[path] = bytes }
      } else {
        files[path.string] = try readWhole(path)
      }
    }
    return files
  }
}

extension File {
  public func write(_ bytes: [UInt8], at offset: Int64) throws(FileSystemError) {
    let span = bytes.span
    try unsafe write(span.bytes, at: offset)
  }

  /// The bytes from `offset`; fewer than `count` where the file ends.
  public func read(_ offset: Int64, _ count: Int) throws(FileSystemError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    let n = try read(into: &raw, at: offset)
    return Array(bytes.prefix(n))
  }
}

extension MappedFile {
  public func write(_ bytes: [UInt8], at offset: Int) {
    precondition(offset >= 0 && offset + bytes.count <= byteCount)
    unsafe bytes.withUnsafeBytes {
      unsafe (base + offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
    }
  }

  public func read(_ offset: Int, _ count: Int) -> [UInt8] {
    precondition(offset >= 0 && offset + count <= byteCount)
    return unsafe [UInt8](UnsafeRawBufferPointer(start: base + offset, count: count))
  }
}
