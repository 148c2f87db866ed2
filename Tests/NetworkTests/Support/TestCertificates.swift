import Crypto
import Foundation
import RoostEnvironment
import SwiftASN1
import TestSupport
import X509

@testable import RoostNetwork

/// An authority made for one test, which signs what the test wishes.
struct TestAuthority {
  private let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
  private let name: DistinguishedName
  private let certificate: Certificate
  private let directory: TemporaryDirectory

  init(_ directory: TemporaryDirectory, name: String = "authority") throws {
    self.directory = directory
    self.name = try DistinguishedName { CommonName(name) }
    certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
      notValidBefore: Date(timeIntervalSinceNow: -86_400), notValidAfter: Date(timeIntervalSinceNow: 86_400),
      issuer: self.name, subject: self.name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
        Critical(KeyUsage(keyCertSign: true))
      }, issuerPrivateKey: key)
  }

  /// Signs a certificate and writes all three files.
  ///
  /// - Parameters:
  ///   - name: of the files.
  ///   - days: for how long it is valid, from two days ago; less than 2 has passed.
  ///   - hosts: what it is for: addresses as bytes, names as texts.
  ///   - trusts: whose certificates the node believes; this authority's own where `nil`.
  func sign(
    _ name: String, days: Double = 30, hosts: [GeneralName] = [], trusts: TestAuthority? = nil
  ) throws -> TLSOptions {
    let nodeKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let begin = Date(timeIntervalSinceNow: -2 * 86_400)
    let signed = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: nodeKey.publicKey,
      notValidBefore: begin, notValidAfter: begin.addingTimeInterval(days * 86_400), issuer: self.name,
      subject: try DistinguishedName { CommonName(name) }, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        BasicConstraints.notCertificateAuthority
        try ExtendedKeyUsage([.serverAuth, .clientAuth])
        SubjectAlternativeNames(hosts.isEmpty ? [.dnsName(name)] : hosts)
      }, issuerPrivateKey: key)
    return .mutual(
      certificate: try write("\(name).pem", try signed.serializeAsPEM().pemString),
      key: try write("\(name).key", try nodeKey.serializeAsPEM().pemString),
      authority: try write("\(name)-ca.pem", try (trusts ?? self).certificate.serializeAsPEM().pemString))
  }

  func write(_ name: String, _ text: String) throws -> String {
    let path = directory.appending(name)
    try POSIXFileSystem().writeWhole(path, Array(text.utf8))
    return path.string
  }
}
