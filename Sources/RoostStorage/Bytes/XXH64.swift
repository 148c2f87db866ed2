/// XXH64, the 64-bit hash of Yann Collet's xxHash family, written from its specification
/// (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). Every checksum, filter and placement in
/// Roost's files uses it, because readers exist in every language.
enum XXH64 {
  private static let p1: UInt64 = 0x9E37_79B1_85EB_CA87
  private static let p2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
  private static let p3: UInt64 = 0x1656_67B1_9E37_79F9
  private static let p4: UInt64 = 0x85EB_CA77_C2B2_AE63
  private static let p5: UInt64 = 0x27D4_EB2F_1656_67C5

  @inline(__always)
  private static func rotate(_ x: UInt64, _ n: UInt64) -> UInt64 { (x &<< n) | (x &>> (64 &- n)) }

  @inline(__always)
  private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
    rotate(lane &+ input &* p2, 31) &* p1
  }

  @inline(__always)
  private static func merge(_ hash: UInt64, _ lane: UInt64) -> UInt64 {
    (hash ^ round(0, lane)) &* p1 &+ p4
  }

  /// The hash of `bytes` under `seed`. O(n).
  static func hash(_ bytes: ByteView, seed: UInt64 = 0) -> UInt64 {
    let base = unsafe bytes.base
    let count = bytes.count
    var offset = 0
    var hash: UInt64
    if count >= 32 {
      var a = seed &+ p1 &+ p2
      var b = seed &+ p2
      var c = seed
      var d = seed &- p1
      while offset &+ 32 <= count {
        a = unsafe round(
          a, UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
        b = unsafe round(
          b, UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt64.self)))
        c = unsafe round(
          c, UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset &+ 16, as: UInt64.self))
        )
        d = unsafe round(
          d, UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset &+ 24, as: UInt64.self))
        )
        offset &+= 32
      }
      hash = rotate(a, 1) &+ rotate(b, 7) &+ rotate(c, 12) &+ rotate(d, 18)
      hash = merge(hash, a)
      hash = merge(hash, b)
      hash = merge(hash, c)
      hash = merge(hash, d)
    } else {
      hash = seed &+ p5
    }
    hash = hash &+ UInt64(count)
    while offset &+ 8 <= count {
      let word = unsafe UInt64(
        littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      hash = rotate(hash ^ round(0, word), 27) &* p1 &+ p4
      offset &+= 8
    }
    if offset &+ 4 <= count {
      let word = unsafe UInt32(
        littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      hash = rotate(hash ^ (UInt64(word) &* p1), 23) &* p2 &+ p3
      offset &+= 4
    }
    while offset < count {
      let byte = unsafe base.load(fromByteOffset: offset, as: UInt8.self)
      hash = rotate(hash ^ (UInt64(byte) &* p5), 11) &* p1
      offset &+= 1
    }
    hash = (hash ^ (hash &>> 33)) &* p2
    hash = (hash ^ (hash &>> 29)) &* p3
    return hash ^ (hash &>> 32)
  }
}
