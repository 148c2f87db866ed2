import FoundationEssentials
import Glibc
import Roost

/// An authority that signs for one run, and certificates of nodes and clients, made by `openssl` as
/// `tools/cluster` makes them.
struct Certificates {
  private let folder: String

  /// Makes them in a new folder.
  ///
  /// - Throws: where `openssl` is missing, or fails.
  init(in folder: String, nodes: Int, _ processes: Processes) throws {
    self.folder = folder
    try makeDirectory(folder)
    chmod(folder, 0o700)
    try sign(
      "authority",
      "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n",
      ["-signkey", "\(folder)/authority.key"], processes)
    for name in ["client"] + (0..<nodes).map({ "node\($0)" }) {
      try sign(
        name,
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=IP:127.0.0.1\n",
        ["-CA", "\(folder)/authority.pem", "-CAkey", "\(folder)/authority.key", "-CAcreateserial"], processes)
    }
  }

  private func sign(
    _ name: String, _ extensions: String, _ signer: [String], _ processes: Processes
  ) throws {
    let base = "\(folder)/\(name)"
    try Data(extensions.utf8).write(to: URL(filePath: "\(base).ext"))
    _ = try processes.run(
      "openssl",
      [
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
        "/CN=\(name)", "-keyout", "\(base).key", "-out", "\(base).csr",
      ])
    _ = try processes.run(
      "openssl",
      ["x509", "-req", "-days", "2", "-in", "\(base).csr"] + signer
        + ["-out", "\(base).pem", "-extfile", "\(base).ext"])
  }

  /// The flags with which a node, or whoever asks one, shows its certificate.
  func flags(_ name: String) -> [String] {
    [
      "--tls-certificate", "\(folder)/\(name).pem", "--tls-key", "\(folder)/\(name).key", "--tls-authority",
      "\(folder)/authority.pem",
    ]
  }

  /// The client's.
  var options: TLSOptions {
    .mutual(
      certificate: "\(folder)/client.pem", key: "\(folder)/client.key", authority: "\(folder)/authority.pem")
  }
}
