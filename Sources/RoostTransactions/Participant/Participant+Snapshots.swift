import RoostCausality
import RoostCluster

// Reads at a time, without locks: they wait for what may still commit at or below it.
extension Participant {
  mutating func snapshot(
    _ request: UInt64, _ read: TransactionRead, at time: Timestamp, waitMilliseconds: UInt64
  ) {
    // Else a write to come could get a timestamp at or below it.
    guard now.timestamp > time else {
      return effects.append(.snapshotFailed(request: request, .clock))
    }
    if snapshots[request] != nil { return }
    if read.partitions.contains(where: { highestRead($0) != nil || !(serves?($0) ?? true) }) {
      return effects.append(.snapshotFailed(request: request, .notOwner))
    }
    if isSettled(read, at: time) {
      return effects.append(.readSnapshot(request: request, read, at: time))
    }
    let deadline = now.monotonicMilliseconds &+ waitMilliseconds
    snapshots[request] = WaitingSnapshot(read: read, time: time, deadline: deadline)
    deadlines.set(.snapshot(request), deadline)
  }

  /// Whatever writes holds exclusive locks from before its timestamp is chosen until it can be seen.
  private func isSettled(_ read: TransactionRead, at time: Timestamp) -> Bool {
    guard opensAfter == nil else { return false }
    return locks.exclusiveHolders(of: read).allSatisfy {
      guard let timestamp = branches[$0]?.writingTimestamp else { return true }
      return timestamp > time
    }
  }

  mutating func retrySnapshots() {
    if snapshots.isEmpty { return }
    for (request, waiting) in snapshots.sorted(by: { $0.key < $1.key })
    where isSettled(waiting.read, at: waiting.time) {
      snapshots[request] = nil
      deadlines.set(.snapshot(request), nil)
      effects.append(.readSnapshot(request: request, waiting.read, at: waiting.time))
    }
  }
}
