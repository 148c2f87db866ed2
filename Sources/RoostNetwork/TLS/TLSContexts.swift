import NIOSSL
import RoostCluster
import RoostEnvironment
import SystemPackage

/// The certificates in use, as NIOSSL has them; read anew on demand. Thread-safe.
final class TLSContexts: @unchecked Sendable {
  /// What a connection takes with it when it begins.
  struct Pair: Sendable {
    var client: NIOSSLContext
    var server: NIOSSLContext
  }

  private let options: TLSOptions
  private let fileSystem: any FileSystem
  private let lock = Lock()
  // Guarded by `lock`.
  private var pair: Pair?

  private static let longestFile: Int64 = 1 << 20

  /// - Throws: `.certificate`, naming the file.
  init(_ options: TLSOptions, _ fileSystem: any FileSystem) throws(TransportError) {
    self.options = options
    self.fileSystem = fileSystem
    try reload()
  }

  /// `nil` for plain TCP.
  var current: Pair? { lock.withLock { pair } }

  /// Reads the files again: new connections use what is in them now. Where they are not right, what was
  /// read before stays in use.
  ///
  /// - Throws: `.certificate`, naming the file.
  func reload() throws(TransportError) {
    guard case .mutual(let certificatePath, let keyPath, let authorityPath) = options.kind else { return }
    let chain = try certificates(certificatePath)
    let authority = try certificates(authorityPath)
    let keyBytes = try read(keyPath)
    do {
      let key = try NIOSSLPrivateKey(bytes: keyBytes, format: .pem)
      var server = TLSConfiguration.makeServerConfigurationWithMTLS(
        certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key),
        trustRoots: .certificates(authority))
      server.minimumTLSVersion = .tlsv13
      server.shutdownTimeout = .seconds(1)
      var client = TLSConfiguration.makeClientConfiguration()
      client.certificateChain = server.certificateChain
      client.privateKey = server.privateKey
      client.trustRoots = server.trustRoots
      client.certificateVerification = options.verifiesHost ? .fullVerification : .noHostnameVerification
      client.minimumTLSVersion = .tlsv13
      client.shutdownTimeout = .seconds(1)
      let made = Pair(
        client: try NIOSSLContext(configuration: client), server: try NIOSSLContext(configuration: server))
      lock.withLock { pair = made }
    } catch {
      throw TransportError(
        .certificate,
        "the key in \(keyPath) and the certificate in \(certificatePath) do not work together: \(error)"
      )
    }
  }

  private func certificates(_ path: String) throws(TransportError) -> [NIOSSLCertificate] {
    let bytes = try read(path)
    do {
      let found = try NIOSSLCertificate.fromPEMBytes(bytes)
      if !found.isEmpty { return found }
    } catch {
      throw TransportError(.certificate, "\(path) holds no certificates in PEM: \(error)")
    }
    throw TransportError(.certificate, "\(path) holds no certificates in PEM")
  }

  private func read(_ path: String) throws(TransportError) -> [UInt8] {
    do throws(FileSystemError) {
      let file = try fileSystem.open(FilePath(path), .read)
      defer { file.close() }
      let count = try file.size()
      guard count <= TLSContexts.longestFile else {
        throw FileSystemError(.io, operation: "read", path: path, message: "longer than 1 MiB")
      }
      var bytes = [UInt8](repeating: 0, count: Int(count))
      var span = bytes.mutableSpan
      var raw = unsafe span.mutableBytes
      let read = try file.read(into: &raw, at: 0)
      return Array(bytes.prefix(read))
    } catch {
      throw TransportError(.certificate, "\(path) could not be read: \(error)")
    }
  }
}
