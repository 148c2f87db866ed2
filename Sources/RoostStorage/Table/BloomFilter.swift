// A cache-line-blocked bloom filter
//
//   filter := line* lineCount u32 | probeCount u8 | zero 3 bytes line   := 64 bytes, bit b being
//   bit b % 8 of byte b / 8
//
// A key's hash h is XXH64 of the user key under seed 0. Its line is number (h >> 32) * lineCount >>
// 32. Its bits in that line: g is the low 32 bits of h; probeCount times, the top nine bits of g
// name a bit, and g becomes g * 0x9E3779B9 (mod 2^32).
//
// All probes of a key fall into one cache line, which costs a few tenths of a percent of false
// positives and saves all cache misses but one.

enum BloomFilter {
  static let lineBytes = 64
  static let trailerBytes = 8

  @inline(__always)
  static func hash(_ key: ByteView) -> UInt64 { XXH64.hash(key) }

  /// Probes that give the fewest false positives, leaning to fewer since a line's load varies.
  static func probeCount(bitsPerKey: Int) -> Int {
    min(max((bitsPerKey * 6 + 5) / 10, 1), 16)
  }

  @inline(__always)
  static func line(_ hash: UInt64, _ lineCount: Int) -> Int {
    Int(truncatingIfNeeded: ((hash &>> 32) &* UInt64(truncatingIfNeeded: lineCount)) &>> 32)
  }

  /// Whether a filter's bytes are a filter at all.
  static func isValid(_ bytes: ByteView) -> Bool {
    guard bytes.count >= trailerBytes + lineBytes else { return false }
    let lines = Int(bytes.loadUInt32(at: bytes.count - 8))
    let probes = bytes[bytes.count - 4]
    return lines * lineBytes + trailerBytes == bytes.count && probes >= 1 && probes <= 32
  }

  /// Whether the filter's keys may include the one of this hash. `bytes` passed ``isValid(_:)``.
  static func mayContain(_ bytes: ByteView, hash: UInt64) -> Bool {
    let end = bytes.count &- trailerBytes
    return mayContain(
      bytes, lineCount: Int(bytes.loadUInt32(at: end)), probeCount: Int(bytes[end &+ 4]), hash: hash)
  }

  /// The same for whoever knows what the trailer says: that lies far from the key's line.
  @inline(__always)
  static func mayContain(
    _ bytes: ByteView, lineCount: Int, probeCount: Int, hash: UInt64
  ) -> Bool {
    let end = bytes.count &- trailerBytes
    var probes = probeCount
    let start = line(hash, lineCount) &* lineBytes
    precondition(start &+ lineBytes <= end)
    let lineBase = unsafe bytes.base + start
    var g = UInt32(truncatingIfNeeded: hash)
    while probes > 0 {
      let bit = Int(truncatingIfNeeded: g &>> 23)
      let byte = unsafe lineBase.load(fromByteOffset: bit &>> 3, as: UInt8.self)
      if byte &>> UInt8(truncatingIfNeeded: bit & 7) & 1 == 0 { return false }
      g = g &* 0x9E37_79B9
      probes &-= 1
    }
    return true
  }
}

/// Collects the hashes of a partition's keys and makes their filter. Not thread-safe.
struct BloomFilterBuilder: ~Copyable {
  private let bitsPerKey: Int
  /// Hashes of eight bytes each: the number of lines follows from their count, so none can be set
  /// before.
  private var hashes = ByteBuffer(capacity: 1024)

  init(bitsPerKey: Int) { self.bitsPerKey = bitsPerKey }

  var isEmpty: Bool { hashes.isEmpty }
  /// Bytes of the filter so far.
  var estimatedBytes: Int { hashes.count / 64 * bitsPerKey + BloomFilter.trailerBytes }

  @inline(__always)
  mutating func add(_ hash: UInt64) { hashes.append(littleEndian: hash) }

  /// Appends the filter of the keys added and begins the next.
  mutating func finish(to out: inout ByteBuffer) {
    let keys = hashes.count / 8
    let lineCount = max((keys * bitsPerKey + 511) / 512, 1)
    let probes = BloomFilter.probeCount(bitsPerKey: bitsPerKey)
    let start = out.count
    out.append(zeros: lineCount * BloomFilter.lineBytes)
    unsafe Self.set(hashes.view, in: out.base + start, lineCount: lineCount, probes: probes)
    out.append(littleEndian: UInt32(lineCount))
    out.append(UInt8(probes))
    out.append(zeros: 3)
    hashes.removeAll()
  }

  private static func set(
    _ hashes: ByteView, in lines: UnsafeMutableRawPointer, lineCount: Int, probes: Int
  ) {
    var offset = 0
    while offset < hashes.count {
      let hash = hashes.loadUInt64(at: offset)
      let line = unsafe lines + BloomFilter.line(hash, lineCount) * BloomFilter.lineBytes
      var g = UInt32(truncatingIfNeeded: hash)
      for _ in 0..<probes {
        let bit = Int(truncatingIfNeeded: g &>> 23)
        let byte = unsafe line.load(fromByteOffset: bit &>> 3, as: UInt8.self)
        unsafe line.storeBytes(
          of: byte | 1 &<< UInt8(truncatingIfNeeded: bit & 7), toByteOffset: bit &>> 3,
          as: UInt8.self)
        g = g &* 0x9E37_79B9
      }
      offset &+= 8
    }
  }
}
