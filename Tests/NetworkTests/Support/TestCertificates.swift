import RoostEnvironment
import SystemPackage
import TestSupport

@testable import RoostNetwork

/// An authority of `Tests/Fixtures/certificates`, and the nodes that it signed: `a`, `b`, `c` and `d`, in one
/// of them `expired` as well, and `at-loopback`, which is for the address 127.0.0.1.
struct TestAuthority {
  private let folder: FilePath
  private let directory: TemporaryDirectory

  init(_ directory: TemporaryDirectory, name: String = "authority") {
    self.directory = directory
    folder = FilePath(repositoryRoot).appending("Tests").appending("Fixtures").appending("certificates")
      .appending(name)
  }

  /// Writes a node's three files into the directory.
  ///
  /// - Parameters:
  ///   - name: of the files.
  ///   - node: whose certificate it is; the one of that name where `nil`.
  ///   - trusts: whose certificates the node believes; this authority's own where `nil`.
  func sign(
    _ name: String, as node: String? = nil, trusts: TestAuthority? = nil
  ) throws -> TLSOptions {
    func copy(_ from: FilePath, _ name: String) throws -> String {
      try write(name, String(decoding: POSIXFileSystem().readWhole(from), as: UTF8.self))
    }
    let node = node ?? name
    return .mutual(
      certificate: try copy(folder.appending(node + ".pem"), name + ".pem"),
      key: try copy(folder.appending(node + ".key"), name + ".key"),
      authority: try copy((trusts ?? self).folder.appending("ca.pem"), name + "-ca.pem"))
  }

  func write(_ name: String, _ text: String) throws -> String {
    let path = directory.appending(name)
    try POSIXFileSystem().writeWhole(path, Array(text.utf8))
    return path.string
  }
}
