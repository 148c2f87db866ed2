import NIOCore
import NIOPosix
import NIOSSL
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// Connections with certificates, of which each test has copies.
// Budget: 20 s
@Suite(.endsNodes) struct TLSTests {
  private let directory: TemporaryDirectory
  private let authority: TestAuthority

  init() throws {
    directory = try TemporaryDirectory()
    authority = TestAuthority(directory)
  }

  /// Has `a` dial `b`, and waits until it knows why not.
  private func refusal(of a: TestNode, by b: TestNode) throws -> TransportError {
    a.network.setPeers([b.network.node: try #require(b.network.address)])
    return try a.refused(by: b.network.node)
  }

  @Test func `nodes with certificates of one authority talk`() throws {
    let time = still()
    let a = try TestNode(1, on: time, tls: try authority.sign("a"))
    let b = try TestNode(2, on: time, tls: try authority.sign("b"))
    try a.meet([b])
    try b.meet([a])
    #expect(try a.ask(2, [1, 2]) == [2, 1])
    let body = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(try b.ask(1, body) == body.reversed())
  }

  @Test func `a certificate of another authority is refused, whoever has it`() throws {
    let time = still()
    let other = TestAuthority(directory, name: "another")
    let foreign = try TestNode(1, on: time, tls: try other.sign("foreign", as: "a", trusts: authority))
    let ours = try TestNode(2, on: time, tls: try authority.sign("ours", as: "b"))
    // It dials us, and we dial it.
    #expect(try refusal(of: foreign, by: ours).code == .tls)
    #expect(try ours.dropped().code == .tls)
    let error = try refusal(of: ours, by: foreign)
    #expect(error.code == .tls)
    #expect(error.message.contains("CERTIFICATE_VERIFY_FAILED"))
    let answers = TestNode.Answers()
    ours.ask(1, [], into: answers)
    #expect(answers.values.first?.failure?.code == .tls)
  }

  @Test func `an authority that this node does not believe is refused`() throws {
    let time = still()
    let other = TestAuthority(directory, name: "another")
    let a = try TestNode(1, on: time, tls: try authority.sign("a", trusts: other))
    let b = try TestNode(2, on: time, tls: try authority.sign("b"))
    #expect(try refusal(of: a, by: b).code == .tls)
  }

  @Test func `an expired certificate is refused, whoever has it`() throws {
    let time = still()
    let expired = try TestNode(1, on: time, tls: try authority.sign("expired"))
    let ours = try TestNode(2, on: time, tls: try authority.sign("ours", as: "b"))
    #expect(try refusal(of: ours, by: expired).code == .tls)
    #expect(try refusal(of: expired, by: ours).code == .tls)
    #expect(try ours.dropped().code == .tls)
  }

  @Test func `who has no certificate is refused`() throws {
    let node = try TestNode(2, on: still(), tls: try authority.sign("b"))
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    defer { group.shutdownGracefully { _ in } }
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.certificateVerification = .none
    let context = try NIOSSLContext(configuration: configuration)
    let address = try #require(node.network.address)
    let channel = try ClientBootstrap(group: group).channelInitializer { channel in
      channel.eventLoop.makeCompletedFuture {
        try channel.pipeline.syncOperations.addHandler(
          NIOSSLClientHandler(context: context, serverHostname: nil))
      }
    }.connect(host: address.host, port: address.port).wait()
    channel.writeAndFlush(ByteBuffer(bytes: encoded([Hello.test().frame])), promise: nil)
    let error = try node.dropped()
    #expect(error.code == .tls)
    #expect(error.message.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE"))
    channel.close(promise: nil)
  }

  @Test func `plain TCP to a port with TLS is refused, and the other way`() throws {
    let time = still()
    let plain = try TestNode(1, on: time)
    let secure = try TestNode(2, on: time, tls: try authority.sign("b"))
    #expect(try refusal(of: plain, by: secure).code == .tls)
    #expect(try secure.dropped().code == .tls)
    let error = try refusal(of: secure, by: plain)
    #expect(error.code == .tls)
    #expect(error.message.contains("does not speak TLS"))
    #expect(try plain.dropped().message.contains("speaks TLS"))
  }

  @Test func `a listener with TLS drops who does not begin`() throws {
    let time = still()
    let node = try TestNode(2, on: time, tls: try authority.sign("b"))
    let raw = try RawConnection(to: try #require(node.network.address))
    try node.events.wait("a connection") { events in
      events.contains { if case .opened = $0 { true } else { false } } ? true : nil
    }
    time.advance(byNanoseconds: 60_000_000_000)
    #expect(try node.dropped().code == .silent)
    // Nothing can be said to it.
    try raw.pieces.wait("the end") { $0.last == [] ? true : nil }
  }

  @Test func `the host is verified where it is asked for`() throws {
    let time = still()
    var a = try authority.sign("a")
    a.verifiesHost = true
    let node = try TestNode(1, on: time, tls: a)
    let named = try TestNode(
      2, on: time, tls: try authority.sign("b", as: "at-loopback"))
    let unnamed = try TestNode(3, on: time, tls: try authority.sign("c"))
    try node.meet([named])
    #expect(try refusal(of: node, by: unnamed).code == .tls)
  }

  @Test func `files that are not right are refused by name`() throws {
    let options = try authority.sign("a")
    let other = try authority.sign("b")
    guard case .mutual(let certificate, let key, let ca) = options.kind,
      case .mutual(_, let otherKey, _) = other.kind
    else { return }
    let rubbish = try authority.write("rubbish.pem", "nothing")
    let cases: [(TLSOptions, String)] = [
      (.mutual(certificate: "/nowhere/a.pem", key: key, authority: ca), "/nowhere/a.pem"),
      (.mutual(certificate: rubbish, key: key, authority: ca), rubbish),
      (.mutual(certificate: certificate, key: rubbish, authority: ca), rubbish),
      (.mutual(certificate: certificate, key: key, authority: rubbish), rubbish),
      (.mutual(certificate: certificate, key: otherKey, authority: ca), otherKey),
    ]
    for (options, path) in cases {
      #expect {
        try TestNode(1, on: still(), tls: options)
      } throws: { error in
        guard let error = error as? TransportError else { return false }
        return error.code == .certificate && error.message.contains(path)
      }
    }
  }

  /// What was expired is replaced in its files: new connections have the new one, those that stand stay.
  @Test func `certificates are read anew`() throws {
    let time = still()
    let a = try TestNode(1, on: time, tls: try authority.sign("a"))
    let c = try TestNode(3, on: time, tls: try authority.sign("c"))
    let b = try TestNode(2, on: time, tls: try authority.sign("b"))
    try a.meet([b])
    // b's certificate is now one of another authority, which only c believes.
    let other = TestAuthority(directory, name: "another")
    _ = try other.sign("b", trusts: authority)
    _ = try authority.sign("c", trusts: other)
    c.network.setPeers([b.network.node: try #require(b.network.address)])
    try c.connected(to: b.network.node)
    try b.network.reloadCertificates()
    try c.network.reloadCertificates()
    #expect(try a.ask(2, [1]) == [1])
    let d = try TestNode(4, on: time, tls: try authority.sign("d"))
    #expect(try refusal(of: d, by: b).code == .tls)
    c.network.setPeers([:])
    c.network.setPeers([b.network.node: try #require(b.network.address)])
    try c.connected(to: b.network.node, times: 2)
    // What cannot be read leaves all as it was.
    _ = try authority.write("b.pem", "nothing")
    #expect(throws: TransportError.self) { try b.network.reloadCertificates() }
    c.network.setPeers([:])
    c.network.setPeers([b.network.node: try #require(b.network.address)])
    try c.connected(to: b.network.node, times: 3)
  }

  @Test func `a connection with TLS comes back`() throws {
    let time = still()
    let tls = try authority.sign("b")
    let a = try TestNode(1, on: time, tls: try authority.sign("a"))
    var b = try TestNode(2, on: time, tls: tls)
    try a.meet([b])
    let address = try #require(b.network.address)
    try b.close()
    _ = try a.lost(TestNode.id(2))
    b = try TestNode(2, on: time, at: address.description, tls: tls)
    time.advance(byNanoseconds: 5_000_000_000)
    try a.connected(to: TestNode.id(2), times: 2)
    #expect(try a.ask(2, [1, 2]) == [2, 1])
  }
}
