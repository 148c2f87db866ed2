import NIOCore
import NIOSSL
import NIOTLS
import RoostCluster

/// What stands behind a connection: a ``Peer``'s attempt or a ``Session``. Called on the connection's
/// event loop.
protocol FrameSink: AnyObject, Sendable {
  /// The connection stands, TLS included.
  func opened()
  func received(_ frame: Frame)
  func received(byteCount: Int, isPartial: Bool)
  /// The other side broke the rules, or TLS failed. Nothing more is received.
  func broke(_ error: TransportError)
  func ended()
  func nextFrame() -> Frame?
  func wrote(_ byteCount: Int)
}

/// The last handler of a connection's pipeline: frames in, frames out, in batches, as fast as the socket
/// takes them. Of one event loop.
final class FrameHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let sink: any FrameSink
  private let isSecure: Bool
  private var decoder: FrameDecoder
  private var encoder = FrameEncoder()
  private var context: ChannelHandlerContext?
  private var isOpen = false
  /// Nothing more is said or listened to.
  private var isDone = false
  private var isPaused = false
  private var isDecoding = false
  private var hasEnded = false
  /// What is to be said before the end, as soon as something can be said.
  private var farewell: Frame?
  private var isClosing = false

  /// A batch of frames is written once it is so long.
  private static let batchBytes = 64 << 10
  /// How long the other side has to read a goodbye and close. Real time: nothing but the file descriptor
  /// hangs on it.
  private static let patience = TimeAmount.seconds(1)

  init(_ sink: any FrameSink, largestBody: Int, isSecure: Bool) {
    self.sink = sink
    self.isSecure = isSecure
    decoder = FrameDecoder(largestBody: largestBody)
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if context.channel.isActive, !isSecure { open() }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end()
    self.context = nil
  }

  func channelActive(context: ChannelHandlerContext) {
    if !isSecure { open() }
    context.fireChannelActive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted? = event as? TLSUserEvent { open() }
    context.fireUserInboundEventTriggered(event)
  }

  private func open() {
    if isOpen { return }
    isOpen = true
    if let farewell { say(farewell) } else if !isDone { sink.opened() }
  }

  // MARK: - In

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isDone { return }
    let bytes = unwrapInboundIn(data)
    decoder.append(bytes)
    decode()
    if !isDone { sink.received(byteCount: bytes.readableBytes, isPartial: decoder.byteCount > 0) }
  }

  /// Takes frames off what has come, until the sink has enough.
  private func decode() {
    if isDecoding { return }
    isDecoding = true
    defer { isDecoding = false }
    do throws(TransportError) {
      while !isDone, !isPaused, let frame = try decoder.next() { sink.received(frame) }
    } catch {
      sink.broke(error)
    }
  }

  /// Reads nothing more for now, or goes on with what has come already.
  func pause(_ isPaused: Bool) {
    guard let context, self.isPaused != isPaused, !isDone else { return }
    self.isPaused = isPaused
    // It fails only for a channel that is closed.
    try? context.channel.syncOptions?.setOption(.autoRead, value: !isPaused)
    if !isPaused {
      decode()
      if !isDone, !self.isPaused { sink.received(byteCount: 0, isPartial: decoder.byteCount > 0) }
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    end()
    context.fireChannelInactive()
  }

  private func end() {
    if hasEnded { return }
    hasEnded = true
    isDone = true
    sink.ended()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if !isDone { sink.broke(TransportError(connection: error, isSecure: isSecure)) }
    close(nil)
  }

  // MARK: - Out

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    pump()
    context.fireChannelWritabilityChanged()
  }

  /// Sends what the sink has, as long as the socket takes it.
  func pump() {
    guard let context, isOpen, !isDone else { return }
    var isWritten = false
    while !isDone, context.channel.isWritable, let frame = sink.nextFrame() {
      var batch = beginBatch(context)
      let start = batch.readableBytes
      encoder.encode(frame, into: &batch)
      while batch.readableBytes < FrameHandler.batchBytes, let more = sink.nextFrame() {
        encoder.encode(more, into: &batch)
      }
      let count = batch.readableBytes - start
      let promise = context.eventLoop.makePromise(of: Void.self)
      let sink = sink
      promise.futureResult.whenSuccess { sink.wrote(count) }
      context.write(wrapOutboundOut(batch), promise: promise)
      isWritten = true
    }
    if isWritten { context.flush() }
  }

  private var hasBegun = false

  private func beginBatch(_ context: ChannelHandlerContext) -> ByteBuffer {
    var batch = context.channel.allocator.buffer(capacity: 512)
    if !hasBegun {
      hasBegun = true
      batch.writeBytes(Frame.preamble)
    }
    return batch
  }

  /// Ends the connection: says `last`, waits a while for the other side to close, and closes.
  func close(_ last: Frame?) {
    guard let context else { return }
    isDone = true
    guard let last else { return context.close(promise: nil) }
    if isClosing { return }
    isClosing = true
    if isOpen { say(last) } else { farewell = last }
    let channel = context.channel
    context.eventLoop.scheduleTask(in: FrameHandler.patience) { channel.close(promise: nil) }
  }

  private func say(_ last: Frame) {
    guard let context else { return }
    // The answer to it is the end of the stream: it has to be read.
    try? context.channel.syncOptions?.setOption(.autoRead, value: true)
    var batch = beginBatch(context)
    encoder.encode(last, into: &batch)
    context.writeAndFlush(wrapOutboundOut(batch), promise: nil)
  }
}

extension TransportError {
  /// What NIO threw on a connection.
  init(connection error: any Error, isSecure: Bool) {
    switch error {
    case let error as TransportError: self = error
    case let error as NIOSSLError:
      if case .uncleanShutdown = error {
        self.init(.unreachable, "the other side ended the connection")
      } else {
        self.init(.tls, "TLS failed: \(TransportError.words(error))")
      }
    case let error as BoringSSLError:
      self.init(.tls, "TLS failed: \(TransportError.words(.handshakeFailed(error)))")
    case is NIOSSLExtraError: self.init(.tls, "TLS failed: \(error)")
    default: self.init(.unreachable, "\(error)")
    }
  }

  /// What BoringSSL says, without the places in its source.
  private static func words(_ error: NIOSSLError) -> String {
    guard case .handshakeFailed(let inner) = error else { return "\(error)" }
    switch inner {
    case .sslError(let stack), .unknownError(let stack):
      let texts = stack.map { String("\($0)".split(separator: " at ").first ?? "") }
      let reasons = texts.map { String($0.split(separator: ":").last ?? "") }
      if reasons.contains("WRONG_VERSION_NUMBER") || reasons.contains("HTTP_REQUEST") {
        return "the other side does not speak TLS (\(reasons.joined(separator: ", ")))"
      }
      return reasons.joined(separator: ", ")
    default: return "\(inner)"
    }
  }
}
