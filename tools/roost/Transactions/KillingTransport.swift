import Glibc
import RoostTransactions

/// A transport that ends the process, as SIGKILL from outside would, at the worst moment of a
/// transaction across stores: it is decided, all have promised to commit, and nobody has been told.
/// For the tour and for tests.
final class KillingTransport: Transport {
  private let local = LocalTransport()

  func send(_ envelope: Envelope) -> Bool {
    if case .commit = envelope.message.body { _ = kill(getpid(), SIGKILL) }
    return local.send(envelope)
  }

  func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void) {
    local.attach(endpoint, receive)
  }

  func detach(_ endpoint: Endpoint) { local.detach(endpoint) }
}
