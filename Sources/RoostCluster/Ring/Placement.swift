import RoostStorage

/// Which partition a key belongs to. A published rule (FORMAT.md): it may never change, since data lie
/// where it says.
///
/// The key is hashed, or only its *tag* where it has one: what stands between the first `{` and the
/// next `}`, unless that is nothing. So `song:{42}:plays` and `song:{42}:title` share a partition. The
/// partitions cut the space of hashes into equal ranges. Nothing here allocates.
public enum Placement {
  /// XXH64 with seed 0 of the key, or of its tag. O(n).
  public static func hash(_ key: RawSpan) -> UInt64 {
    guard let tag = tag(of: key) else { return Checksum.xxh64(key) }
    return Checksum.xxh64(key.extracting(tag))
  }

  /// Where in the key its tag stands; `nil` where it has none. O(n).
  public static func tag(of key: RawSpan) -> Range<Int>? {
    let count = key.byteCount
    var open = 0
    while open < count, unsafe key.unsafeLoad(fromByteOffset: open, as: UInt8.self) != UInt8(ascii: "{") {
      open &+= 1
    }
    var close = open &+ 1
    while close < count, unsafe key.unsafeLoad(fromByteOffset: close, as: UInt8.self) != UInt8(ascii: "}") {
      close &+= 1
    }
    guard close < count, close > open &+ 1 else { return nil }
    return open &+ 1..<close
  }

  /// The partition of a key with that hash: the range of hashes, of `count` equal ones, in which it
  /// lies. O(1).
  ///
  /// - Parameter count: how many partitions there are, at least 1.
  @inlinable
  public static func partition(ofHash hash: UInt64, count: Int) -> Int {
    Int(truncatingIfNeeded: hash.multipliedFullWidth(by: UInt64(truncatingIfNeeded: count)).high)
  }
}
