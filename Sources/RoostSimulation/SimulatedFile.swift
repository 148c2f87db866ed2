import RoostEnvironment
import Synchronization
import SystemPackage

/// An open file of a simulated file system. Thread-safe, by the file system's lock.
final class SimulatedFile: File, @unchecked Sendable {
  let path: FilePath
  private let fileSystem: SimulatedFileSystem
  private let node: FileNode
  private let isWritable: Bool
  /// Guarded by the file system's lock.
  private var isClosed = false

  init(
    _ fileSystem: SimulatedFileSystem, _ path: FilePath, _ node: FileNode, isWritable: Bool
  ) {
    self.fileSystem = fileSystem
    self.path = path
    self.node = node
    self.isWritable = isWritable
  }

  deinit { close() }

  func size() throws(FileSystemError) -> Int64 {
    _ = try begin(.size)
    return try use(.size) { () throws(FileSystemError) in Int64(node.content.size) }
  }

  func read(into buffer: inout MutableRawSpan, at offset: Int64) throws(FileSystemError) -> Int {
    let fault = try begin(.read, offset: offset, byteCount: buffer.byteCount)
    fileSystem.lock.lock()
    defer { fileSystem.lock.unlock() }
    try check(.read, offset)
    var count = max(0, min(buffer.byteCount, node.content.size - Int(offset)))
    if case .shortRead(let limit) = fault { count = max(0, min(count, limit)) }
    node.content.read(into: &buffer, count: count, at: count == 0 ? 0 : Int(offset))
    if case .flipBit(let place, let bit) = fault, place - offset < count {
      let i = Int(place - offset)
      unsafe buffer.withUnsafeMutableBytes { bytes in unsafe bytes[i] ^= 1 << UInt8(bit & 7) }
    }
    fileSystem.countBytes { $0.bytesRead += count }
    return count
  }

  func write(_ bytes: RawSpan, at offset: Int64) throws(FileSystemError) {
    let fault = try begin(.write, offset: offset, byteCount: bytes.byteCount)
    fileSystem.lock.lock()
    defer { fileSystem.lock.unlock() }
    try check(.write, offset)
    guard isWritable else { throw error(.io, .write, "the file was opened for reading") }
    if bytes.byteCount == 0 { return }
    let wanted = Int(offset) + bytes.byteCount
    var end = fileSystem.reserve(wanted, for: node)
    var failure: FileSystemError? = end < wanted ? error(.noSpace, .write) : nil
    if case .shortWrite(let count, let code) = fault, Int(offset) + count < end {
      end = Int(offset) + max(0, count)
      failure = error(code, .write, "injected fault")
    }
    let count = end - Int(offset)
    if count > 0 {
      guard node.content.write(bytes, count: count, at: Int(offset)) else {
        throw SimulatedFileSystem.mappedError(.write, path)
      }
      fileSystem.noteChange(of: node)
      fileSystem.countBytes { $0.bytesWritten += count }
    }
    if let failure { throw failure }
  }

  func sync() throws(FileSystemError) {
    let fault = try fileSystem.begin(.sync, path, file: node)
    try use(.sync) { () throws(FileSystemError) in
      let count = node.content.sync()
      if node.content.isMapped, count > 0 { fileSystem.noteChange(of: node) }
      fileSystem.countBytes { $0.bytesSynced += count }
    }
    if case .failOnceSynced(let code) = fault { throw error(code, .sync, "injected fault") }
  }

  func truncate(to byteCount: Int64) throws(FileSystemError) {
    _ = try begin(.truncate, byteCount: Int(byteCount))
    try use(.truncate, byteCount) { () throws(FileSystemError) in
      guard isWritable else { throw error(.io, .truncate, "the file was opened for reading") }
      let shrinks = byteCount < node.content.size
      guard node.content.resize(to: Int(byteCount)) else {
        throw SimulatedFileSystem.mappedError(.truncate, path)
      }
      fileSystem.noteChange(of: node)
      if shrinks {
        fileSystem.setReserved(min(node.reserved, node.roundUp(Int(byteCount))), of: node)
      }
    }
  }

  func allocate(_ byteCount: Int64) throws(FileSystemError) {
    _ = try begin(.allocate, byteCount: Int(byteCount))
    try use(.allocate, byteCount) { () throws(FileSystemError) in
      guard isWritable else { throw error(.io, .allocate, "the file was opened for reading") }
      guard fileSystem.reserve(Int(byteCount), for: node) == byteCount else {
        throw error(.noSpace, .allocate)
      }
      guard byteCount <= node.content.size || node.content.resize(to: Int(byteCount)) else {
        throw SimulatedFileSystem.mappedError(.allocate, path)
      }
      fileSystem.noteChange(of: node)
    }
  }

  func map(
    _ byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) -> any MappedFile {
    _ = try begin(.map, byteCount: byteCount)
    return try use(.map) { () throws(FileSystemError) in
      guard isWritable else { throw error(.permissionDenied, .map) }
      guard byteCount > 0, byteCount <= node.content.size else {
        throw error(
          .io, .map, "cannot map \(byteCount) bytes: none, or behind the end of the file")
      }
      guard fileSystem.reserve(byteCount, for: node) == byteCount else {
        throw error(.noSpace, .map)
      }
      node.references += 1
      fileSystem.noteChange(of: node)
      return SimulatedMappedFile(
        fileSystem, node, node.content.map(byteCount), byteCount: byteCount)
    }
  }

  func advise(_ advice: FileAdvice) {}

  func close() {
    fileSystem.lock.withLock {
      if isClosed { return }
      isClosed = true
      fileSystem.fileClosed(node)
    }
  }

  private func begin(
    _ kind: Operation.Kind, offset: Int64 = 0, byteCount: Int = 0
  ) throws(FileSystemError) -> FaultRule.Action? {
    try fileSystem.begin(kind, path, offset: offset, byteCount: Int64(byteCount))
  }

  private func use<R>(
    _ kind: Operation.Kind, _ number: Int64 = 0, _ body: () throws(FileSystemError) -> R
  ) throws(FileSystemError) -> R {
    try fileSystem.locked { () throws(FileSystemError) in
      try check(kind, number)
      return try body()
    }
  }

  /// With the lock held.
  private func check(_ kind: Operation.Kind, _ number: Int64) throws(FileSystemError) {
    if isClosed { throw error(.closed, kind, "the file was closed") }
    if number < 0 { throw error(.io, kind, "a negative offset or size") }
  }

  private func error(
    _ code: FileSystemError.Code, _ kind: Operation.Kind, _ message: String = ""
  ) -> FileSystemError {
    SimulatedFileSystem.error(code, kind, path, message)
  }
}

/// A mapping: the file's own storage, so that what is written here needs no call to be in the file.
@safe
final class SimulatedMappedFile: MappedFile, @unchecked Sendable {
  let byteCount: Int
  private let fileSystem: SimulatedFileSystem
  private let node: FileNode
  private let storage: PageStorage

  init(
    _ fileSystem: SimulatedFileSystem, _ node: FileNode, _ storage: PageStorage, byteCount: Int
  ) {
    self.fileSystem = fileSystem
    self.node = node
    self.storage = storage
    self.byteCount = byteCount
  }

  deinit {
    fileSystem.lock.withLock {
      node.content.unmap()
      fileSystem.noteChange(of: node)
      fileSystem.release(node)
    }
  }

  var base: UnsafeMutableRawPointer { unsafe storage.base }
}

final class SimulatedFileLock: FileLock {
  private let fileSystem: SimulatedFileSystem
  private let number: UInt64
  private let isUnlocked = Atomic<Bool>(false)

  init(_ fileSystem: SimulatedFileSystem, _ number: UInt64) {
    self.fileSystem = fileSystem
    self.number = number
  }

  deinit { unlock() }

  func unlock() {
    if !isUnlocked.exchange(true, ordering: .acquiringAndReleasing) { fileSystem.unlock(number) }
  }
}
