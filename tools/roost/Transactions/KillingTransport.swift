import Glibc
import RoostEnvironment
import RoostTransactions

/// A transport that ends the process, as SIGKILL from outside would, at the worst moment of a
/// transaction across stores: it is decided, all have promised to commit, and nobody has been told.
/// For the tour and for tests. Thread-safe.
final class KillingTransport: Transport, @unchecked Sendable {
  private let local = LocalTransport()
  private let lock = Lock()
  // Guarded by `lock`. Those of an earlier process may be told again: they do not count.
  private var prepared: Set<TransactionID> = []

  func send(_ envelope: Envelope) -> Bool {
    let transaction = envelope.message.transaction
    switch envelope.message.body {
    case .prepare: lock.withLock { _ = prepared.insert(transaction) }
    case .commit where lock.withLock({ prepared.contains(transaction) }): _ = kill(getpid(), SIGKILL)
    default: break
    }
    return local.send(envelope)
  }

  func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void) {
    local.attach(endpoint, receive)
  }

  func detach(_ endpoint: Endpoint) { local.detach(endpoint) }
}
