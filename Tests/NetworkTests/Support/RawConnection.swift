import NIOCore
import NIOPosix
import RoostCluster

@testable import RoostNetwork

/// A TCP connection that says what a test wants, with no protocol of its own.
final class RawConnection: Ending {
  private let channel: any Channel
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  /// What came, in pieces; an empty one at the end.
  let pieces = Seen<[UInt8]>()

  private final class Collector: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    let pieces: Seen<[UInt8]>
    init(_ pieces: Seen<[UInt8]>) { self.pieces = pieces }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      pieces.add(Array(unwrapInboundIn(data).readableBytesView))
    }
    func channelInactive(context: ChannelHandlerContext) { pieces.add([]) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }

  init(to address: NodeAddress) throws {
    let pieces = pieces
    do {
      channel = try ClientBootstrap(group: group)
        .channelInitializer { channel in channel.pipeline.addHandler(Collector(pieces)) }
        .connect(host: address.host, port: address.port).wait()
    } catch {
      group.shutdownGracefully { _ in }
      throw error
    }
    KeptAlive.keep(self)
  }

  func end() { group.shutdownGracefully { _ in } }

  func send(_ bytes: [UInt8]) throws { try channel.writeAndFlush(ByteBuffer(bytes: bytes)).wait() }

  func close() { channel.close(promise: nil) }

  /// Waits for the end of the stream, and closes when a goodbye comes.
  ///
  /// - Returns: the frames that came.
  func frames() throws -> [Frame] {
    try pieces.wait("an end or a goodbye") { pieces in
      let frames = decode(pieces.flatMap { $0 })
      return pieces.last == [] || frames.last?.kind == .goodbye ? frames : nil
    }
  }

  /// Waits for a frame of a kind.
  func frame(_ kind: FrameKind) throws -> Frame {
    try pieces.wait("a frame of kind \(kind)") { pieces in
      decode(pieces.flatMap { $0 }).first { $0.kind == kind }
    }
  }

  private func decode(_ bytes: [UInt8]) -> [Frame] {
    var decoder = FrameDecoder(largestBody: 1 << 30)
    decoder.append(ByteBuffer(bytes: bytes))
    var frames: [Frame] = []
    while let frame = try? decoder.next() { frames.append(frame) }
    return frames
  }
}

/// The frames as one side sends them, from the beginning of a connection.
func encoded(_ frames: [Frame]) -> [UInt8] {
  var buffer = ByteBuffer(bytes: Frame.preamble)
  var encoder = FrameEncoder()
  for frame in frames { encoder.encode(frame, into: &buffer) }
  return Array(buffer.readableBytesView)
}

extension Hello {
  /// One that tests' nodes take up with.
  static func test(node: UInt64 = 99) -> Hello {
    Hello(
      node: TestNode.id(node), database: TestNode.database, physicalMilliseconds: 1_735_689_600_000,
      largestBody: 1 << 20, window: 16, cluster: "test", address: "")
  }

  var frame: Frame { Frame(kind: .hello, body: encoded) }
}

/// Accepts connections, and says nothing.
final class SilentListener: Ending {
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let address: NodeAddress
  /// One a connection.
  let accepted: Seen<Bool>

  init() throws {
    let accepted = Seen<Bool>()
    let channel = try ServerBootstrap(group: group)
      .childChannelInitializer { channel in
        accepted.add(true)
        return channel.eventLoop.makeSucceededVoidFuture()
      }
      .bind(host: "127.0.0.1", port: 0).wait()
    self.accepted = accepted
    address = try NodeAddress(host: "127.0.0.1", port: channel.localAddress?.port ?? 0)
    KeptAlive.keep(self)
  }

  func end() { group.shutdownGracefully { _ in } }
}
