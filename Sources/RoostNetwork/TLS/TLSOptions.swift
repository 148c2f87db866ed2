/// How a node's connections are secured.
public struct TLSOptions: Sendable, Hashable {
  enum Kind: Sendable, Hashable {
    case mutual(certificate: String, key: String, authority: String)
    case plainOnLoopback
  }

  var kind: Kind

  /// Whether a node that dials another checks that the host it dials (a name or an address) stands in the
  /// other's certificate. Off by default: in a cluster, to hold a certificate of its authority is what
  /// makes a node one of it, and addresses change. With an authority that also signs for others, turn it
  /// on.
  public var verifiesHost = false

  /// TLS with certificates on both sides, each checked against the cluster's own authority and no other.
  /// The files are read when the network starts and when it is told to read them again.
  ///
  /// - Parameters:
  ///   - certificate: a PEM file with this node's certificate, and behind it those between it and the
  ///     authority. It must be good for servers and clients, where it says what it is good for.
  ///   - key: a PEM file with its private key, without a passphrase.
  ///   - authority: a PEM file with the certificates that others' are checked against.
  public static func mutual(certificate: String, key: String, authority: String) -> TLSOptions {
    TLSOptions(kind: .mutual(certificate: certificate, key: key, authority: authority))
  }

  /// Plain TCP, for experiments on one machine: any address that is not on loopback is refused.
  public static let plainOnLoopback = TLSOptions(kind: .plainOnLoopback)

  var isSecure: Bool { kind != .plainOnLoopback }
}
