import RoostCausality
import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostNetwork

/// A node as a process runs it, over TCP on loopback, with a cluster of its own.
// Budget: 5 s
@Suite(.endsNodes) struct NodeServiceTests {
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private func listen(_ environment: Environment = .posix()) throws -> NodeService {
    var options = NetworkOptions()
    options.threads = 1
    options.silentHeartbeats = 120
    return try NodeService.listen(
      as: "music", at: try NodeAddress("127.0.0.1:0"), tls: .plainOnLoopback, options,
      environment: environment)
  }

  private func join(_ service: NodeService, _ records: NodeService.Records) throws {
    var cluster = ClusterOptions(cluster: "music")
    cluster.foundingNodes = 1
    var database = DatabaseOptions()
    database.partitionCount = 16
    try service.join(
      at: folder.appending("store").string, database, cluster, directory: records)
  }

  private func withClient<R>(
    of service: NodeService, _ body: (NetworkClient) async throws -> R
  ) async throws -> R {
    let client = try NetworkClient(
      to: service.address, cluster: "music", tls: .plainOnLoopback, timeout: .seconds(120),
      environment: .posix())
    let result: Result<R, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    return try result.get()
  }

  @Test func `a node founds its cluster, is asked, ends, and comes back`() async throws {
    let records = NodeService.Records.file(folder.appending("directory").string)
    let key = Array("k".utf8)
    let first = try listen()
    do {
      try join(first, records)
      try await withClient(of: first) { client in
        try await client.makeKeyspace(KeyspaceRequest(name: "default", kind: .keep))
        let put = KeyRequest(.put([1], timeToLiveMilliseconds: nil), key, in: "default")
        _ = try await client.key(put)
        let status = try await client.status()
        #expect(status.cluster == "music" && status.partitionCount == 16 && status.members.count == 1)
        #expect(status.members.map { $0.state } == [.this])
      }
    } catch {
      _ = try? first.stop(drainingFor: .zero)
      throw error
    }
    #expect(try first.stop(drainingFor: .seconds(60)))
    let second = try listen()
    #expect(second.nodeID != first.nodeID)
    defer { _ = try? second.stop(drainingFor: .zero) }
    try join(second, records)
    let answer = try await withClient(of: second) { try await $0.key(KeyRequest(.get, key, in: "default")) }
    #expect(answer.record?.siblings.elements.map { $0.value } == [[1]])
  }

  @Test func `a directory that was given is left open, and joining twice is refused`() throws {
    let directory = MemoryDirectory(POSIXTime())
    let service = try listen()
    defer { _ = try? service.stop(drainingFor: .zero) }
    try join(service, .given(directory))
    #expect { try join(service, .given(directory)) } throws: { ($0 as? DatabaseError)?.code == .closed }
    try service.stop(drainingFor: .seconds(60))
    #expect { try join(service, .given(directory)) } throws: { ($0 as? DatabaseError)?.code == .closed }
    #expect(try directory.records(prefix: "").isEmpty == false)
  }
}
