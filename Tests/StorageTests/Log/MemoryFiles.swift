import RoostEnvironment
import SystemPackage

@testable import RoostStorage

/// Files in memory for the tests of one log: what was synced is kept apart from what was written,
/// so that a test can build what a power loss leaves. One thread only.
@safe
final class MemoryFiles: FileSystem, @unchecked Sendable {
  @safe
  final class Content: @unchecked Sendable {
    private(set) var memory: UnsafeMutableRawPointer
    private var capacity = 0
    private var isMapped = false
    var count = 0
    var durable: [UInt8] = []

    init(_ bytes: [UInt8] = []) {
      unsafe memory = .allocate(byteCount: 1, alignment: 16)
      write(bytes, at: 0)
      durable = bytes
    }
    deinit { unsafe memory.deallocate() }

    var bytes: [UInt8] { unsafe [UInt8](UnsafeRawBufferPointer(start: memory, count: count)) }

    func write(_ bytes: some Collection<UInt8>, at offset: Int) {
      guard !bytes.isEmpty else { return }
      extend(to: offset + bytes.count)
      unsafe UnsafeMutableRawBufferPointer(start: memory + offset, count: bytes.count)
        .copyBytes(from: bytes)
    }

    /// New bytes are zeros. A mapping sees the same memory, so a mapped file cannot move.
    func extend(to wanted: Int) {
      if wanted > capacity {
        precondition(!isMapped)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: 2 * wanted, alignment: 4096)
        unsafe larger.initializeMemory(as: UInt8.self, repeating: 0, count: 2 * wanted)
        unsafe larger.copyMemory(from: memory, byteCount: count)
        unsafe memory.deallocate()
        unsafe memory = larger
        capacity = 2 * wanted
      }
      count = max(count, wanted)
    }

    func pin() { isMapped = true }
  }

  enum Event: Equatable {
    case write(String, offset: Int, count: Int)
    case sync(String)
    case syncDirectory
    case rename(String, String)
    case remove(String)
    case map(String, MappedAccess)
    case unmap(String)
    case allocate(String, Int)
  }

  var contents: [String: Content] = [:]
  var events: [Event] = []
  var isInPlace = true
  /// The write that fails, counted down from the next one, how many of its bytes still arrive, and
  /// how.
  var writeFailure: (after: Int, arriving: Int, code: FileSystemError.Code)?
  /// The sync that fails, counted down from the next one.
  var syncFailure: Int?
  let openFileLimit = 1000

  subscript(_ name: String) -> [UInt8] {
    get { contents[name]?.bytes ?? [] }
    set { contents[name] = Content(newValue) }
  }

  /// What may be on disk after a power loss: of each file the synced bytes and, chunk by chunk,
  /// maybe the written ones. `keep` decides for each chunk.
  func afterPowerLoss(chunk: Int = 512, _ keep: () -> Bool) -> MemoryFiles {
    let result = MemoryFiles()
    for (name, content) in contents {
      let written = content.bytes
      let isLonger = keep()
      var bytes = content.durable
      if isLonger, written.count > bytes.count {
        bytes += [UInt8](repeating: 0, count: written.count - bytes.count)
      }
      for start in stride(from: 0, to: bytes.count, by: chunk) where keep() {
        for i in start..<min(start + chunk, bytes.count, written.count) { bytes[i] = written[i] }
      }
      result[name] = bytes
    }
    return result
  }

  func open(_ path: FilePath, _ mode: RoostEnvironment.FileMode) throws(FileSystemError)
    -> any RoostEnvironment.File
  {
    let name = path.lastComponent?.string ?? ""
    switch mode {
    case .read, .readWrite:
      guard contents[name] != nil else {
        throw FileSystemError(.notFound, operation: "open", path: path.string)
      }
    case .createNew:
      guard contents[name] == nil else {
        throw FileSystemError(.alreadyExists, operation: "open", path: path.string)
      }
      contents[name] = Content()
    case .createOrTruncate: contents[name] = Content()
    }
    return MemoryFile(self, path, contents[name]!)
  }

  func rename(_ path: FilePath, to newPath: FilePath) throws(FileSystemError) {
    let name = path.lastComponent!.string
    let newName = newPath.lastComponent!.string
    events.append(.rename(name, newName))
    guard let content = contents.removeValue(forKey: name) else {
      throw FileSystemError(.notFound, operation: "rename", path: path.string)
    }
    contents[newName] = content
  }

  func remove(_ path: FilePath) throws(FileSystemError) {
    events.append(.remove(path.lastComponent!.string))
    guard contents.removeValue(forKey: path.lastComponent!.string) != nil else {
      throw FileSystemError(.notFound, operation: "unlink", path: path.string)
    }
  }

  func sync(directory: FilePath) throws(FileSystemError) { events.append(.syncDirectory) }
  func createDirectory(_ path: FilePath) throws(FileSystemError) {}
  func entries(of directory: FilePath) throws(FileSystemError) -> [String] {
    contents.keys.sorted()
  }
  func info(of path: FilePath) throws(FileSystemError) -> FileInfo? {
    contents[path.lastComponent!.string].map {
      FileInfo(byteCount: Int64($0.count), isDirectory: false, device: 0, inode: 0, changeNanoseconds: 0)
    }
  }
  func lock(_ path: FilePath) throws(FileSystemError) -> any FileLock {
    throw FileSystemError(.io, operation: "lock", path: path.string)
  }
  func overwritesInPlace(_ directory: FilePath) -> Bool { isInPlace }
  func availableBytes(_ directory: FilePath) throws(FileSystemError) -> Int64 { .max }
}

private final class MemoryFile: RoostEnvironment.File, @unchecked Sendable {
  let files: MemoryFiles
  let path: FilePath
  let content: MemoryFiles.Content

  init(_ files: MemoryFiles, _ path: FilePath, _ content: MemoryFiles.Content) {
    self.files = files
    self.path = path
    self.content = content
  }

  /// A descriptor follows a rename.
  private var name: String { files.contents.first { $0.value === content }?.key ?? "removed" }

  func size() throws(FileSystemError) -> Int64 { Int64(content.count) }

  func read(into buffer: inout MutableRawSpan, at offset: Int64) throws(FileSystemError) -> Int {
    let count = min(buffer.byteCount, max(0, content.count - Int(offset)))
    unsafe buffer.withUnsafeMutableBytes { target in
      unsafe target.copyMemory(
        from: UnsafeRawBufferPointer(start: content.memory + Int(offset), count: count))
    }
    return count
  }

  func write(_ bytes: RawSpan, at offset: Int64) throws(FileSystemError) {
    files.events.append(.write(name, offset: Int(offset), count: bytes.byteCount))
    var count = bytes.byteCount
    var failure: FileSystemError.Code?
    if let planned = files.writeFailure {
      files.writeFailure?.after -= 1
      if planned.after == 0 {
        files.writeFailure = nil
        count = min(count, planned.arriving)
        failure = planned.code
      }
    }
    unsafe bytes.withUnsafeBytes { source in
      unsafe content.write(source.prefix(count), at: Int(offset))
    }
    if let failure { throw FileSystemError(failure, operation: "pwrite", path: path.string) }
  }

  func sync() throws(FileSystemError) {
    files.events.append(.sync(name))
    if let after = files.syncFailure {
      files.syncFailure = after - 1
      if after == 0 {
        files.syncFailure = nil
        throw FileSystemError(.io, operation: "fdatasync", path: path.string)
      }
    }
    content.durable = content.bytes
  }

  func truncate(to byteCount: Int64) throws(FileSystemError) { content.count = Int(byteCount) }

  func allocate(_ byteCount: Int64) throws(FileSystemError) {
    files.events.append(.allocate(name, Int(byteCount)))
    content.extend(to: Int(byteCount))
  }

  func map(
    _ byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) -> any MappedFile {
    files.events.append(.map(name, access))
    return MemoryMapping(files, name, content, byteCount)
  }

  func advise(_ advice: FileAdvice) {}
  func close() {}
}

@safe
private final class MemoryMapping: MappedFile, @unchecked Sendable {
  let files: MemoryFiles
  let name: String
  let content: MemoryFiles.Content
  let byteCount: Int

  init(_ files: MemoryFiles, _ name: String, _ content: MemoryFiles.Content, _ byteCount: Int) {
    self.files = files
    self.name = name
    self.content = content
    self.byteCount = byteCount
    content.pin()
  }

  deinit { files.events.append(.unmap(name)) }

  var base: UnsafeMutableRawPointer { unsafe content.memory }
}
