import PeerProtocols

/// Three members of etcd, asked through the gateway that speaks HTTP and JSON for them.
final class EtcdServers: ReplicatedStore {
  static let program = "etcd"

  let processes: [ServerProcess]
  let blocks = true
  private let ports: [UInt16]

  init(in folder: String, _ processes: Processes) throws {
    try makeDirectory(folder)
    let all = try freePorts(6)
    let (clients, peers) = (Array(all[..<3]), Array(all[3...]))
    ports = clients
    let members = peers.enumerated().map { "m\($0)=http://127.0.0.1:\($1)" }.joined(separator: ",")
    self.processes = try clients.enumerated().map { index, port in
      let directory = "\(folder)/etcd\(index)"
      let (client, peer) = ("http://127.0.0.1:\(port)", "http://127.0.0.1:\(peers[index])")
      return try processes.start(
        "etcd \(index)", Self.program,
        [
          "--name", "m\(index)", "--data-dir", directory, "--listen-client-urls", client,
          "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls",
          peer, "--initial-cluster", members, "--initial-cluster-state", "new", "--initial-cluster-token",
          "roost-bench", "--logger", "zap", "--log-level", "error",
        ], output: "\(directory).out")
    }
    let servers = self.processes
    try processes.wait(for: "etcd", servers) {
      clients.allSatisfy { port in
        // A linearizable read needs a leader.
        guard let client = try? EtcdClient(port: port) else { return false }
        return (try? client.ask("range", EtcdJSON.get(Array("ready".utf8)))) != nil
      }
    }
  }

  /// A write is synced by a majority; there is no other.
  func prepare(_ durability: WriteDurability) {}

  func client(_ index: Int) throws -> any ReplicatedClient {
    try EtcdClient(port: ports[index % ports.count])
  }

  /// One connection. Used by one thread at a time.
  private final class EtcdClient: ReplicatedClient {
    private let connection: Connection
    private let host: String

    init(port: UInt16) throws {
      connection = try Connection(port: port)
      host = "127.0.0.1:\(port)"
    }

    func ask(_ call: String, _ body: [UInt8]) throws -> [UInt8] {
      var bytes: [UInt8] = []
      HTTP.encode("POST", "/v3/kv/\(call)", host: host, body: body, into: &bytes)
      try connection.send(bytes)
      let response = try connection.receive { try HTTP.parse($0).map { ($0.response, $0.end) } }
      guard response.status == 200 else {
        throw BenchmarkError(
          "etcd answered \(response.status): \(String(decoding: response.body, as: UTF8.self))")
      }
      return response.body
    }

    func put(_ key: [UInt8], _ value: [UInt8], _ durability: WriteDurability) async throws {
      _ = try ask("put", EtcdJSON.put(key, value))
    }

    func get(_ key: [UInt8]) async throws -> [UInt8]? {
      EtcdJSON.value(in: try ask("range", EtcdJSON.get(key)))
    }
  }
}
