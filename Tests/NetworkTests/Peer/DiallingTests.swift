import NIOCore
import RoostCluster
import SystemPackage
import Testing

@testable import RoostNetwork

/// What is said of a connection that did not come about.
// Budget: 1 s
@Suite struct DiallingTests {
  @Test func `an error of the system is told in its own words`() throws {
    let address = try NodeAddress("127.0.0.1:7421")
    // As NIO has it.
    let refused = IOError(errnoCode: Errno.connectionRefused.rawValue, reason: "connection reset (error set)")
    let error = TransportError(dialling: address, refused)
    #expect(error.code == .unreachable && !error.mayHaveArrived)
    #expect(error.message == "127.0.0.1:7421 cannot be reached: connection refused")
    // One of this module stays what it is.
    let own = TransportError(dialling: address, TransportError(.cancelled, "given up"))
    #expect(own.code == .cancelled && own.message == "given up")
  }
}
