import RoostCausality
import RoostStorage

// What one store has under a key.

extension KeyspacePart {
  /// The record under a stored key.
  @inline(__always)
  func load(_ storedKey: RawSpan) throws(DatabaseError) -> StoredRecord? {
    try load(storedKey) { bytes throws(DatabaseError) in try StoredRecord(decoding: bytes) }
  }

  @inline(__always)
  func load(_ storedKey: [UInt8]) throws(DatabaseError) -> StoredRecord? {
    try unsafe load(storedKey.span.bytes)
  }

  /// The record under a stored key, and how many bytes it takes.
  func loadWithSize(
    _ storedKey: [UInt8]
  ) throws(DatabaseError) -> (StoredRecord, byteCount: Int)? {
    try unsafe load(storedKey.span.bytes) { bytes throws(DatabaseError) in
      (try StoredRecord(decoding: bytes), bytes.byteCount)
    }
  }

  @inline(__always)
  func load<R>(
    _ storedKey: RawSpan, _ body: (RawSpan) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R? {
    let result: Result<R, DatabaseError>?
    do throws(StoreError) {
      result = try records.withBytes(of: storedKey) { bytes in
        do throws(DatabaseError) { return .success(try body(bytes)) } catch { return .failure(error) }
      }
    } catch { throw DatabaseError(error) }
    switch result {
    case .none: return nil
    case .success(let found): return found
    case .failure(let error): throw damaged(storedKey, error)
    }
  }

  /// What is under a stored key, expired or not; built whole only where it is more than one value.
  @inline(__always)
  func find(_ storedKey: RawSpan) throws(DatabaseError) -> FoundRecord {
    let sole: SoleRecord??
    do throws(StoreError) {
      sole = try records.withBytes(of: storedKey) { stored -> SoleRecord? in
        guard stored.byteCount > StoredRecord.headerBytes else { return nil }
        let record = stored.extracting(droppingFirst: StoredRecord.headerBytes)
        // At time 0 nothing has expired.
        guard let sole = SoleSibling(in: record, at: 0) else { return nil }
        return SoleRecord(sole, in: record)
      }
    } catch { throw DatabaseError(error) }
    guard let sole else { return .absent }
    if let sole { return .sole(sole) }
    // Read again, and whole: rare, and it says what is damaged.
    return try load(storedKey).map { .whole($0.record) } ?? .absent
  }

  @inline(never)
  func damaged(_ storedKey: RawSpan, _ error: DatabaseError) -> DatabaseError {
    let key = unsafe storedKey.withUnsafeBytes {
      unsafe String(decoding: $0.dropFirst(StoredKey.prefixBytes), as: UTF8.self)
    }
    return DatabaseError(
      error.code, "the record of the key `\(key)` in \(member.path): \(error.message)", cause: error.cause)
  }
}
