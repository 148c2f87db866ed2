import RoostCluster
import RoostNetwork
import RoostStorage

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

// The file of `roost serve --config` is a JSON object whose members have the names of the flags:
//
//   {"cluster": "music", "listen": "10.0.0.1:7420", "directory": "/srv/roost/cluster", "founding-nodes": 3,
//    "replicas": 3, "partitions": 256, "zone": "rack1", "weight": 100, "tombstone-horizon": 864000,
//    "move-bytes-per-second": 16777216, "replica-timeout": 1,
//    "tls-certificate": "node.pem", "tls-key": "node.key", "tls-authority": "ca.pem", "plain": false,
//    "synced": true, "join": false}

/// What `roost serve` is told, by its flags or by a file.
struct ServeSettings: Decodable {
  var cluster: String?
  var listen: String?
  var directory: String?
  var foundingNodes: Int?
  var replicas: Int?
  var replicaTimeout: Double?
  var partitions: Int?
  var zone: String?
  var weight: Int?
  var tombstoneHorizon: Int?
  var moveBytesPerSecond: Int?
  var hintBytesPerSecond: Int?
  var repairBytesPerSecond: Int?
  var tlsCertificate: String?
  var tlsKey: String?
  var tlsAuthority: String?
  var plain: Bool?
  var synced: Bool?
  var join: Bool?

  private enum CodingKeys: String, CodingKey, CaseIterable {
    case cluster, listen, directory, replicas, partitions, zone, weight, plain, synced, join
    case foundingNodes = "founding-nodes"
    case replicaTimeout = "replica-timeout"
    case tombstoneHorizon = "tombstone-horizon"
    case moveBytesPerSecond = "move-bytes-per-second"
    case hintBytesPerSecond = "hint-bytes-per-second"
    case repairBytesPerSecond = "repair-bytes-per-second"
    case tlsCertificate = "tls-certificate"
    case tlsKey = "tls-key"
    case tlsAuthority = "tls-authority"
  }

  private struct AnyKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init() {}

  /// Reads a file of settings.
  ///
  /// - Throws: ``Failure`` with what is wrong where.
  init(file path: String) throws {
    let bytes = try Input(path).readAll()
    do { self = try JSONDecoder().decode(Self.self, from: Data(bytes)) } catch let error as DecodingError {
      throw Failure(.badInput, "\(path): \(Self.text(error))")
    }
    // A member that is misspelt would be a setting that is not made.
    let found = try JSONDecoder().decode([String: Ignored].self, from: Data(bytes))
    let known = Set(CodingKeys.allCases.map(\.rawValue))
    if let unknown = found.keys.sorted().first(where: { !known.contains($0) }) {
      let all = known.sorted().joined(separator: ", ")
      throw Failure(.badInput, "\(path): there is no setting `\(unknown)`, only \(all)")
    }
  }

  private struct Ignored: Decodable {
    init(from decoder: any Decoder) {}
  }

  private static func text(_ error: DecodingError) -> String {
    func at(_ path: [any CodingKey]) -> String {
      path.isEmpty ? "" : "`\(path.map(\.stringValue).joined(separator: "."))`: "
    }
    switch error {
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context):
      return at(context.codingPath) + context.debugDescription
    case .dataCorrupted(let context): return at(context.codingPath) + context.debugDescription
    @unknown default: return "\(error)"
    }
  }

  /// These, and the other ones where these say nothing.
  ///
  /// How connections are secured is one setting: files of the one and `plain` of the other do not mix.
  func over(_ other: ServeSettings) -> ServeSettings {
    var result = self
    result.cluster = cluster ?? other.cluster
    result.listen = listen ?? other.listen
    result.directory = directory ?? other.directory
    result.foundingNodes = foundingNodes ?? other.foundingNodes
    result.replicas = replicas ?? other.replicas
    result.replicaTimeout = replicaTimeout ?? other.replicaTimeout
    result.partitions = partitions ?? other.partitions
    result.zone = zone ?? other.zone
    result.weight = weight ?? other.weight
    result.tombstoneHorizon = tombstoneHorizon ?? other.tombstoneHorizon
    result.moveBytesPerSecond = moveBytesPerSecond ?? other.moveBytesPerSecond
    result.hintBytesPerSecond = hintBytesPerSecond ?? other.hintBytesPerSecond
    result.repairBytesPerSecond = repairBytesPerSecond ?? other.repairBytesPerSecond
    result.synced = synced ?? other.synced
    result.join = join ?? other.join
    if plain == true { return result }
    let hasFiles = tlsCertificate != nil || tlsKey != nil || tlsAuthority != nil
    result.plain = hasFiles ? plain : other.plain
    result.tlsCertificate = tlsCertificate ?? other.tlsCertificate
    result.tlsKey = tlsKey ?? other.tlsKey
    result.tlsAuthority = tlsAuthority ?? other.tlsAuthority
    return result
  }
}

/// A node's settings, complete.
struct NodeSettings {
  var cluster: ClusterOptions
  var database: DatabaseOptions
  var address: NodeAddress
  var directory: String
  var tls: TLSOptions

  /// - Throws: ``Failure`` where a setting is missing; ``DatabaseError``, ``TransportError`` for one outside
  ///   its limits.
  init(_ settings: ServeSettings) throws {
    func need(_ value: String?, _ name: String) throws -> String {
      guard let value else { throw Failure.usage("\(name) is needed, as a flag or in the file of --config") }
      return value
    }
    cluster = ClusterOptions(cluster: try need(settings.cluster, "--cluster"))
    if let nodes = settings.foundingNodes { cluster.foundingNodes = nodes }
    if let weight = settings.weight { cluster.weight = weight }
    if let zone = settings.zone { cluster.zone = zone }
    cluster.tombstoneHorizon = settings.tombstoneHorizon.map { .seconds($0) }
    if let rate = settings.moveBytesPerSecond { cluster.moveBytesPerSecond = rate }
    if let rate = settings.hintBytesPerSecond { cluster.hintBytesPerSecond = rate }
    if let rate = settings.repairBytesPerSecond { cluster.repairBytesPerSecond = rate }
    cluster.replicas = settings.replicas
    if let seconds = settings.replicaTimeout {
      guard (0.001...600).contains(seconds) else {
        throw Failure.usage("--replica-timeout is \(seconds), must be 0.001 to 600 seconds")
      }
      cluster.replicaTimeout = .milliseconds(Int64(seconds * 1_000))
    }
    cluster.joins = settings.join ?? false
    // Whoever starts a node has it wait for the others, or for an operator, however late they are.
    cluster.foundingTimeout = nil
    try cluster.validate()
    database = DatabaseOptions()
    database.partitionCount = settings.partitions
    database.durability = settings.synced == true ? .synced : .applied
    database.warn = { Complaint.line($0) }
    try database.validate()
    address = try NodeAddress(need(settings.listen, "--listen"))
    directory = try absolute(need(settings.directory, "--directory"))
    tls = try TLSArguments.options(
      certificate: settings.tlsCertificate, key: settings.tlsKey, authority: settings.tlsAuthority,
      plain: settings.plain ?? false)
  }
}
