import RoostEnvironment

/// Bytes as they stand in a file, read into memory of their own. Freed when it goes, unless handed
/// over.
@safe
struct StoredBytes: ~Copyable {
  private var base: UnsafeMutableRawPointer
  let count: Int
  private var isOwned = true

  /// Reads `count` bytes at `offset`.
  ///
  /// - Throws: `.corruption` where the file ends before, what the file throws.
  init(
    _ file: borrowing any File, at offset: UInt64, count: Int, alignment: Int
  ) throws(StoreError) {
    unsafe base = .allocate(byteCount: count, alignment: alignment)
    self.count = count
    try fill(file, at: offset)
  }

  deinit { if isOwned { unsafe base.deallocate() } }

  var view: ByteView { unsafe ByteView(UnsafeRawPointer(base), count: count) }

  /// Reads the bytes again.
  func fill(_ file: borrowing any File, at offset: UInt64) throws(StoreError) {
    var span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: count)
    var read = 0
    do { read = try file.read(into: &span, at: Int64(offset)) } catch {
      throw StoreError("read a table", error)
    }
    guard read == count else {
      throw .corruption(
        "the file ends within a block", file: file.path.string, offset: Int64(offset))
    }
  }

  /// Hands the memory to the caller, who frees it.
  consuming func release() -> UnsafeMutableRawPointer {
    isOwned = false
    return unsafe base
  }
}

extension TableReader {
  /// Whether `stored`, payload and trailer of the block at `offset`, is what was written there.
  static func isIntact(_ stored: ByteView, at offset: UInt64, _ identity: FileIdentity) -> Bool {
    let covered = stored.count - 8
    return stored.loadUInt64(at: covered)
      == XXH64.hash(stored.prefix(covered), seed: TableFormat.seed(identity, offset: offset))
  }

  /// Reads and checks a block, once more if its checksum does not match: the fault may have been on
  /// the way.
  static func readBlock(
    _ handle: BlockHandle, _ kind: BlockKind, file: any File, identity: FileIdentity,
    blocksEnd: UInt64
  ) throws(StoreError) -> Block {
    let trailer = UInt64(TableFormat.trailerBytes)
    guard handle.offset <= blocksEnd, handle.size <= blocksEnd - handle.offset,
      blocksEnd - handle.offset - handle.size >= trailer
    else {
      throw .corruption(
        "a handle leads out of the file: \(handle.size) bytes at \(handle.offset)",
        file: file.path.string)
    }
    // A filter's lines should not straddle cache lines.
    let stored = try StoredBytes(
      file, at: handle.offset, count: Int(handle.size + trailer),
      alignment: kind == .filter ? 64 : 16)
    if !isIntact(stored.view, at: handle.offset, identity) {
      try stored.fill(file, at: handle.offset)
      guard isIntact(stored.view, at: handle.offset, identity) else {
        throw .corruption(
          "a block's checksum does not match", file: file.path.string,
          offset: Int64(handle.offset))
      }
    }
    var block: Block?
    if stored.view[Int(handle.size)] == TreeOptions.Compression.none.rawValue {
      unsafe block = Block(
        adopting: stored.release(), count: Int(handle.size), kind: kind, storedSize: handle.size)
    } else {
      block = unpack(stored.view, handle, kind)
    }
    guard let block else {
      throw .corruption(
        "a block's checksum matches and its contents do not make sense", file: file.path.string,
        offset: Int64(handle.offset))
    }
    return block
  }

  /// The block of `stored`, which is intact, in memory of its own; `nil` where it makes no sense.
  static func unpack(_ stored: ByteView, _ handle: BlockHandle, _ kind: BlockKind) -> Block? {
    let payload = stored.prefix(stored.count - TableFormat.trailerBytes)
    let alignment = kind == .filter ? 64 : 16
    switch TreeOptions.Compression(rawValue: stored[payload.count]) {
    case .none?:
      let memory = UnsafeMutableRawPointer.allocate(byteCount: payload.count, alignment: alignment)
      unsafe payload.copy(to: memory)
      return unsafe Block(
        adopting: memory, count: payload.count, kind: kind, storedSize: handle.size)
    case .lz4:
      var reader = ByteReader(payload)
      guard let count = reader.readCount(), let body = reader.read(reader.remaining),
        count <= LZ4.maxInputBytes, count <= (body.count + 1) * LZ4.maxExpansion
      else { return nil }
      let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: alignment)
      guard unsafe LZ4.decompress(body, to: memory, count: count) else {
        unsafe memory.deallocate()
        return nil
      }
      return unsafe Block(adopting: memory, count: count, kind: kind, storedSize: handle.size)
    case nil: return nil
    }
  }
}
