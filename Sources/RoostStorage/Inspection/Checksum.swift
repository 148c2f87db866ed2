/// The checksum of all of Roost's files, for tools that write files of their own; and the hash by
/// which keys find their partition.
package enum Checksum {
  /// The XXH64 of `bytes` under `seed`. O(n).
  package static func xxh64(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
    bytes.withByteView { XXH64.hash($0, seed: seed) }
  }

  /// The same of bytes that are lent. Nothing is copied. O(n).
  package static func xxh64(_ bytes: RawSpan, seed: UInt64 = 0) -> UInt64 {
    XXH64.hash(ByteView(bytes), seed: seed)
  }
}
