import RoostStorage

extension KeyspaceCore {
  /// The next records that a store here holds of some partitions, in the order of their keys: as they stand,
  /// deleted and expired ones among them. Or the next entries of an index.
  ///
  /// - Parameter isCancelled: asked now and then.
  /// - Throws: `.unreachable` where the store does not have the keyspace, `.corruption`, `.storage`,
  ///   `.closed`, `.deadlineExceeded` where it was cancelled; `.unknownIndex`, `.indexNotReady`.
  /// - Complexity: a seek in each partition, then O(log n) of the partitions for each record, of which at
  ///   most ``PageRequest/mostEntries`` are looked at.
  func page(
    _ request: PageRequest, on member: Member, isCancelled: () -> Bool = { false }
  ) throws(DatabaseError) -> RecordPage {
    guard let part = parts[member.slot] else {
      throw DatabaseError(.unreachable, "the keyspace `\(name)` is not open in \(member.path)")
    }
    try shared.checkOpen()
    if isCancelled() { throw DatabaseError(.deadlineExceeded, "nobody waits for the page any more") }
    var page = RecordPage()
    let tree =
      try request.index.map { index throws(DatabaseError) in try entries(of: index, part) } ?? part.records
    if let upper = request.upper, !request.lower.lexicographicallyPrecedes(upper) { return page }
    do throws(StoreError) {
      var merge = CursorTournament(
        capacity: request.partitions.count, skippedBytes: StoredKey.prefixBytes, sharedBytes: 0,
        isDescending: request.order == .descending)
      for partition in request.partitions {
        let upper =
          request.upper.map { StoredKey.make(partition, $0) } ?? StoredKey.end(of: partition)
        try merge.add(tree, from: StoredKey.make(partition, request.lower), to: upper)
      }
      merge.start()
      try fill(&page, request, &merge)
    } catch {
      throw DatabaseError(error, "the keyspace `\(name)` could not be read in \(member.path)")
    }
    return page
  }

  /// The tree of an index's entries in a store.
  private func entries(
    of index: PageRequest.IndexName, _ part: KeyspacePart
  ) throws(DatabaseError) -> Tree {
    let kept = try keptIndex(index.name)
    guard kept.declaration.version == index.version else {
      throw DatabaseError(
        .unknownIndex,
        "the index `\(index.name)` is declared with version \(kept.declaration.version), not \(index.version)"
      )
    }
    guard let here = kept.stores[part.member.slot], progress(of: kept).isReady else {
      throw DatabaseError(
        .indexNotReady,
        "the index `\(index.name)` of the keyspace `\(name)` is not ready in \(part.member.path): "
          + "\(progress(of: kept))")
    }
    return here.tree
  }

  private func fill(
    _ page: inout RecordPage, _ request: PageRequest, _ merge: inout CursorTournament
  ) throws(StoreError) {
    let entryLimit = min(request.entryLimit, PageRequest.mostEntries)
    let byteLimit = min(request.byteLimit, PageRequest.mostBytes)
    var looked = 0
    var byteCount = 0
    var last: [UInt8]?
    var isMore = merge.isPositioned
    while isMore {
      guard page.entries.count < entryLimit, looked < PageRequest.mostEntries else {
        return page.through = last
      }
      let key = unsafe merge.key.withUnsafeBytes { unsafe [UInt8]($0) }
      let hasRecord = request.index == nil
      let header = hasRecord ? StoredRecord.headerBytes : 0
      // A user's key has at least one byte, and behind a record's header there is a record.
      if !key.isEmpty, merge.value.byteCount > header || !hasRecord, hasTag(key, request.tag) {
        let size = key.count + merge.value.byteCount
        if !page.entries.isEmpty, byteCount + size > byteLimit { return page.through = last }
        let record = unsafe merge.value.withUnsafeBytes { value in
          unsafe [UInt8](UnsafeRawBufferPointer(rebasing: value[min(header, value.count)...]))
        }
        page.entries.append(RecordPage.Entry(key: key, record: record))
        byteCount += size
      }
      looked += 1
      last = key
      isMore = try merge.next()
    }
  }

  private func hasTag(_ key: [UInt8], _ tag: [UInt8]?) -> Bool {
    guard let tag else { return true }
    return unsafe Placement.tag(of: key.span.bytes).map { key[$0].elementsEqual(tag) } ?? false
  }
}
