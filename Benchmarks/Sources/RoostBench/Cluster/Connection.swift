import Glibc

/// A TCP connection to a server on this machine, for clients that block their thread: never longer than ten
/// seconds at a time. Not thread-safe.
final class Connection: @unchecked Sendable {
  private static let patience = 10
  private static let mostReceived = 64 << 20

  private let descriptor: Int32
  private var received: [UInt8] = []
  private var chunk = [UInt8](repeating: 0, count: 64 << 10)

  init(port: UInt16) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Self.error("no socket") }
    var patience = timeval(tv_sec: Self.patience, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, size)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, size)
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = loopback(port)
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard code == 0 else {
      let error = Self.error("no connection to port \(port)")
      close(descriptor)
      throw error
    }
  }

  deinit { close(descriptor) }

  private static func error(_ what: String) -> BenchmarkError {
    BenchmarkError("\(what): \(String(cString: strerror(errno)))")
  }

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error("sending failed")
      }
      sent += count
    }
  }

  /// Waits for what `parse` makes of the bytes that have come.
  ///
  /// - Parameter parse: gives what it has read and where that ends; `nil` where more is needed.
  func receive<Value>(_ parse: ([UInt8]) throws -> (Value, Int)?) throws -> Value {
    while true {
      if let (value, end) = try parse(received) {
        if end == received.count {
          received.removeAll(keepingCapacity: true)
        } else {
          received.removeFirst(end)
        }
        return value
      }
      guard received.count < Self.mostReceived else { throw BenchmarkError("an answer without an end") }
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count == 0 { throw BenchmarkError("the server ended the connection") }
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error("no answer in \(Self.patience) s")
      }
      received += chunk[..<count]
    }
  }
}

private func loopback(_ port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  return address
}

/// Ports on which nobody listens now. Another process may take one before it is used: whoever starts a
/// server there says so, and the run fails.
func freePorts(_ count: Int) throws -> [UInt16] {
  var sockets: [Int32] = []
  defer { for socket in sockets { close(socket) } }
  return try (0..<count).map { _ in
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw BenchmarkError("no socket") }
    sockets.append(descriptor)
    var address = loopback(0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
      }
    }
    guard isBound else { throw BenchmarkError("no free port: \(String(cString: strerror(errno)))") }
    return UInt16(bigEndian: address.sin_port)
  }
}
