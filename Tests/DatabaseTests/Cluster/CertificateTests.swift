import Roost
import RoostEnvironment
import SystemPackage
import TestSupport
import Testing

/// Certificates that are renewed while a node and its clients are at work, by the public calls.
// Budget: 10 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct CertificateTests {
  private static let fixtures = FilePath(repositoryRoot).appending("Tests").appending("Fixtures")
    .appending("certificates")
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// Writes the three files that a node or a client goes by.
  ///
  /// - Parameters:
  ///   - user: whose files they are.
  ///   - certificate: of which node of `Tests/Fixtures/certificates`.
  ///   - authority: who has signed it.
  ///   - trusted: whose certificates the user believes.
  @discardableResult
  private func write(
    _ user: String, _ certificate: String, of authority: String = "authority",
    trusts trusted: String = "authority"
  ) throws -> TLSOptions {
    func copy(_ authority: String, _ file: String, _ name: String) throws -> String {
      let target = directory.appending(name)
      let bytes = try POSIXFileSystem().readWhole(Self.fixtures.appending(authority).appending(file))
      try POSIXFileSystem().writeWhole(target, bytes)
      return target.string
    }
    return .mutual(
      certificate: try copy(authority, certificate + ".pem", user + ".pem"),
      key: try copy(authority, certificate + ".key", user + ".key"),
      authority: try copy(trusted, "ca.pem", user + "-ca.pem"))
  }

  /// Whether the files of `user`, one of which is no certificate any more, are refused by name.
  private func refusesRubbish(of user: String, _ reload: () throws -> Void) throws -> Bool {
    try POSIXFileSystem().writeWhole(directory.appending(user + ".pem"), Array("nothing".utf8))
    do { try reload() } catch let error as TransportError {
      return error.code == .certificate && error.message.contains(user + ".pem")
    }
    return false
  }

  /// Runs `body` with the only node of a cluster, which has the keyspace `posts`.
  private func withNode(_ tls: TLSOptions, _ body: (Database) async throws -> Void) async throws {
    let options = Patience.options(partitions: 4)
    let node = try await Database.join(
      cluster: "music", at: "\(directory.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(directory.path)/directory"), tls: tls, options, network: Patience.network
    ) {
      Patience.set(&$0)
      $0.foundingNodes = 1
    }
    _ = try await node.keyspace("posts", .eventual)
    let result: Result<Void, any Error>
    do { result = .success(try await body(node)) } catch { result = .failure(error) }
    try await node.close()
    try result.get()
  }

  private func withClient(
    of node: Database, _ tls: TLSOptions, _ body: (ClusterClient) async throws -> Void
  ) async throws {
    let client = try ClusterClient(
      to: try #require(node.address), cluster: "music", tls: tls, timeout: Patience.limit,
      network: Patience.network)
    let result: Result<Void, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    try result.get()
  }

  @Test func `a node shows new connections the certificate that was renewed`() async throws {
    let own = try write("node", "a")
    let known = try write("old", "b")
    // Believes an authority that has signed nothing of the node's so far.
    let other = try write("new", "c", trusts: "another")
    try await withNode(own) { node in
      try await withClient(of: node, known) { old in
        try await old.put("k", "v", in: "posts")
        try await withClient(of: node, other) { new in
          await #expect(code { _ = try await new.get("k", in: "posts") } == .unreachable)
          try write("node", "a", of: "another")
          await #expect(code { _ = try await new.get("k", in: "posts") } == .unreachable)
          try node.reloadCertificates()
          try await poll("a connection") { (try? await new.get("k", in: "posts"))?.text == "v" }
        }
        // The one that stands stays.
        let found = try await old.get("k", in: "posts").text
        #expect(found == "v")
      }
      // What is not right leaves all as it was.
      let isRefused = try refusesRubbish(of: "node") { try node.reloadCertificates() }
      #expect(isRefused)
      try await withClient(of: node, other) { client in
        let found = try await client.get("k", in: "posts").text
        #expect(found == "v")
      }
    }
  }

  @Test func `a client shows the certificate that was renewed when it dials again`() async throws {
    let node = try write("node", "a")
    // Of an authority that the node does not believe.
    let own = try write("client", "b", of: "another")
    try await withNode(node) { node in
      try await withClient(of: node, own) { client in
        await #expect(code { _ = try await client.get("k", in: "posts") } == .unreachable)
        try write("client", "b")
        await #expect(code { _ = try await client.get("k", in: "posts") } == .unreachable)
        try client.reloadCertificates()
        try await poll("a connection") { (try? await client.get("k", in: "posts")) != nil }
        let isRefused = try refusesRubbish(of: "client") { try client.reloadCertificates() }
        #expect(isRefused)
        try await client.put("k", "v", in: "posts")
      }
      let found = try await node.keyspace("posts").get("k").text
      #expect(found == "v")
    }
  }

  @Test func `a database of no cluster has no certificates`() async throws {
    let database = try await Databases.open()
    await #expect(code { try database.reloadCertificates() } == .wrongPolicy)
    try await database.close()
  }
}
