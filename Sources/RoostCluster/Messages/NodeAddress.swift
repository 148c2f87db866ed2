/// Where a node listens: a host and a port, written `host:port`; an IPv6 address stands in brackets.
public struct NodeAddress: Hashable, Sendable, CustomStringConvertible {
  /// A name or an IP address, without brackets.
  public let host: String
  /// 0 asks for any free port, where a node begins to listen.
  public let port: Int

  /// - Parameters:
  ///   - host: 1 to 255 bytes.
  ///   - port: 0 to 65,535.
  /// - Throws: ``TransportError`` with `.invalidAddress`.
  public init(host: String, port: Int) throws(TransportError) {
    guard (1...255).contains(host.utf8.count), (0...65_535).contains(port), !host.utf8.contains(0) else {
      throw TransportError(
        .invalidAddress, "no host of 1 to 255 bytes or no port up to 65535: \(host):\(port)")
    }
    self.host = host
    self.port = port
  }

  /// Reads `10.0.0.1:7420`, `[::1]:7420` or `node1.example:7420`.
  ///
  /// - Throws: ``TransportError`` with `.invalidAddress`.
  public init(_ text: String) throws(TransportError) {
    let bad = TransportError(.invalidAddress, "`\(text.prefix(300))` is no host:port")
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
      throw bad
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]"), host.count > 2 {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") || host.contains("[") {
      throw bad
    }
    try self.init(host: String(host), port: Int(port))
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
