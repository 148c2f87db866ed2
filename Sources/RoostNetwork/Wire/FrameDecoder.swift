import NIOCore
import RoostCluster

/// Takes the bytes of one direction of a connection apart into frames. A value of one thread.
///
/// - Any bytes give frames or an error, never a trap; after an error nothing more is decoded.
/// - A length is checked against its limit as soon as the header is there. Nothing is reserved for what a
///   header promises: what is kept is never more than has arrived.
struct FrameDecoder {
  private var buffer = ByteBuffer()
  /// Of the next frame.
  private var number: UInt64 = 0
  private var hasPreamble = false
  private var isBroken = false
  /// The longest body of a message.
  private let largestBody: Int

  init(largestBody: Int) { self.largestBody = largestBody }

  /// Bytes that have arrived and are not decoded yet.
  var byteCount: Int { buffer.readableBytes }

  mutating func append(_ bytes: ByteBuffer) {
    if isBroken { return }
    if buffer.readableBytes == 0 {
      buffer = bytes
    } else {
      buffer.discardReadBytes()
      buffer.writeImmutableBuffer(bytes)
    }
  }

  /// - Returns: the next frame, `nil` where it is not whole yet.
  /// - Throws: `.rubbish`.
  mutating func next() throws(TransportError) -> Frame? {
    if isBroken { return nil }
    do throws(TransportError) {
      guard try readPreamble() else { return nil }
      return try readFrame()
    } catch {
      isBroken = true
      buffer = ByteBuffer()
      throw error
    }
  }

  private mutating func readPreamble() throws(TransportError) -> Bool {
    if hasPreamble { return true }
    try checkPreamble()
    guard buffer.readableBytes >= Frame.preamble.count else { return false }
    buffer.moveReaderIndex(forwardBy: Frame.preamble.count)
    hasPreamble = true
    return true
  }

  private func checkPreamble() throws(TransportError) {
    let here = buffer.readableBytesView
    if zip(here, Frame.preamble).allSatisfy({ $0 == $1 }) { return }
    // The first byte of TLS's handshake and alerts, with which no text begins.
    if here.first == 0x16 || here.first == 0x15 {
      throw TransportError(.tls, "the other side speaks TLS, and this side was asked for plain TCP")
    }
    throw TransportError(.rubbish, "what was sent does not begin as Roost's protocol does")
  }

  private mutating func readFrame() throws(TransportError) -> Frame? {
    let start = buffer.readerIndex
    guard buffer.readableBytes >= Frame.headerCount,
      let checksum = buffer.getInteger(at: start, endianness: .little, as: UInt64.self),
      let length = buffer.getInteger(at: start + 8, endianness: .little, as: UInt32.self),
      let kindNumber = buffer.getInteger(at: start + 12, as: UInt8.self),
      let flags = buffer.getInteger(at: start + 13, as: UInt8.self),
      let message = buffer.getInteger(at: start + 14, endianness: .little, as: UInt16.self),
      let request = buffer.getInteger(at: start + 16, endianness: .little, as: UInt64.self),
      let deadline = buffer.getInteger(at: start + 24, endianness: .little, as: UInt32.self),
      let zero = buffer.getInteger(at: start + 28, endianness: .little, as: UInt32.self)
    else { return nil }
    guard let kind = FrameKind(rawValue: kindNumber) else { throw rubbish("of kind \(kindNumber)") }
    let limit = kind.isMessage ? largestBody : Frame.largestControlBody
    guard Int(length) <= limit else {
      throw rubbish("says that its body has \(length) bytes; the limit is \(limit)")
    }
    guard flags == 0, zero == 0 else { throw rubbish("has flags \(flags) and \(zero)") }
    // Who will not take up with the other side says goodbye in place of hello.
    guard (kind == .hello) == (number == 0) || (number == 0 && kind == .goodbye) else {
      throw rubbish("is of kind \(kind)")
    }
    let count = Frame.headerCount + Int(length)
    guard buffer.readableBytes >= count else { return nil }
    guard FrameEncoder.checksum(of: buffer, from: start, to: start + count, number) == checksum else {
      throw rubbish("does not match its checksum")
    }
    guard let body = buffer.getBytes(at: start + Frame.headerCount, length: Int(length)) else { return nil }
    buffer.moveReaderIndex(forwardBy: count)
    number &+= 1
    return Frame(kind: kind, message: message, request: request, deadlineMilliseconds: deadline, body: body)
  }

  private func rubbish(_ what: String) -> TransportError {
    TransportError(.rubbish, "frame \(number) \(what)")
  }
}
