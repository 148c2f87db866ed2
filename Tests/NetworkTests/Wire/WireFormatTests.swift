import NIOCore
import RoostCluster
import TestSupport
import Testing

@testable import RoostNetwork

/// FORMAT.md's example of the wire is what is sent and read.
// Budget: 1 s
@Suite struct WireFormatTests {
  private static let hello = Hello(
    node: NodeID(rawValue: 0x1122_3344_5566_7788), database: DatabaseID(high: 0x0F0E, low: 0x0706),
    physicalMilliseconds: 1_735_689_600_000, largestBody: 16 << 20, window: 256, cluster: "music",
    address: "10.0.0.1:7420")

  static let frames = [
    hello.frame,
    Frame(kind: .request, message: 7, request: 1, deadlineMilliseconds: 2_500, body: Array("ping".utf8)),
    Frame(kind: .goodbye, body: Notice(TransportError(.unreachable, "has left")).encoded),
  ]

  @Test func `the stream is as FORMAT says`() throws {
    let shown = try FormatDocument.example("wire")
    #expect(encoded(Self.frames) == shown)
    var decoder = FrameDecoder(largestBody: 1_024)
    decoder.append(ByteBuffer(bytes: shown))
    var read: [Frame] = []
    while let frame = try decoder.next() { read.append(frame) }
    #expect(read == Self.frames)
    #expect(try Hello(decoding: read[0].body) == Self.hello)
    #expect(try Notice(decoding: read[2].body).error.message == "has left")
  }
}
