package import RoostCausality

/// What a simulated network that breaks rules on purpose makes of messages between replicas.
package struct ForgedMessage: Sendable {
  package let keyspace: UInt64
  package let key: [UInt8]
  /// The state that it brings.
  package var record: Record?
  /// Whether the state is to survive the machine before it is acknowledged.
  package var isSynced: Bool

  /// The message of a body with its parts changed.
  ///
  /// - Throws: what a replica would refuse it with.
  package static func body(
    of body: [UInt8], _ change: (inout ForgedMessage) -> Void
  ) throws(DatabaseError) -> [UInt8] {
    var message = try ReplicaMessage(decoding: body)
    var forged = ForgedMessage(
      keyspace: message.head.keyspace, key: message.key, record: message.record, isSynced: message.isSynced)
    change(&forged)
    message.record = forged.record
    message.isSynced = forged.isSynced
    return message.encoded()
  }
}
