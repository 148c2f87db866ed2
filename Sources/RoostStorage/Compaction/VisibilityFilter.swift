/// Which versions of a key a merge may drop, given the snapshots that exist.
///
/// Two sequence numbers lie in the same *stripe* when every snapshot sees both or neither: stripe i
/// holds the sequence numbers above snapshot i-1 and up to snapshot i; what is above all snapshots
/// is the last stripe. Of a key's versions in one stripe only the newest can ever be read.
///
/// A pure value. The snapshots must have been copied under the lock under which snapshots register
/// (rule 8).
struct VisibilityFilter {
  /// Ascending, without repeats.
  private let snapshots: [UInt64]

  init(snapshots: [UInt64]) {
    self.snapshots = snapshots
  }

  /// Whether every snapshot sees `sequence`: nothing can tell it from older ones.
  @inline(__always)
  func isSettled(_ sequence: UInt64) -> Bool {
    snapshots.isEmpty || sequence <= snapshots[0]
  }

  /// The stripe of a sequence number. O(log of the snapshots).
  @inline(__always)
  func stripe(of sequence: UInt64) -> Int {
    if snapshots.isEmpty { return 0 }
    var low = 0
    var high = snapshots.count
    while low < high {
      let middle = (low &+ high) / 2
      if snapshots[middle] < sequence { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// The newest sequence number in `sequence`'s stripe or older: what a range tombstone must not
  /// exceed to hide an entry from everyone who could see the entry.
  @inline(__always)
  func stripeEnd(of sequence: UInt64) -> UInt64 {
    let stripe = stripe(of: sequence)
    return stripe < snapshots.count ? snapshots[stripe] : Tag.maxSequence
  }
}
