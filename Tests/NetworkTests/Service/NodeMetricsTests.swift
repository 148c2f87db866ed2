import Metrics
import RoostCluster
import TestSupport
import Testing

@testable import RoostNetwork

/// What swift-metrics is given of a node.
// Budget: 1 s
@Suite struct NodeMetricsTests {
  /// Metrics that are kept by their labels.
  private final class KeptMetrics: MetricsFactory {
    struct Kept {
      var totals: [String: Int64] = [:]
      var gauges: [String: Double] = [:]
      var times: [String: [Int64]] = [:]
    }
    let kept = Guarded(Kept())

    final class Handler: CounterHandler, RecorderHandler, TimerHandler {
      let label: String
      let metrics: KeptMetrics

      init(label: String, metrics: KeptMetrics) {
        self.label = label
        self.metrics = metrics
      }

      func increment(by amount: Int64) {
        metrics.kept.withLock { $0.totals[label, default: 0] += amount }
      }
      func reset() {}
      func record(_ value: Int64) { record(Double(value)) }
      func record(_ value: Double) { metrics.kept.withLock { $0.gauges[label] = value } }
      func recordNanoseconds(_ duration: Int64) {
        metrics.kept.withLock { $0.times[label, default: []].append(duration) }
      }
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
      let shown = dimensions.map { "{\($0)=\($1)}" }.joined()
      return Handler(label: label + shown, metrics: self)
    }
    func makeRecorder(
      label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler { Handler(label: label, metrics: self) }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
      Handler(label: label, metrics: self)
    }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
  }

  @Test func `totals are told as differences, gauges as they are`() {
    let kept = KeptMetrics()
    let metrics = NodeMetrics(kept)
    var figures = NodeFigures()
    figures.writes = 5
    figures.hints = 3
    figures.callsInHand = 2
    figures.movesUnderWay = 4
    metrics.counted(figures)
    figures.writes = 7
    figures.readRepairs = 1
    figures.hints = 0
    metrics.counted(figures)
    // One that comes late adds nothing, and takes nothing back.
    figures.writes = 6
    metrics.counted(figures)
    figures.writes = 8
    metrics.counted(figures)
    let seen = kept.kept.withLock { $0 }
    #expect(seen.totals == ["roost_node_writes": 8, "roost_node_read_repairs": 1])
    #expect(
      seen.gauges == [
        "roost_node_hints": 0, "roost_node_hint_bytes": 0, "roost_node_calls_in_hand": 2,
        "roost_node_moves_under_way": 4, "roost_node_drops_left": 0, "roost_node_transactions_under_way": 0,
        "roost_node_transactions_in_doubt": 0, "roost_node_client_transactions": 0,
      ])
  }

  @Test func `transactions, moves and hints are counted, aborts by their reasons`() {
    let kept = KeptMetrics()
    let metrics = NodeMetrics(kept)
    var figures = NodeFigures()
    figures.transactions.outcomes.committed = 3
    figures.transactions.outcomes.aborted = [.conflict: 2, .unreachable: 1]
    figures.transactions.clientsOpen = 7
    figures.transactions.inDoubt = 1
    metrics.counted(figures)
    figures.transactions.outcomes.committed = 4
    figures.transactions.outcomes.aborted[.conflict] = 5
    figures.transactions.outcomes.unknown = 1
    figures.transactions.clientsRefused = 6
    figures.transactions.underWay = 8
    (figures.movesDone, figures.movedKeys, figures.movedBytes) = (1, 20, 300)
    (figures.dropsLeft, figures.hintBytesSent, figures.treeBytes) = (2, 400, 500)
    metrics.counted(figures)
    metrics.answeredCommit(nanoseconds: 5_000)
    let seen = kept.kept.withLock { $0 }
    #expect(
      seen.totals == [
        "roost_node_transactions_committed": 4, "roost_node_transactions_aborted{reason=conflict}": 5,
        "roost_node_transactions_aborted{reason=unreachable}": 1, "roost_node_transactions_unknown": 1,
        "roost_node_client_transactions_refused": 6, "roost_node_moves_done": 1,
        "roost_node_moved_keys": 20, "roost_node_moved_bytes": 300, "roost_node_hint_bytes_sent": 400,
        "roost_node_tree_bytes": 500,
      ])
    #expect(seen.gauges["roost_node_client_transactions"] == 7)
    #expect(seen.gauges["roost_node_transactions_in_doubt"] == 1)
    #expect(seen.gauges["roost_node_transactions_under_way"] == 8)
    #expect(seen.gauges["roost_node_drops_left"] == 2)
    #expect(seen.times == ["roost_node_commit_time": [5_000]])
  }

  @Test func `calls are timed, and those that failed counted`() {
    let kept = KeptMetrics()
    let metrics = NodeMetrics(kept)
    metrics.answered(isWrite: true, nanoseconds: 1_000, nil)
    metrics.answered(isWrite: false, nanoseconds: 2_000, .unreachable)
    metrics.answered(isWrite: false, nanoseconds: .max, nil)
    let seen = kept.kept.withLock { $0 }
    #expect(seen.times == ["roost_node_write_time": [1_000], "roost_node_read_time": [2_000, .max]])
    #expect(seen.totals == ["roost_node_failed_calls": 1])
  }
}
