import RoostCausality
import RoostCluster
import RoostEnvironment

/// What the drivers of coordinators and participants share: clock, timers, transport. Thread-safe.
final class DriverServices: Sendable {
  let shared: DatabaseShared
  let transport: any Transport
  let timers: Timers
  let times: ProtocolTimes
  /// The node that this process is; `nil` where it is alone.
  let node: ClusterNode?
  /// Told what is worth a line in the process's log.
  let warn: @Sendable (String) -> Void

  init(
    _ shared: DatabaseShared, _ transport: any Transport, _ timers: Timers, _ times: ProtocolTimes,
    _ node: ClusterNode?, warn: @escaping @Sendable (String) -> Void
  ) {
    self.shared = shared
    self.transport = transport
    self.timers = timers
    self.times = times
    self.node = node
    self.warn = warn
  }

  var monotonicNanoseconds: UInt64 { shared.environment.time.monotonicNanoseconds }
  var monotonicMilliseconds: UInt64 { monotonicNanoseconds / 1_000_000 }

  /// - Throws: what writing a higher bound of the clock throws.
  func instant() throws(DatabaseError) -> Instant {
    let moment = try shared.moment()
    return Instant(
      physicalMilliseconds: moment.physicalMilliseconds, timestamp: moment.timestamp,
      bound: moment.bound, monotonicMilliseconds: monotonicMilliseconds)
  }

  /// Raises the clock above what a message tells of its sender's, and of the transaction.
  func observe(_ envelope: Envelope) throws(DatabaseError) {
    try shared.observe(envelope.timestamp)
    if case .commit(let timestamp) = envelope.message.body { try shared.observe(timestamp) }
  }

  func envelope(from: Endpoint, to: Endpoint, _ message: Message, _ instant: Instant) -> Envelope {
    Envelope(
      from: from, to: to, timestamp: instant.timestamp,
      physicalMilliseconds: instant.physicalMilliseconds, message)
  }
}
