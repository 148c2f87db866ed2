import NIOCore
import RoostStorage

/// Encodes the frames of one direction of a connection, in their order. A value of one thread.
struct FrameEncoder {
  private var next: UInt64 = 0

  /// Appends a frame. The body is at most `UInt32.max` bytes long: its sender checked it against what the
  /// receiver takes.
  mutating func encode(_ frame: Frame, into buffer: inout ByteBuffer) {
    precondition(frame.body.count <= UInt32.max)
    let start = buffer.writerIndex
    buffer.reserveCapacity(minimumWritableBytes: frame.encodedCount)
    buffer.writeInteger(UInt64(0))
    buffer.writeInteger(UInt32(frame.body.count), endianness: .little)
    buffer.writeInteger(frame.kind.rawValue)
    buffer.writeInteger(UInt8(0))
    buffer.writeInteger(frame.message, endianness: .little)
    buffer.writeInteger(frame.request, endianness: .little)
    buffer.writeInteger(frame.deadlineMilliseconds, endianness: .little)
    buffer.writeInteger(UInt32(0))
    buffer.writeBytes(frame.body)
    let checksum = FrameEncoder.checksum(of: buffer, from: start, to: buffer.writerIndex, next)
    buffer.setInteger(checksum, at: start, endianness: .little)
    next &+= 1
  }

  /// The checksum of the frame that stands there.
  ///
  /// - Parameter number: the frame's, in its direction.
  static func checksum(of buffer: ByteBuffer, from start: Int, to end: Int, _ number: UInt64) -> UInt64 {
    let covered = buffer.readableBytesSpan.extracting(
      (start - buffer.readerIndex + 8)..<(end - buffer.readerIndex))
    return Checksum.xxh64(covered, seed: number)
  }
}
