// What the transaction layer above asks of a node about its clients.

extension ClusterNode {
  package func ended(_ connection: UInt64, of node: NodeID) {
    currentTransactionHandler?.ended(connection, of: node)
  }

  /// Counts a client's call in; ``leaveClient()`` follows.
  ///
  /// - Throws: `.busy` where the node has its limit of calls in hand; `.closed` where it is about to leave.
  package func enterClient() throws(DatabaseError) { try enter() }

  package func leaveClient() { counters.leave() }
}
