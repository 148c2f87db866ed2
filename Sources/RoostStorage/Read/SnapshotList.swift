import RoostEnvironment

/// The snapshots that are held, so that compaction keeps what they see.
///
/// Rule 8: a snapshot takes its sequence number and registers under the same lock under which
/// compaction copies the list. A snapshot that registers after the copy sees at least all that the
/// copying merge can drop in favour of something newer, because what a merge reads was visible
/// before the copy.
///
/// Thread-safe.
final class SnapshotList: @unchecked Sendable {
  struct Pin {
    let id: UInt64
    let sequence: UInt64
    let sinceNanoseconds: UInt64
  }

  private let lock = Lock()
  private var pins: [Pin] = []
  private var nextID: UInt64 = 0

  /// Registers a snapshot at the sequence number that `current` gives, asked under the lock.
  func pin(at nanoseconds: UInt64, current: () -> UInt64) -> Pin {
    lock.withLock {
      let pin = Pin(id: nextID, sequence: current(), sinceNanoseconds: nanoseconds)
      nextID += 1
      pins.append(pin)
      return pin
    }
  }

  func unpin(_ id: UInt64) {
    lock.withLock {
      if let index = pins.firstIndex(where: { $0.id == id }) { pins.remove(at: index) }
    }
  }

  /// Sequence numbers that are held, ascending, without repeats.
  func sequences() -> [UInt64] {
    let all = lock.withLock { pins.map(\.sequence) }
    var result: [UInt64] = []
    for sequence in all.sorted() where result.last != sequence { result.append(sequence) }
    return result
  }

  var current: [Pin] { lock.withLock { pins } }
}

/// A moment of a store: reads at it see what was written before it and nothing after.
///
/// Released at the end of its scope. While it is held, compaction keeps the versions that it sees,
/// which costs disk space: ``StoreStatistics/snapshots`` shows how long each has been held.
public struct Snapshot: ~Copyable, Sendable {
  let store: Store
  let pin: SnapshotList.Pin

  init(_ store: Store, _ pin: SnapshotList.Pin) {
    self.store = store
    self.pin = pin
  }

  deinit { store.snapshots.unpin(pin.id) }

  /// The greatest sequence number that the snapshot sees.
  public var sequence: UInt64 { pin.sequence }
}
