import PeerProtocols

/// A primary of Redis and two replicas.
final class RedisServers: ReplicatedStore {
  static let program = "redis-server"
  /// Milliseconds that a write waits for a replica before it counts as failed.
  private static let patience = 1_000

  let processes: [ServerProcess]
  let blocks = true
  private let ports: [UInt16]

  init(in folder: String, _ processes: Processes) throws {
    try makeDirectory(folder)
    let ports = try freePorts(3)
    self.ports = ports
    let servers = try ports.enumerated().map { index, port in
      let directory = "\(folder)/redis\(index)"
      try makeDirectory(directory)
      return try processes.start(
        "redis \(index)", Self.program,
        [
          "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--daemonize", "no", "--save", "",
          "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync", "yes",
          "--repl-diskless-sync-delay", "0",
        ] + (index == 0 ? [] : ["--replicaof", "127.0.0.1", "\(ports[0])"]),
        output: "\(directory).out")
    }
    self.processes = servers
    try processes.wait(for: "Redis with two replicas", servers) {
      guard let client = try? RedisClient(port: ports[0]),
        case .bytes(let bytes)? = try? client.ask(["INFO", "replication"])
      else { return false }
      let text = String(decoding: bytes, as: UTF8.self)
      return text.split(whereSeparator: \.isNewline)
        .count { $0.hasPrefix("slave") && $0.contains("state=online") } == 2
    }
  }

  /// At all of them: a replica that is behind with its disk is no replica of a synced write.
  func prepare(_ durability: WriteDurability) throws {
    for port in ports {
      let policy = durability == .synced ? "always" : "everysec"
      let reply = try RedisClient(port: port).ask(["CONFIG", "SET", "appendfsync", policy])
      guard reply == .text("OK") else { throw BenchmarkError("Redis refused appendfsync: \(reply)") }
    }
  }

  /// All of them at the primary, which alone takes writes and knows what was acknowledged.
  func client(_ index: Int) throws -> any ReplicatedClient { try RedisClient(port: ports[0]) }

  /// One connection. Used by one thread at a time.
  private final class RedisClient: ReplicatedClient {
    private let connection: Connection

    init(port: UInt16) throws { connection = try Connection(port: port) }

    func ask(_ words: [String]) throws -> RESP.Value {
      var bytes: [UInt8] = []
      RESP.encode(words.map { Array($0.utf8) }, into: &bytes)
      try connection.send(bytes)
      return try reply()
    }

    private func reply() throws -> RESP.Value {
      try connection.receive { try RESP.parse($0).map { ($0.value, $0.end) } }
    }

    func put(_ key: [UInt8], _ value: [UInt8], _ durability: WriteDurability) async throws {
      // In one message: one way there and back, as Redis is best asked.
      var bytes: [UInt8] = []
      RESP.encode([Array("SET".utf8), key, value], into: &bytes)
      RESP.encode(
        [Array("WAIT".utf8), Array("1".utf8), Array("\(RedisServers.patience)".utf8)], into: &bytes)
      try connection.send(bytes)
      let (written, replicas) = (try reply(), try reply())
      guard written == .text("OK"), case .number(let count) = replicas, count >= 1 else {
        throw BenchmarkError("Redis answered \(written) and \(replicas)")
      }
    }

    func get(_ key: [UInt8]) async throws -> [UInt8]? {
      var bytes: [UInt8] = []
      RESP.encode([Array("GET".utf8), key], into: &bytes)
      try connection.send(bytes)
      switch try reply() {
      case .bytes(let value): return value
      case .absent: return nil
      case let other: throw BenchmarkError("Redis answered \(other)")
      }
    }
  }
}
