import ArgumentParser
import RoostCluster
import RoostEnvironment
import RoostNetwork

/// How connections are secured: three files, or not at all on one machine.
struct TLSArguments: ParsableArguments {
  @Option(help: ArgumentHelp("This side's certificate, in PEM.", valueName: "file"), completion: .file())
  var tlsCertificate: String?
  @Option(help: ArgumentHelp("Its private key, in PEM.", valueName: "file"), completion: .file())
  var tlsKey: String?
  @Option(
    help: ArgumentHelp("The authority of all nodes' certificates, in PEM.", valueName: "file"),
    completion: .file())
  var tlsAuthority: String?
  @Flag(help: "No TLS: for experiments on one machine, on loopback only.") var plain = false

  var isEmpty: Bool { tlsCertificate == nil && tlsKey == nil && tlsAuthority == nil && !plain }

  /// - Throws: ``Failure`` where it is not said how, or said twice.
  static func options(
    certificate: String?, key: String?, authority: String?, plain: Bool
  ) throws -> TLSOptions {
    switch (certificate, key, authority) {
    case (let certificate?, let key?, let authority?):
      if plain { throw Failure.usage("--plain and the files for TLS exclude each other") }
      return .mutual(certificate: certificate, key: key, authority: authority)
    case (nil, nil, nil):
      if plain { return .plainOnLoopback }
      throw Failure.usage(
        "say how connections are secured: --tls-certificate, --tls-key and --tls-authority, or --plain")
    default:
      throw Failure.usage("--tls-certificate, --tls-key and --tls-authority go together")
    }
  }

  func options() throws -> TLSOptions {
    try Self.options(certificate: tlsCertificate, key: tlsKey, authority: tlsAuthority, plain: plain)
  }
}

/// Which node of a cluster a command asks.
struct ConnectOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Where a node of the cluster listens; any of them.", valueName: "host:port"))
  var connect: String?
  @Option(help: "The cluster's name.") var cluster: String?
  @OptionGroup var tls: TLSArguments
  @Option(help: "Seconds that a request may take, the connection included; 5 otherwise.")
  var timeout: Double?

  func validate() throws {
    if let timeout, !(timeout >= 0.001 && timeout <= 3_600) {
      throw ValidationError("--timeout is a number of seconds, from 0.001 to 3600.")
    }
  }

  /// Runs `body` with a client of the node, and closes it, whatever happens.
  ///
  /// - Throws: ``Failure``, ``TransportError``, and what `body` throws.
  func withClient<R>(_ body: (NetworkClient) async throws -> R) async throws -> R {
    let client = try client()
    let result: R
    do { result = try await body(client) } catch {
      await client.close()
      throw error
    }
    await client.close()
    return result
  }

  /// A client of a node, which whoever asks for it closes.
  ///
  /// - Parameters:
  ///   - address: of another node than the one that is named.
  ///   - limit: seconds that a request may take at most, whatever is said.
  /// - Throws: ``Failure``, ``TransportError``.
  func client(of address: String? = nil, limit: Double = 3_600) throws -> NetworkClient {
    guard let connect else { throw Failure.usage("name a node of the cluster with --connect HOST:PORT") }
    guard let cluster else { throw Failure.usage("--connect needs the cluster's name: --cluster NAME") }
    return try NetworkClient(
      to: NodeAddress(address ?? connect), cluster: cluster, tls: tls.options(),
      timeout: .milliseconds(Int64(min(timeout ?? 5, limit) * 1_000)), environment: .posix())
  }
}

/// Where a command about keys finds them: in the directory that is its first word, or, with --connect and
/// without that word, in a cluster.
struct PlaceOptions: ParsableArguments {
  @OptionGroup var connection: ConnectOptions
  @Option(help: "With --connect: how many replicas must answer; otherwise as the keyspace says.")
  var quorum: Int?
  @Option(
    help: ArgumentHelp(
      "With --connect: show what commands with this file wrote and read before, or fail; made where missing.",
      valueName: "file"),
    completion: .file())
  var session: String?

  var isRemote: Bool { connection.connect != nil }

  func validate() throws {
    if let quorum, !(1...16).contains(quorum) { throw ValidationError("--quorum is a number from 1 to 16.") }
    if isRemote { return }
    let isAnyGiven =
      connection.cluster != nil || connection.timeout != nil || quorum != nil || session != nil
      || !connection.tls.isEmpty
    if isAnyGiven {
      throw ValidationError(
        "--cluster, --timeout, --quorum, --session, --plain and the files for TLS need --connect.")
    }
  }

  /// Runs `body` with the keys of the cluster, as the session sees them where one is named, and closes the
  /// connection, whatever happens. The session's file is replaced at the end, also where `body` throws: what
  /// was done by then is remembered.
  ///
  /// - Throws: ``Failure``, ``TransportError``, and what `body` throws.
  func withKeys<R>(_ body: (RemoteKeys) async throws -> R) async throws -> R {
    guard let session else {
      return try await connection.withClient { try await body(RemoteKeys(client: $0, session: nil)) }
    }
    let file = SessionFile(path: session)
    let resumed = try file.session()
    return try await connection.withClient { client in
      let result: R
      do { result = try await body(RemoteKeys(client: client, session: resumed)) } catch {
        try? file.replace(resumed)
        throw error
      }
      try file.replace(resumed)
      return result
    }
  }

  /// The directory, unless a cluster is asked, and the words behind it.
  ///
  /// - Parameters:
  ///   - words: all of the command's words, the directory among them or not.
  ///   - names: of those that must be there beside the directory.
  ///   - takesMore: whether others may follow.
  /// - Throws: `ValidationError` where words are missing, or there is one too many.
  func split(
    _ words: [String], _ names: String..., takesMore: Bool = false
  ) throws -> (directory: String?, words: [String]) {
    if !isRemote, words.isEmpty { throw ValidationError("Missing expected argument '<directory>'") }
    let rest = isRemote ? words : Array(words.dropFirst())
    if rest.count < names.count {
      throw ValidationError("Missing expected argument '<\(names[rest.count])>'")
    }
    if rest.count > names.count, !takesMore {
      throw ValidationError("With --connect no directory is named: '\(words[0])' is one word too many.")
    }
    return (isRemote ? nil : words[0], rest)
  }

  /// The directory of a command without other words; `nil` where a cluster is asked.
  ///
  /// - Throws: `ValidationError` where it is missing, or named beside --connect.
  func split(_ directory: String?) throws -> String? { try split(directory.map { [$0] } ?? []).directory }

  /// The directory of a command that may name a file behind it; `nil` where a cluster is asked.
  ///
  /// - Throws: `ValidationError` where the directory is missing, or there is one word too many.
  func split(_ directory: String?, file: String?) throws -> (directory: String?, file: String?) {
    let (place, words) = try split([directory, file].compactMap { $0 }, takesMore: true)
    if words.count > 1 {
      throw ValidationError("With --connect no directory is named: '\(words[0])' is one word too many.")
    }
    return (place, words.first)
  }

  /// A request with what was asked for here.
  func request(
    _ operation: KeyRequest.Operation, _ key: [UInt8], in keyspace: KeyspaceOption, sync: Bool = false
  ) -> KeyRequest {
    var request = KeyRequest(operation, key, in: keyspace.keyspace)
    request.quorum = quorum
    request.isSynced = sync
    return request
  }

  /// Fails where --quorum was given to a command that asks no replicas of a key.
  func requireNoQuorum() throws {
    if quorum != nil { throw ValidationError("--quorum is for commands that read or write keys.") }
  }

  /// Fails where --session was given to a command that has none.
  func requireNoSession() throws {
    if session != nil { throw ValidationError("--session is for commands about keys of eventual keyspaces.") }
  }

  /// Rethrows what failed, unless it is that the keyspace is transactional: then the command goes on with
  /// that.
  ///
  /// - Throws: ``Failure`` where --quorum or --session was given, which such a keyspace does not know.
  func requireTransactional(_ error: DatabaseError) throws {
    guard error.code == .wrongPolicy else { throw error }
    if quorum != nil || session != nil { throw Self.noQuorums }
  }

  /// Fails where --quorum was given, and the keyspace is transactional or not there: before a command goes
  /// over many keys.
  ///
  /// - Throws: ``Failure``, ``DatabaseError``.
  func requireQuorums(of keyspace: String, _ keys: RemoteKeys) async throws {
    if quorum != nil { try await requireKeyspace(keyspace, keys) }
  }

  /// Fails where there is no such keyspace, or --quorum was given and it is transactional.
  ///
  /// - Throws: ``Failure``, ``DatabaseError``: `.unknownKeyspace`, and where the node does not answer.
  func requireKeyspace(_ keyspace: String, _ keys: RemoteKeys) async throws {
    let known = try await keys.client.status().keyspaces.first { $0.name == keyspace }
    var isTransactional = known?.kind == .transactional
    if known == nil {
      // The node looks for one that it has not heard of when it is asked for a key, whichever.
      var request = KeyRequest(.get, [0], in: keyspace)
      request.quorum = 1
      do throws(DatabaseError) { _ = try await keys.client.key(request) } catch {
        guard error.code == .wrongPolicy else { throw error }
        isTransactional = true
      }
    }
    if isTransactional, quorum != nil { throw Self.noQuorums }
  }

  private static let noQuorums = Failure.usage("a transactional keyspace has no quorums and no sessions")

  /// Usage of a command about keys, which the parser cannot know: the directory's word may be missing.
  static func usage(_ command: String, _ words: String = "") -> String {
    let words = words.isEmpty ? "" : " " + words
    return """
      roost \(command) <directory>\(words) [<options>]
             roost \(command) --connect <host:port> --cluster <name>\(words) [<options>]
      """
  }
}

extension Failure {
  init(_ error: TransportError) {
    let status: ExitStatus =
      switch error.code {
      case .invalidAddress, .invalidOption, .notSecure: .usage
      case .certificate: .badInput
      default: .unavailable
      }
    self.init(status, error.message)
  }
}
