/// How a user's key stands in a keyspace's tree: the partition's number, two bytes, big-endian, then
/// the key. So a partition is one contiguous range, and its keys keep their order.
package enum StoredKey {
  package static let prefixBytes = 2
  /// The longest user key.
  package static let longestKey = 65_535 - prefixBytes

  @inline(__always)
  static func make(_ partition: Int, _ key: RawSpan, into buffer: inout [UInt8]) {
    buffer.removeAll(keepingCapacity: true)
    buffer.append(integer: UInt16(truncatingIfNeeded: partition).bigEndian)
    unsafe key.withUnsafeBytes { unsafe buffer.append(contentsOf: $0) }
  }

  /// Runs `body` with the stored key, which is made on the stack where it is short.
  @inline(__always)
  static func withStoredKey<R>(
    _ partition: Int, _ key: RawSpan, _ body: (RawSpan) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R {
    let count = key.byteCount + prefixBytes
    return try unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) {
      (buffer) throws(DatabaseError) in
      unsafe buffer.storeBytes(of: UInt16(truncatingIfNeeded: partition).bigEndian, as: UInt16.self)
      unsafe key.withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[prefixBytes...]).copyMemory(from: source)
      }
      return try unsafe body(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(buffer)))
    }
  }

  package static func make(_ partition: Int, _ key: [UInt8] = []) -> [UInt8] {
    [UInt8(truncatingIfNeeded: partition >> 8), UInt8(truncatingIfNeeded: partition)] + key
  }

  /// The first stored key behind a partition; `nil` behind the last that two bytes can name.
  package static func end(of partition: Int) -> [UInt8]? {
    partition >= 0xFFFF ? nil : make(partition + 1)
  }

  /// The partition of a stored key, or `nil` where it is too short to have one.
  package static func partition(of key: RawSpan) -> Int? {
    guard key.byteCount >= prefixBytes else { return nil }
    return unsafe Int(key.unsafeLoad(fromByteOffset: 0, as: UInt8.self)) << 8
      | Int(key.unsafeLoad(fromByteOffset: 1, as: UInt8.self))
  }
}

extension [UInt8] {
  /// Appends an integer's bytes as they are in memory, at once.
  @inline(__always)
  mutating func append(integer value: some FixedWidthInteger) {
    unsafe Swift.withUnsafeBytes(of: value) { unsafe append(contentsOf: $0) }
  }
}
