import RoostEnvironment
import Synchronization

// How a group is committed, by its leader:
//
// 1. Make room: full memtables are rotated; where flushes or compactions lag, the leader waits or
//    is slowed down.
// 2. Each request gets the next sequence numbers and becomes one frame of the log.
// 3. Frames go to the operating system; where anyone asked for it, the log is synced (rule 2:
//    everything before it, too).
// 4. The operations are applied to the memtables, and only then is the group's last sequence number
//    published: a reader sees all of a group's batch or nothing of it, and synced groups become
//    visible after their sync (rule 4).
//
// A request that fails before its frame is complete leaves no trace: its sequence numbers are given
// to the next.

extension Store {
  // MARK: - What callers ask for

  @inline(__always)
  func put(
    _ key: ByteView, _ value: ByteView, in tree: TreeCore, _ durability: Durability?
  ) throws(StoreError) {
    if let problem = Arguments.problem(key: key) ?? Arguments.problem(value: value) { throw problem }
    try submit(
      unsafe CommitRequest(
        kind: .put, durability: durability ?? options.durability,
        tree: Unmanaged.passUnretained(tree), key: key, value: value))
  }

  func delete(_ key: ByteView, in tree: TreeCore, _ durability: Durability?) throws(StoreError) {
    if let problem = Arguments.problem(key: key) { throw problem }
    try submit(
      unsafe CommitRequest(
        kind: .delete, durability: durability ?? options.durability,
        tree: Unmanaged.passUnretained(tree), key: key))
  }

  func deleteRange(
    _ start: ByteView, _ end: ByteView, in tree: TreeCore, _ durability: Durability?
  ) throws(StoreError) {
    if let problem = Arguments.problem(key: start) ?? Arguments.problem(key: end) { throw problem }
    guard start < end else {
      // Nothing to write; but a synced write promises all that came before it.
      if (durability ?? options.durability) == .synced { return try sync() }
      return try checkOpen()
    }
    try submit(
      unsafe CommitRequest(
        kind: .deleteRange, durability: durability ?? options.durability,
        tree: Unmanaged.passUnretained(tree), key: start, value: end))
  }

  func commitBatch(_ encoded: ByteView, _ durability: Durability?) throws(StoreError) {
    try submit(
      unsafe CommitRequest(kind: .batch, durability: durability ?? options.durability, value: encoded))
  }

  @inline(__always)
  func submit(_ request: CommitRequest) throws(StoreError) {
    if commits.tryLead() {
      var own = request
      defer { commits.release() }
      let outcome = commitAlone(&own)
      if let outcome { throw outcome }
    } else {
      try submitContended(request)
    }
  }

  @inline(never)
  private func submitContended(_ request: CommitRequest) throws(StoreError) {
    guard let group = try commits.enqueue(request) else { return }
    commitGroup(group)
    let error = group[0].request.error
    commits.complete(group)
    if let error { throw error }
  }

  // MARK: - The leader

  private func commitAlone(_ request: inout CommitRequest) -> StoreError? {
    do throws(StoreError) {
      try prepareToWrite(byteCount: request.byteCount)
    } catch { return error }
    let floor = writer.segment.number
    log.beginGroup(floor)
    let first = lastSequence
    do throws(StoreError) {
      try logRequest(&request)
      try finishLogging(synced: request.durability == .synced)
    } catch {
      lastSequence = first
      return error
    }
    apply(request, first &+ 1, floor)
    shared.visible.store(lastSequence, ordering: .releasing)
    return nil
  }

  private func commitGroup(_ group: [CommitQueue.Waiter]) {
    let byteCount = group.reduce(0) { $0 &+ $1.request.byteCount }
    do throws(StoreError) { try prepareToWrite(byteCount: byteCount) } catch {
      for waiter in group { waiter.request.error = error }
      return
    }
    let floor = writer.segment.number
    log.beginGroup(floor)
    let first = lastSequence
    var synced = false
    var anyLogged = false
    for waiter in group {
      let before = lastSequence
      do throws(StoreError) {
        try logRequest(&waiter.request)
        anyLogged = true
        synced = synced || waiter.request.durability == .synced
      } catch {
        lastSequence = before
        waiter.request.error = error
      }
    }
    guard anyLogged else { return }
    do throws(StoreError) { try finishLogging(synced: synced) } catch {
      lastSequence = first
      for waiter in group where waiter.request.error == nil { waiter.request.error = error }
      return
    }
    var sequence = first &+ 1
    for waiter in group where waiter.request.error == nil {
      sequence = apply(waiter.request, sequence, floor)
    }
    shared.visible.store(lastSequence, ordering: .releasing)
  }

  /// Writes one request's frame and takes its sequence numbers.
  ///
  /// - Throws: with nothing of the request in the log.
  @inline(__always)
  private func logRequest(_ request: inout CommitRequest) throws(StoreError) {
    switch request.kind {
    case .sync:
      return
    case .batch:
      let encoded = request.value
      try checkBudget(batch: encoded.count)
      // Rule 17: the whole batch is refused where a tree is gone.
      var operations = try WriteBatchDecoder(encoded)
      var lastTree: UInt64 = 0
      while let operation = try operations.next() {
        try checkBudget(value: operation.value.count)
        if operation.treeID == lastTree { continue }
        lastTree = operation.treeID
        try checkWritable(lastTree)
      }
      let region = unsafe try writer.reserve(encoded.count)
      let start = region.baseAddress!
      unsafe encoded.copy(to: start)
      unsafe start.storeBytes(of: (lastSequence &+ 1).littleEndian, as: UInt64.self)
      writer.commit(encoded.count)
      lastSequence &+= UInt64(encoded.loadUInt32(at: 8))
    case .list:
      try logList(request)
    case .put, .delete, .deleteRange:
      try checkBudget(value: request.value.count)
      let tree = unsafe request.tree!
      let treeID = unsafe tree.borrow { $0.id }
      if unsafe tree.borrow({ $0.isDropped }) { throw droppedError(treeID) }
      let size = SingleOperation.byteCount(treeID, request)
      let region = unsafe try writer.reserve(size)
      unsafe SingleOperation.encode(treeID, request, lastSequence &+ 1, into: region)
      writer.commit(size)
      lastSequence &+= 1
    }
  }

  @inline(__always)
  private func logList(_ request: CommitRequest) throws(StoreError) {
    let size = WriteBatchEncoder.headerBytes &+ request.listedBytes
    try checkBudget(batch: size)
    let list = unsafe request.list
    for index in 0..<list.count {
      try checkBudget(value: unsafe list[index].value.count)
      let tree = unsafe list[index].tree
      if unsafe tree.borrow({ $0.isDropped }) { throw droppedError(unsafe tree.borrow { $0.id }) }
      let key = unsafe list[index].key
      unsafe tree.borrow { $0.expect(key) }
    }
    let region = unsafe try writer.reserve(size)
    var at = region.baseAddress!
    unsafe OperationEncoding.storeHeader(lastSequence &+ 1, count: list.count, &at)
    for index in 0..<list.count { unsafe list[index].encode(&at) }
    writer.commit(size)
    lastSequence &+= UInt64(list.count)
  }

  /// Hands the frames to the system and syncs where asked.
  @inline(__always)
  private func finishLogging(synced: Bool) throws(StoreError) {
    do throws(StoreError) {
      try writer.flush()
      if synced {
        pressure.isSyncing = true
        defer { pressure.isSyncing = false }
        log.noteSync()
        try writer.sync()
        counters.syncs.add(1)
      }
    } catch {
      // The frames may be on disk in part or whole: nothing may be built on them in this process
      // (rules 4, 6).
      failure.set(error)
      throw StoreError(
        .outcomeUnknown,
        "the log failed while the write was being made durable: it may or may not be there after a restart",
        file: error.file, cause: error.cause)
    }
  }

  /// Applies a logged request to the memtables.
  ///
  /// - Returns: the sequence number after the request's last.
  @inline(__always)
  @discardableResult
  private func apply(_ request: CommitRequest, _ sequence: UInt64, _ floor: UInt64) -> UInt64 {
    switch request.kind {
    case .sync:
      return sequence
    case .batch:
      do throws(StoreError) { return try applyBatch(request.value, sequence, floor) } catch {
        preconditionFailure("the batch was read before it was logged: \(error)")
      }
    case .list:
      var next = sequence
      let list = unsafe request.list
      for index in 0..<list.count {
        let operation = unsafe list[index]
        let isFull = unsafe operation.tree.borrow { tree in
          tree.apply(operation.kind, operation.key, operation.value, next, floor)
          return tree.isFull
        }
        if isFull { noteFull(unsafe operation.tree.takeUnretainedValue()) }
        next &+= 1
      }
      return next
    case .put, .delete, .deleteRange:
      let kind: BatchOperationKind =
        request.kind == .put ? .put : request.kind == .delete ? .delete : .deleteRange
      let isFull = unsafe request.tree!.borrow { tree in
        tree.apply(kind, request.key, request.value, sequence, floor)
        return tree.isFull
      }
      if isFull { noteFull(unsafe request.tree!.takeUnretainedValue()) }
      return sequence &+ 1
    }
  }

  private func applyBatch(
    _ encoded: ByteView, _ sequence: UInt64, _ floor: UInt64
  ) throws(StoreError) -> UInt64 {
    var operations = try WriteBatchDecoder(encoded)
    var next = sequence
    // The leader's table holds the trees meanwhile.
    var tree: Unmanaged<TreeCore>?
    var treeID: UInt64 = 0
    while let operation = try operations.next() {
      if unsafe tree == nil || operation.treeID != treeID {
        treeID = operation.treeID
        unsafe tree = writableTrees.unretained(treeID)
      }
      let isFull = unsafe tree!.borrow { tree in
        tree.apply(operation.kind, operation.key, operation.value, next, floor)
        return tree.isFull
      }
      if isFull { noteFull(unsafe tree!.takeUnretainedValue()) }
      next &+= 1
    }
    return next
  }

  @inline(never)
  private func noteFull(_ tree: TreeCore) {
    if !fullTrees.contains(where: { $0 === tree }) { fullTrees.append(tree) }
  }

  private func checkWritable(_ treeID: UInt64) throws(StoreError) {
    if !writableTrees.contains(treeID) { throw droppedError(treeID) }
  }

  @inline(never)
  private func droppedError(_ treeID: UInt64) -> StoreError {
    StoreError(.treeDropped, "tree \(treeID) was dropped")
  }
}
