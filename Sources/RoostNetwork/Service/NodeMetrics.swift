import Metrics
import RoostCluster
import RoostEnvironment

/// What a node does, for swift-metrics: calls of clients and commits as they are answered, all else about
/// once a second, as the difference to the second before. Nodes of one process share the counters; a gauge
/// shows the node that spoke last.
///
/// Thread-safe.
final class NodeMetrics: NodeObserver, @unchecked Sendable {
  /// A total of the node's, and the counter that follows it.
  private struct Total {
    var counter: Counter
    var value: @Sendable (NodeFigures) -> UInt64
    var told: UInt64 = 0
  }

  private let writeTime: Metrics.Timer
  private let readTime: Metrics.Timer
  private let commitTime: Metrics.Timer
  private let failedCalls: Counter
  private let gauges: [(gauge: Gauge, value: @Sendable (NodeFigures) -> Int)]
  private let lock = Lock()
  // Guarded by `lock`.
  private var totals: [Total]

  /// - Parameter factory: makes them; the process's own.
  init(_ factory: any MetricsFactory = MetricsSystem.factory) {
    func timer(_ name: String) -> Metrics.Timer {
      Metrics.Timer(label: "roost_node_\(name)", dimensions: [], factory: factory)
    }
    func total(
      _ name: String, _ dimensions: [(String, String)] = [],
      _ value: @escaping @Sendable (NodeFigures) -> UInt64
    ) -> Total {
      Total(
        counter: Counter(label: "roost_node_\(name)", dimensions: dimensions, factory: factory), value: value)
    }
    func gauge(
      _ name: String, _ value: @escaping @Sendable (NodeFigures) -> Int
    ) -> (Gauge, @Sendable (NodeFigures) -> Int) {
      (Gauge(label: "roost_node_\(name)", dimensions: [], factory: factory), value)
    }
    writeTime = timer("write_time")
    readTime = timer("read_time")
    commitTime = timer("commit_time")
    failedCalls = Counter(label: "roost_node_failed_calls", dimensions: [], factory: factory)
    gauges = [
      gauge("hints") { $0.hints }, gauge("hint_bytes") { $0.hintBytes },
      gauge("calls_in_hand") { $0.callsInHand }, gauge("moves_under_way") { $0.movesUnderWay },
      gauge("drops_left") { $0.dropsLeft }, gauge("transactions_under_way") { $0.transactions.underWay },
      gauge("transactions_in_doubt") { $0.transactions.inDoubt },
      gauge("client_transactions") { $0.transactions.clientsOpen },
    ]
    totals = [
      total("writes") { $0.writes }, total("indeterminate_writes") { $0.indeterminateWrites },
      total("reads") { $0.reads }, total("unavailable_reads") { $0.unavailableReads },
      total("read_repairs") { $0.readRepairs }, total("hints_handed_over") { $0.hintsHandedOver },
      total("hint_bytes_sent") { $0.hintBytesSent },
      total("hints_expired") { $0.hintsExpired }, total("hints_refused") { $0.hintsRefused },
      total("tree_passes") { $0.treePasses }, total("tree_repairs") { $0.treeRepairs },
      total("tree_not_compared") { $0.notCompared }, total("tree_bytes") { $0.treeBytes },
      total("trees_kept") { $0.treesKept },
      total("trees_scanned") { $0.treesScanned }, total("tree_wrong_leaves") { $0.wrongLeaves },
      total("failed_lease_renewals") { $0.failedRenewals }, total("reaped") { $0.reaped },
      total("reaps_put_off") { $0.reapsPutOff }, total("late_states") { $0.lateStates },
      total("moves_done") { $0.movesDone }, total("moved_keys") { $0.movedKeys },
      total("moved_bytes") { $0.movedBytes },
      total("transactions_committed") { $0.transactions.outcomes.committed },
      total("transactions_unknown") { $0.transactions.outcomes.unknown },
      total("client_transactions_refused") { $0.transactions.clientsRefused },
    ]
    totals += AbortKind.allCases.map { kind in
      total("transactions_aborted", [("reason", kind.rawValue)]) {
        $0.transactions.outcomes.aborted[kind, default: 0]
      }
    }
  }

  func answered(isWrite: Bool, nanoseconds: UInt64, _ failure: DatabaseError.Code?) {
    (isWrite ? writeTime : readTime).recordNanoseconds(Int64(clamping: nanoseconds))
    if failure != nil { failedCalls.increment() }
  }

  func answeredCommit(nanoseconds: UInt64) { commitTime.recordNanoseconds(Int64(clamping: nanoseconds)) }

  func counted(_ figures: NodeFigures) {
    // The node's last word may overtake the one before: what was told is told once all the same.
    let news = lock.withLock {
      totals.indices.map { index in
        let value = totals[index].value(figures)
        let more = value &- min(value, totals[index].told)
        totals[index].told += more
        return (totals[index].counter, more)
      }
    }
    for (counter, more) in news where more > 0 { counter.increment(by: Int64(clamping: more)) }
    for (gauge, value) in gauges { gauge.record(value(figures)) }
  }
}
