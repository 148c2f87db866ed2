import RoostCausality
import RoostCluster

// What a store's participant does while partitions change their owner, or the store is about to leave.

extension ParticipantDriver {
  func freeze(_ partition: Int) -> Bool {
    if isDrained(partition) { return true }
    post(.freeze(partition: partition))
    return isDrained(partition)
  }

  private func isDrained(_ partition: Int) -> Bool {
    lock.withLock { isAtRest(partition) && machine.isDrained(partition) }
  }

  /// Whether the machine speaks of this handover, and what it has decided is done. With the lock held.
  private func isAtRest(_ partition: Int) -> Bool {
    queuedEffects == 0 && thawing[partition] == nil
  }

  /// Once this is not `nil`, what was read before has been read: events are handled one after the other, and
  /// what those that entered led to is done. Reads under locks aside: a drained partition has none, and what
  /// is read without them counts for nothing.
  func giveUp(_ partition: Int) -> Timestamp? {
    if let highest = highestRead(partition) { return highest }
    post(.giveUp(partition: partition))
    return highestRead(partition)
  }

  private func highestRead(_ partition: Int) -> Timestamp? {
    lock.withLock { isAtRest(partition) ? machine.highestRead(partition) : nil }
  }

  func thaw(_ partition: Int) {
    lock.withLock { thawing[partition, default: 0] += 1 }
    post(.thaw(partition: partition))
  }

  /// - Returns: whether nothing is on its way to the store's records.
  func quiet() -> Bool {
    let isIdle = lock.withLock {
      isQuiet = true
      return machine.isIdle
    }
    return isIdle && loop.isIdle && writes.isIdle
  }

  func resume() { lock.withLock { isQuiet = false } }
}
