internal import CLZ4

/// LZ4 block compression: a small safe face on the C library.
///
/// Stateless, thread-safe. Inputs of any bytes: damaged ones give `false`, and nothing outside the
/// given buffers is touched (`LZ4_decompress_safe`).
enum LZ4 {
  /// The largest input that LZ4 takes.
  static let maxInputBytes = Int(LZ4_MAX_INPUT_SIZE)

  /// No LZ4 block grows by more than this factor: a stored length that claims more is damage.
  static let maxExpansion = 255

  /// Appends the compressed form of `source` to `destination`, unless that would take more than
  /// `limit` bytes.
  ///
  /// - Returns: whether anything was appended.
  static func compress(_ source: ByteView, to destination: inout ByteBuffer, limit: Int) -> Bool {
    guard source.count <= maxInputBytes, limit > 0 else { return false }
    let room = min(limit, Int(Int32.max))
    var written = 0
    unsafe destination.appendUninitialized(room) { buffer in
      unsafe written = Int(
        LZ4_compress_default(
          source.base.assumingMemoryBound(to: CChar.self),
          buffer.baseAddress!.assumingMemoryBound(to: CChar.self),
          Int32(source.count), Int32(room)))
      return max(written, 0)
    }
    return written > 0
  }

  /// Decompresses all of `source` into exactly `count` bytes at `destination`.
  ///
  /// - Returns: `false` where the bytes are no LZ4 block of that length.
  static func decompress(
    _ source: ByteView, to destination: UnsafeMutableRawPointer, count: Int
  ) -> Bool {
    guard source.count <= Int(Int32.max), count >= 0, count <= Int(Int32.max) else { return false }
    let written = unsafe LZ4_decompress_safe(
      source.base.assumingMemoryBound(to: CChar.self),
      destination.assumingMemoryBound(to: CChar.self), Int32(source.count), Int32(count))
    return Int(written) == count
  }
}
