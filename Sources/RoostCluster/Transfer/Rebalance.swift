import RoostEnvironment

/// How far the moving of partitions between a database's stores is. A value.
public struct Rebalance: Sendable {
  /// One partition that is on its way.
  public struct Move: Sendable, Equatable {
    public enum Phase: Sendable, Equatable {
      /// Its keys are being copied, and writes forwarded.
      case copying
      /// The receiver has it all; the ring is being changed.
      case deciding
    }
    public var partition: Int
    /// Directories of the stores.
    public var from: String
    public var to: String
    public var phase: Phase
    /// What was copied so far.
    public var keys: UInt64
    public var bytes: UInt64
  }

  /// Nothing moves, nothing has to, and nothing of what moved is left where it was.
  public var isBalanced: Bool
  /// Since the ring was last changed, or the database opened.
  public var movesDone: Int
  public var movesLeft: Int
  /// The partitions that have yet to move.
  public var partitions: [Int]
  /// Partitions to delete from stores that have given them away.
  public var dropsLeft: Int
  public var keysMoved: UInt64
  public var bytesMoved: UInt64
  /// Over the last second or two.
  public var bytesPerSecond: Double
  /// The limit; `nil` where there is none.
  public var limitBytesPerSecond: Int?
  public var current: Move?
  /// Why nothing goes on: it is tried again by itself, later each time, or at once by
  /// `retryMoves()`.
  public var failure: DatabaseError?

  /// The part that is done, 0 to 1.
  public var fraction: Double {
    isBalanced || movesDone + movesLeft == 0
      ? 1 : Double(movesDone) / Double(movesDone + movesLeft)
  }
}

/// A database's ring at one moment, with where its stores are. A value.
public struct RingSnapshot: Sendable {
  public var ring: Ring
  /// The directory of each member's store, as it was last opened.
  public var directories: [MemberID: String]
  /// The moves that have begun.
  public var moving: [PartitionMove]
  /// The moves that are left, those included.
  public var planned: [PartitionMove]

  /// Whether who has which place of a list changes by a move only: what the first have of transactional
  /// keyspaces, and of those on fewer stores, the others do not.
  var keepsOrder: Bool

  /// What to move so that these are the members; see ``Ring/plan(to:keepsOrder:)``.
  public func plan(to wanted: [RingMember]) throws(RingError) -> RingPlan {
    try ring.plan(to: wanted, keepsOrder: keepsOrder)
  }

  /// Rises with every change.
  public var epoch: UInt64 { ring.epoch }

  /// What to call a member: its directory, or its name where that is not known.
  public func label(of member: MemberID) -> String {
    directories[member] ?? ring.member(member)?.name ?? "\(member)"
  }
}

extension DatabaseCore {
  package var ringSnapshot: RingSnapshot {
    let now = shown.now
    let state = now.ringState
    return RingSnapshot(
      ring: state.ring, directories: state.places, moving: state.copies,
      planned: transfers.withRecord { $0.moves }, keepsOrder: now.schema.keepsOrder)
  }

  package var rebalance: Rebalance {
    let shown = shown.now
    let ringState = shown.ringState
    let now = shared.environment.time.monotonicNanoseconds
    let limit = transfers.bytesPerSecond
    return transfers.withRecord { record in
      var moves = record.moves
      for copy in ringState.copies where !moves.contains(copy) { moves.append(copy) }
      let isRetiring =
        record.isRetiring || presentMembers.contains { ringState.ring.member($0.id) == nil }
      let isBalanced =
        moves.isEmpty && ringState.drops.isEmpty && !isRetiring && !shown.isAdopting
      let current = ringState.copies.first.map { move in
        let copy = record.copy.flatMap { $0.move == move ? $0 : nil }
        return Rebalance.Move(
          partition: move.partition, from: ringState.label(move.from), to: ringState.label(move.to),
          phase: copy?.isWhole == true ? .deciding : .copying, keys: copy?.keys ?? 0,
          bytes: copy?.bytes ?? 0)
      }
      return Rebalance(
        isBalanced: isBalanced, movesDone: record.movesDone, movesLeft: moves.count,
        partitions: Set(moves.map(\.partition)).sorted(), dropsLeft: ringState.drops.count,
        keysMoved: record.keys, bytesMoved: record.bytes,
        bytesPerSecond: isBalanced ? 0 : record.meter.bytesPerSecond(at: now),
        limitBytesPerSecond: limit, current: current, failure: isBalanced ? nil : record.failure)
    }
  }

  /// Waits until nothing moves any more, on the calling thread.
  ///
  /// - Throws: `.deadlineExceeded`; `.missingStore` where moves wait for stores that are not open;
  ///   `.closed`.
  package func waitUntilBalanced(_ timeout: Duration) throws(DatabaseError) {
    let time = shared.environment.time
    let (seconds, attoseconds) = max(timeout, .zero).components
    let nanoseconds = UInt64(min(seconds, 1 << 33)) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    let deadline = time.monotonicNanoseconds &+ nanoseconds
    while true {
      let isBalanced = try topology.withLock { () throws(DatabaseError) in
        try shared.checkOpen()
        let now = rebalance
        if now.isBalanced { return true }
        guard hasAllStores else {
          throw DatabaseError(
            .missingStore, "partitions have to move, and do not while stores are missing")
        }
        guard time.monotonicNanoseconds < deadline else { throw stillMoving(timeout, now) }
        return false
      }
      if isBalanced { return }
      if transfers.runOneHere() { continue }
      topology.withLock {
        if rebalance.isBalanced || shared.isClosed { return }
        _ = time.wait(on: topologyChanged, untilMonotonicNanoseconds: deadline)
      }
    }
  }

  private func stillMoving(_ timeout: Duration, _ now: Rebalance) -> DatabaseError {
    var text = "after \(timeout) \(now.movesLeft) moves and \(now.dropsLeft) drops are left"
    if let current = now.current {
      text +=
        "; partition \(current.partition) goes from \(current.from) to \(current.to), "
        + "\(current.keys) keys so far"
    }
    if let failure = now.failure { text += "; it waits because: \(failure)" }
    return DatabaseError(.deadlineExceeded, text, cause: now.failure?.cause)
  }

  /// Changes the limit of bytes a second; `nil` for none.
  package func setTransferRate(_ bytesPerSecond: Int?) throws(DatabaseError) {
    try transfers.setRate(bytesPerSecond)
  }

  /// Tries again at once what moving failed of.
  package func retryMoves() {
    transfers.retry()
    scheduleTransfers()
  }
}

extension RingState {
  fileprivate func label(_ member: MemberID) -> String { places[member] ?? "\(member)" }
}
