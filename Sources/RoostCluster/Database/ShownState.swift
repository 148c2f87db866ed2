import RoostEnvironment

/// The ring and the schema that count, for callers who must not wait: the lock that guards the ones
/// themselves, ``DatabaseCore/topology``, is held while stores are synced.
///
/// Thread-safe. Its lock is held for a copy of references only.
final class ShownState: @unchecked Sendable {
  struct Now {
    var ringState: RingState
    var schema: Schema
    /// Whether a ring is going to be installed before partitions move on.
    var isAdopting = false
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var shown: Now

  init(_ ringState: RingState, _ schema: Schema) {
    shown = Now(ringState: ringState, schema: schema)
  }

  var now: Now { lock.withLock { shown } }

  func change(_ body: (inout Now) -> Void) { lock.withLock { body(&shown) } }
}
