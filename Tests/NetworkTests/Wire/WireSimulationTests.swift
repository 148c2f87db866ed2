import NIOCore
import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostNetwork

/// Both ends of connections on one thread, under one seed: bytes come in pieces, handlers answer when they
/// like, connections break, callers give up.
// Budget: 10 s
@Suite struct WireSimulationTests {
  /// One end's bytes on their way to the other.
  private struct Pipe {
    var bytes: [UInt8] = Frame.preamble
    var encoder = FrameEncoder()
    var decoder = FrameDecoder(largestBody: 1 << 20)

    mutating func write(_ frame: Frame) {
      var buffer = ByteBuffer()
      encoder.encode(frame, into: &buffer)
      bytes += Array(buffer.readableBytesView)
    }

    mutating func read(_ count: Int) throws -> (frames: [Frame], isPartial: Bool) {
      decoder.append(ByteBuffer(bytes: bytes.prefix(count)))
      bytes.removeFirst(min(count, bytes.count))
      var frames: [Frame] = []
      while let frame = try decoder.next() { frames.append(frame) }
      return (frames, decoder.byteCount > 0)
    }
  }

  private struct World {
    var random: SplitMix64
    var peer: PeerBench
    var session: SessionBench?
    var attempt: UInt64 = 0
    var out = Pipe()
    var back = Pipe()
    var inHand: [(number: UInt64, request: UInt64, body: [UInt8])] = []
    /// What each request was completed with.
    var ended: [UInt64: Result<[UInt8], TransportError>] = [:]
    /// Requests whose handler was called.
    var handled: Set<UInt64> = []

    mutating func settlePeer() throws {
      let effects = peer.effects
      peer.effects = []
      for effect in effects {
        switch effect {
        case .dial(let attempt):
          self.attempt = attempt
          if random.below(4) == 0 {
            peer.receive(.ended(attempt: attempt, TransportError(.unreachable, "refused")))
          } else {
            out = Pipe()
            back = Pipe()
            session = SessionBench { $0.window = 4 }
            session?.now = peer.now
            peer.receive(.opened(attempt: attempt))
          }
        case .close: session = nil
        case .complete(let number, let result):
          try #require(ended[number] == nil, "completed twice")
          ended[number] = result
          if case .success(let body) = result {
            try #require(handled.contains(number))
            try #require(body == World.answer(number))
          } else if let error = result.failure, !error.mayHaveArrived {
            try #require(!handled.contains(number), "done, and said not to be: \(error)")
          }
        default: break
        }
      }
      if !peer.effects.isEmpty { try settlePeer() }
    }

    mutating func settleSession() throws {
      let effects = session?.effects ?? []
      session?.effects = []
      for effect in effects {
        switch effect {
        case .deliver(let number, _, let frame, _):
          try #require(frame.body == World.question(frame.request))
          try #require(handled.insert(frame.request).inserted, "handled twice")
          inHand.append((number, frame.request, frame.body))
        case .close(_, let error):
          try #require(error?.code != .rubbish, "\(error!)")
          lose()
        default: break
        }
      }
    }

    mutating func lose() {
      session = nil
      inHand = []
      peer.receive(.ended(attempt: attempt, TransportError(.unreachable, "lost")))
    }

    static func question(_ number: UInt64) -> [UInt8] {
      [UInt8](repeating: UInt8(number % 251), count: Int(number % 97))
    }
    static func answer(_ number: UInt64) -> [UInt8] { question(number) + [1] }

    mutating func step() throws {
      switch random.below(20) {
      case 0..<5:
        peer.nextNumber += 1
        peer.receive(
          .request(
            peer.nextNumber, NodeMessage(kind: 1, body: World.question(peer.nextNumber)),
            deadline: peer.now + UInt64(1 + random.below(400)) * 1_000_000))
      case 5: if peer.nextNumber > 0 { peer.receive(.cancel(1 + random.next() % peer.nextNumber)) }
      case 6..<9:
        if session != nil {
          while let frame = peer.machine.nextFrame(attempt: attempt, at: peer.moment) { out.write(frame) }
        }
      case 9..<12:
        guard session != nil, !out.bytes.isEmpty else { break }
        let (frames, isPartial) = try out.read(1 + random.below(200))
        for frame in frames { session?.receive(.frame(frame)) }
        session?.receive(.bytes(count: 1, isPartial: isPartial))
      case 12..<14: for frame in session?.frames() ?? [] { back.write(frame) }
      case 14..<16:
        guard session != nil, !back.bytes.isEmpty else { break }
        let (frames, isPartial) = try back.read(1 + random.below(200))
        for frame in frames { peer.receive(.frame(attempt: attempt, frame)) }
        peer.receive(.bytes(attempt: attempt, count: 1, isPartial: isPartial))
      case 16, 17:
        guard !inHand.isEmpty else { break }
        let item = inHand.remove(at: random.below(inHand.count))
        session?.receive(.handled(item.number, .success(World.answer(item.request))))
      case 18: advance(UInt64(random.below(50)))
      default: if random.below(20) == 0, session != nil { lose() }
      }
      try settleSession()
      try settlePeer()
    }

    mutating func advance(_ milliseconds: UInt64) {
      peer.advance(milliseconds: milliseconds)
      session?.advance(milliseconds: milliseconds)
    }
  }

  @Test func `every request ends once, and rightly`() throws {
    var answered = 0
    var failed = 0
    try withSeeds("WireSimulationTests", count: TestSize.of(quick: 30, full: 500)) { seed, random in
      var world = World(
        random: random,
        peer: try PeerBench(seed: seed) { options in
          options.heartbeat = .milliseconds(200)
          options.silentHeartbeats = 10
          options.queuedMessages = 20
          options.backoff = .milliseconds(5) ... .milliseconds(50)
        })
      world.peer.receive(.begin)
      try world.settlePeer()
      for _ in 0..<3_000 { try world.step() }
      // All deadlines pass.
      for _ in 0..<20 {
        world.advance(50)
        try world.settleSession()
        try world.settlePeer()
      }
      try #require(world.ended.count == Int(world.peer.nextNumber))
      let statistics = world.peer.machine.statistics
      try #require(statistics.inFlight == 0 && statistics.queuedMessages == 0 && statistics.queuedBytes == 0)
      answered += world.ended.values.count { $0.failure == nil }
      failed += world.ended.values.count { $0.failure != nil }
    }
    #expect(answered > 100)
    #expect(failed > 100)
  }
}
