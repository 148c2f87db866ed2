import NIOCore
import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostNetwork

/// Frames: what is sent arrives, and nothing else does.
// Budget: 5 s
@Suite struct FrameTests {
  static let sample: [Frame] = [
    Hello.test().frame,
    Frame(kind: .request, message: 7, request: 1, deadlineMilliseconds: 5_000, body: Array("question".utf8)),
    Frame(kind: .oneWay, message: 9, deadlineMilliseconds: 1, body: []),
    Frame(kind: .response, request: 1, body: Array("answer".utf8)),
    Frame(kind: .failure, request: 2, body: Notice(TransportError(.overloaded, "later")).encoded),
    Frame(kind: .cancel, request: 3), Frame(kind: .ping, request: 4, body: [1, 2, 3, 4, 5, 6, 7, 8]),
    Frame(kind: .pong, request: 4, body: [1, 2, 3, 4, 5, 6, 7, 8]), Frame(kind: .draining),
    Frame(kind: .goodbye, body: Notice(TransportError(.rubbish, "no")).encoded),
  ]

  private func decoded(_ bytes: [UInt8], limit: Int = 1 << 20) throws(TransportError) -> [Frame] {
    var decoder = FrameDecoder(largestBody: limit)
    decoder.append(ByteBuffer(bytes: bytes))
    var frames: [Frame] = []
    while let frame = try decoder.next() { frames.append(frame) }
    return frames
  }

  @Test func `frames of every kind go round`() throws {
    #expect(Set(Self.sample.map(\.kind)) == Set(FrameKind.allCases))
    #expect(try decoded(encoded(Self.sample)) == Self.sample)
  }

  @Test func `pieces of any size give the same frames`() throws {
    let bytes = encoded(Self.sample)
    for size in 1...bytes.count {
      var decoder = FrameDecoder(largestBody: 1 << 20)
      var frames: [Frame] = []
      for start in stride(from: 0, to: bytes.count, by: size) {
        decoder.append(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
        while let frame = try decoder.next() { frames.append(frame) }
      }
      #expect(frames == Self.sample)
      #expect(decoder.byteCount == 0)
    }
  }

  /// Each changed bit is found, or makes the decoder wait for more; the frames before it come as they were.
  @Test func `damage at every bit is found`() throws {
    let bytes = encoded(Self.sample)
    var thrown = 0
    for index in bytes.indices {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << UInt8(bit)
        var decoder = FrameDecoder(largestBody: 1 << 20)
        decoder.append(ByteBuffer(bytes: damaged))
        var frames: [Frame] = []
        do throws(TransportError) {
          while let frame = try decoder.next() { frames.append(frame) }
        } catch {
          thrown += 1
          #expect(error.code == .rubbish || (index == 0 && error.code == .tls))
          #expect(try decoder.next() == nil, "nothing more is decoded")
        }
        #expect(frames.count < Self.sample.count)
        #expect(frames == Array(Self.sample.prefix(frames.count)))
      }
    }
    // Only a length that grew makes it wait.
    #expect(thrown > bytes.count * 8 - Self.sample.count * 32)
  }

  @Test func `what is cut off gives the whole frames before it`() throws {
    let bytes = encoded(Self.sample)
    for count in 0..<bytes.count {
      let frames = try decoded(Array(bytes.prefix(count)))
      #expect(frames.count < Self.sample.count)
      #expect(frames == Array(Self.sample.prefix(frames.count)))
    }
  }

  @Test func `a frame that is lost, doubled or overtaken is found`() throws {
    let first = encoded([Self.sample[0]])
    let two = encoded(Array(Self.sample[0...1]))
    let three = encoded(Array(Self.sample[0...2]))
    let second = Array(two[first.count...])
    let third = Array(three[two.count...])
    for tail in [third, second + second, third + second] {
      #expect(throws: TransportError.self) { try decoded(first + tail) }
    }
    #expect(try decoded(first + second + third).count == 3)
  }

  @Test func `a length beyond the limit is refused by its header alone`() throws {
    for (kind, limit) in [(FrameKind.request, 100), (.ping, Frame.largestControlBody)] {
      for (length, isRefused) in [(limit, false), (limit + 1, true), (Int(UInt32.max), true)] {
        var header = [UInt8](repeating: 0, count: 8)
        for shift in stride(from: 0, to: 32, by: 8) {
          header.append(UInt8(truncatingIfNeeded: length >> shift))
        }
        header += [kind.rawValue] + [UInt8](repeating: 0, count: Frame.headerCount - header.count - 1)
        var decoder = FrameDecoder(largestBody: 100)
        decoder.append(ByteBuffer(bytes: encoded([Self.sample[0]]) + header))
        #expect(try decoder.next()?.kind == .hello)
        if isRefused {
          #expect(throws: TransportError.self) { try decoder.next() }
        } else {
          #expect(try decoder.next() == nil)
        }
        #expect(decoder.byteCount <= Frame.headerCount, "nothing is kept for what a header promises")
      }
    }
  }

  @Test func `a stream begins with a hello, or a goodbye, and has no second hello`() throws {
    for frame in Self.sample {
      let isFirst = frame.kind == .hello || frame.kind == .goodbye
      #expect((try? decoded(encoded([frame]))) == (isFirst ? [frame] : nil))
    }
    #expect(throws: TransportError.self) { try decoded(encoded([Self.sample[0], Self.sample[0]])) }
  }

  @Test func `other protocols are recognised`() throws {
    let texts = ["GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH", "ROOSTLOG", "ROOSTNEX"]
    for text in texts {
      #expect { try decoded(Array(text.utf8)) } throws: { ($0 as? TransportError)?.code == .rubbish }
    }
    #expect { try decoded([0x16, 3, 1, 2, 0]) } throws: { ($0 as? TransportError)?.code == .tls }
  }

  @Test func `any bytes throw or succeed`() throws {
    try withSeeds("FrameTests", count: TestSize.of(quick: 200, full: 5_000)) { _, random in
      // Pure rubbish, rubbish behind a good beginning, or good frames with some bytes changed.
      var bytes: [UInt8]
      switch random.below(3) {
      case 0: bytes = random.bytes(random.below(300))
      case 1: bytes = encoded(Array(Self.sample.prefix(random.below(4)))) + random.bytes(random.below(300))
      default:
        bytes = encoded(Self.sample)
        for _ in 0..<random.below(4) {
          bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
        }
      }
      var decoder = FrameDecoder(largestBody: 1_000)
      var fed = 0
      while fed < bytes.count {
        let count = min(1 + random.below(100), bytes.count - fed)
        decoder.append(ByteBuffer(bytes: bytes[fed..<(fed + count)]))
        fed += count
        while let frame = try? decoder.next() {
          try #require(frame.body.count <= max(1_000, Frame.largestControlBody))
          // What carries a text or a number takes any body.
          _ = try? Hello(decoding: frame.body)
          _ = try? Notice(decoding: frame.body)
        }
        try #require(decoder.byteCount <= fed)
      }
    }
  }
}
