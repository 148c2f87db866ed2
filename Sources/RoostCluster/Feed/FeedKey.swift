// Keys of a feed tree:
//
//   feed key := partition u16 big-endian | change number u64 big-endian

/// Where a change stands in a keyspace's feed; the value is the user's key.
package enum FeedKey {
  package static let byteCount = 10

  package static func make(_ partition: Int, _ number: UInt64) -> [UInt8] {
    withKey(partition, number) { key in unsafe key.withUnsafeBytes { unsafe [UInt8]($0) } }
  }

  /// Runs `body` with a key that is made on the stack.
  @inline(__always)
  static func withKey<R, E: Error>(
    _ partition: Int, _ number: UInt64, _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    try unsafe withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 8) {
      (key) throws(E) in
      unsafe key.storeBytes(of: UInt16(truncatingIfNeeded: partition).bigEndian, as: UInt16.self)
      unsafe key.storeBytes(of: number.bigEndian, toByteOffset: 2, as: UInt64.self)
      return try unsafe body(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(key)))
    }
  }

  package static func number(_ key: RawSpan) -> UInt64? {
    guard key.byteCount == byteCount else { return nil }
    return unsafe UInt64(bigEndian: key.unsafeLoadUnaligned(fromByteOffset: 2, as: UInt64.self))
  }
}
