import Synchronization

/// What a node has counted since it was started, and how it is now. A plain value.
package struct NodeFigures: Sendable, Hashable {
  // Totals.
  package var writes: UInt64 = 0
  package var indeterminateWrites: UInt64 = 0
  package var reads: UInt64 = 0
  package var unavailableReads: UInt64 = 0
  /// Replicas that were brought what a read found elsewhere.
  package var readRepairs: UInt64 = 0
  package var hintsHandedOver: UInt64 = 0
  /// Bytes of hints that were sent, those that were refused then among them.
  package var hintBytesSent: UInt64 = 0
  package var hintsExpired: UInt64 = 0
  package var hintsRefused: UInt64 = 0
  /// Comparisons of all that the node holds with the other replicas.
  package var treePasses: UInt64 = 0
  /// Replicas of keys that these have mended.
  package var treeRepairs: UInt64 = 0
  /// Replicas of partitions that these could not compare.
  package var notCompared: UInt64 = 0
  /// Bytes of messages and answers of these.
  package var treeBytes: UInt64 = 0
  /// Trees for comparisons, this node's and others', that were the leaves which it keeps.
  package var treesKept: UInt64 = 0
  /// Those for which all records of a partition were read.
  package var treesScanned: UInt64 = 0
  /// Kept leaves that were found wrong by the records, and mended: there should be none.
  package var wrongLeaves: UInt64 = 0
  /// How often the directory could not be told that the node is there, or had given it up.
  package var failedRenewals: UInt64 = 0
  /// Records of this node that were reaped.
  package var reaped: UInt64 = 0
  /// How often some were not, for now: a replica was away or held something else.
  package var reapsPutOff: UInt64 = 0
  /// States that came so late that they were refused.
  package var lateStates: UInt64 = 0

  /// Partitions that have moved to this node, what it was brought of them and sent of those that have moved
  /// away.
  package var movesDone: UInt64 = 0
  package var movedKeys: UInt64 = 0
  package var movedBytes: UInt64 = 0
  /// Of transactions, the totals and how they are now.
  package var transactions = TransactionFigures()

  // Now.
  package var hints = 0
  package var hintBytes = 0
  /// Partitions that are moving to this node, and those that it has given away and is yet to delete.
  package var movesUnderWay = 0
  package var dropsLeft = 0
  /// Calls of clients that are not answered yet.
  package var callsInHand = 0

  package init() {}
}

/// Is told what a node does, to pass it on: to a system of metrics, say. Called from any thread; must not
/// wait.
package protocol NodeObserver: Sendable {
  /// A client's call about a key was answered.
  ///
  /// - Parameters:
  ///   - nanoseconds: from when the node took it.
  ///   - failure: why it failed; `nil` where it did not.
  func answered(isWrite: Bool, nanoseconds: UInt64, _ failure: DatabaseError.Code?)

  /// A transaction's COMMIT was answered, whatever with.
  ///
  /// - Parameter nanoseconds: from when it was asked for.
  func answeredCommit(nanoseconds: UInt64)

  /// About once a second, and when the node ends.
  func counted(_ figures: NodeFigures)
}

extension ClusterNode {
  package var figures: NodeFigures {
    var figures = NodeFigures()
    figures.writes = counters.writes.load(ordering: .relaxed)
    figures.indeterminateWrites = counters.indeterminateWrites.load(ordering: .relaxed)
    figures.reads = counters.reads.load(ordering: .relaxed)
    figures.unavailableReads = counters.unavailableReads.load(ordering: .relaxed)
    figures.readRepairs = counters.repairs.load(ordering: .relaxed)
    figures.failedRenewals = counters.failedRenewals.load(ordering: .relaxed)
    figures.reaped = counters.reaped.load(ordering: .relaxed)
    figures.reapsPutOff = counters.reapsPutOff.load(ordering: .relaxed)
    figures.lateStates = counters.lateStates.load(ordering: .relaxed)
    figures.callsInHand = counters.inHand
    let kept = hints.statistics
    figures.hintsHandedOver = kept.handedOver
    figures.hintBytesSent = counters.hintBytesSent.load(ordering: .relaxed)
    figures.hintsExpired = kept.expired
    figures.hintsRefused = kept.refused
    figures.hints = kept.hints.values.reduce(0, +)
    figures.hintBytes = kept.bytes
    let passes = repairs.totals
    figures.treePasses = passes.count
    figures.treeRepairs = passes.mended
    figures.notCompared = passes.notCompared
    figures.treeBytes = repairs.bytes
    (figures.treesKept, figures.treesScanned, figures.wrongLeaves) = repairs.trees
    let view = view
    figures.movesUnderWay = view.state.copies.count { $0.to == local.id }
    figures.dropsLeft = view.state.drops.count { $0.member == local.id }
    (figures.movesDone, figures.movedKeys, figures.movedBytes) = moves.totals
    figures.transactions = transactionFigures
    return figures
  }
}
