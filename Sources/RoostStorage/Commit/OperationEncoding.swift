// Batches that are written straight into the log, in the encoding of WriteBatchEncoding.swift: that of
// a single operation, and those of a few operations that a caller lists on its stack.

/// One of a few operations that are committed together. Its views and its tree are the caller's, who
/// waits until they are.
@safe
struct ListedOperation {
  var kind: BatchOperationKind
  let tree: Unmanaged<TreeCore>
  let treeID: UInt64
  var key: ByteView
  /// A put's value.
  var value: ByteView

  @inline(__always)
  init(_ kind: BatchOperationKind, _ tree: TreeCore, _ key: ByteView, _ value: ByteView = .empty) {
    self.kind = kind
    unsafe self.tree = Unmanaged.passUnretained(tree)
    treeID = tree.id
    self.key = key
    self.value = value
  }

  /// Bytes of its encoding.
  @inline(__always)
  var byteCount: Int {
    OperationEncoding.byteCount(treeID, key, kind.hasSecond ? value : nil)
  }

  /// Stores the encoding at `at`, and moves `at` behind it.
  @inline(__always)
  func encode(_ at: inout UnsafeMutableRawPointer) {
    unsafe OperationEncoding.store(kind, treeID, key, kind.hasSecond ? value : nil, &at)
  }
}

/// The encoding of a batch of one operation.
enum SingleOperation {
  @inline(__always)
  static func byteCount(_ treeID: UInt64, _ request: CommitRequest) -> Int {
    let value = request.kind == .delete ? nil : request.value
    return WriteBatchEncoder.headerBytes &+ OperationEncoding.byteCount(treeID, request.key, value)
  }

  /// - Parameter region: exactly ``byteCount(_:_:)`` bytes.
  @inline(__always)
  static func encode(
    _ treeID: UInt64, _ request: CommitRequest, _ sequence: UInt64,
    into region: UnsafeMutableRawBufferPointer
  ) {
    var at = region.baseAddress!
    unsafe OperationEncoding.storeHeader(sequence, count: 1, &at)
    let kind: BatchOperationKind =
      request.kind == .put ? .put : request.kind == .delete ? .delete : .deleteRange
    unsafe OperationEncoding.store(
      kind, treeID, request.key, request.kind == .delete ? nil : request.value, &at)
  }
}

/// The pieces of a batch's encoding, stored through a pointer to memory that has room for them.
enum OperationEncoding {
  @inline(__always)
  static func byteCount(_ treeID: UInt64, _ key: ByteView, _ value: ByteView?) -> Int {
    var size = 1 &+ varintLength(treeID) &+ varintLength(UInt64(key.count)) &+ key.count
    if let value { size &+= varintLength(UInt64(value.count)) &+ value.count }
    return size
  }

  @inline(__always)
  static func storeHeader(_ sequence: UInt64, count: Int, _ at: inout UnsafeMutableRawPointer) {
    unsafe at.storeBytes(of: sequence.littleEndian, as: UInt64.self)
    unsafe at.storeBytes(
      of: UInt32(truncatingIfNeeded: count).littleEndian, toByteOffset: 8, as: UInt32.self)
    unsafe at += WriteBatchEncoder.headerBytes
  }

  @inline(__always)
  static func store(
    _ kind: BatchOperationKind, _ treeID: UInt64, _ key: ByteView, _ value: ByteView?,
    _ at: inout UnsafeMutableRawPointer
  ) {
    unsafe at.storeBytes(of: kind.rawValue, as: UInt8.self)
    unsafe at += 1
    unsafe storeVarint(treeID, &at)
    unsafe storeVarint(UInt64(key.count), &at)
    unsafe key.copy(to: at)
    unsafe at += key.count
    if let value {
      unsafe storeVarint(UInt64(value.count), &at)
      unsafe value.copy(to: at)
      unsafe at += value.count
    }
  }

  @inline(__always)
  private static func storeVarint(_ value: UInt64, _ at: inout UnsafeMutableRawPointer) {
    var rest = value
    while rest >= 0x80 {
      unsafe at.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
      unsafe at += 1
      rest >>= 7
    }
    unsafe at.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
    unsafe at += 1
  }
}

extension Store {
  /// Puts one entry, and in another tree puts a second in the place of a third, all or nothing: what a
  /// ``WriteBatch`` would do, without one.
  ///
  /// - Parameters:
  ///   - tree: of this store, as `other` is.
  ///   - replaced: the key in `other` that is deleted late, where there is one: see
  ///     ``WriteBatch/deleteLate(_:in:)``.
  /// - Throws: as ``commit(_:_:)``.
  package func commit(
    putting key: RawSpan, _ value: RawSpan, in tree: Tree, andPutting otherKey: RawSpan,
    _ otherValue: RawSpan, replacing replaced: RawSpan?, in other: Tree
  ) throws(StoreError) {
    precondition(tree.store === self && other.store === self)
    try unsafe withUnsafeTemporaryAllocation(of: ListedOperation.self, capacity: 3) {
      (memory) throws(StoreError) in
      let list = memory.baseAddress!
      var count = 1
      unsafe list.initialize(to: ListedOperation(.put, tree.core, ByteView(key), ByteView(value)))
      if let replaced {
        unsafe (list + 1).initialize(to: ListedOperation(.deleteLate, other.core, ByteView(replaced)))
        count = 2
      }
      unsafe (list + count).initialize(
        to: ListedOperation(.put, other.core, ByteView(otherKey), ByteView(otherValue)))
      try unsafe submitList(UnsafeBufferPointer(start: list, count: count &+ 1))
    }
  }

  @inline(__always)
  private func submitList(_ list: UnsafeBufferPointer<ListedOperation>) throws(StoreError) {
    var bytes = 0
    for index in 0..<list.count {
      let operation = unsafe list[index]
      if let problem = Arguments.problem(key: operation.key) ?? Arguments.problem(value: operation.value) {
        throw problem
      }
      bytes &+= operation.byteCount
    }
    if let problem = WriteBatch.problem(byteCount: WriteBatchEncoder.headerBytes &+ bytes) { throw problem }
    var request = unsafe CommitRequest(kind: .list, durability: .applied)
    unsafe request.list = list
    request.listedBytes = bytes
    try submit(request)
  }
}
