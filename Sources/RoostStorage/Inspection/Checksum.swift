/// The checksum of all of Roost's files, for tools that write files of their own.
package enum Checksum {
  /// The XXH64 of `bytes` under `seed`. O(n).
  package static func xxh64(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
    bytes.withByteView { XXH64.hash($0, seed: seed) }
  }
}
