package import RoostEnvironment
package import RoostStorage

/// One process of a cluster: a store of the cluster's database, and what replicates its keys.
package final class ClusterNode: NodeMessageHandler, @unchecked Sendable {
  package typealias Answer<Value> = @Sendable (Result<Value, DatabaseError>) -> Void

  /// The part of the database that is here.
  package let core: DatabaseCore
  /// Begins. The transport is known already, and its peers are told by `connect` whenever they change.
  package static func start(
    at directory: String, _ options: DatabaseOptions, _ cluster: ClusterOptions,
    directory records: any ClusterDirectory, transport: any NodeTransport, address: NodeAddress,
    connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void, _ environment: Environment
  ) throws(DatabaseError) -> ClusterNode { fatalError() }

  private init(_ core: DatabaseCore) { self.core = core }

  /// Answers once, from any thread, perhaps before this returns. `deadline` is of the monotonic clock, in ns.
  package func perform(_ request: KeyRequest, deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>) {}
  package func makeKeyspace(_ request: KeyspaceRequest) throws(DatabaseError) {}
  package var status: NodeStatus { fatalError() }
  package func receive(_ message: ReceivedMessage) {}
  /// Leaves: hands nothing over, keeps its data.
  package func close() throws(DatabaseError) {}
}
