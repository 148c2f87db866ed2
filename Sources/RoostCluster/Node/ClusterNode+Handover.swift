package import RoostCausality
import RoostEnvironment
import Synchronization

// What nodes tell each other so that transactional partitions move and members leave.

/// What a node asks of its transactions where partitions and members come and go: the layer above does it.
///
/// Nothing here waits for a transaction: what is not so yet is asked for again. Thread-safe.
package protocol NodeTransactionMoves: AnyObject, Sendable {
  /// As ``TransactionHandover/freeze(_:at:)``.
  func freeze(_ partition: Int, at member: Member) -> Bool

  /// As ``TransactionHandover/giveUp(_:at:)``.
  func giveUp(_ partition: Int, at member: Member) -> Timestamp?

  /// As ``TransactionHandover/thaw(_:at:)``.
  func thaw(_ partition: Int, at member: Member)

  /// How many unfinished transactions that this node coordinates name a member.
  ///
  /// - Parameters:
  ///   - partition: for an effect on its keys; `nil` for anything.
  ///   - revision: of the ring that the node goes by at least. Whoever chose targets by an earlier one
  ///     and has not said for which transaction counts as one.
  func unfinished(naming member: MemberID, in partition: Int?, since revision: UInt64) -> Int

  /// No transaction is begun here any more, for good.
  ///
  /// - Returns: whether all that were are over, at all stores.
  func retire() -> Bool

  /// As ``TransactionHandover/quiet(_:)``.
  func quiet(_ member: Member) -> Bool

  /// As ``TransactionHandover/resume(_:)``.
  func resume(_ member: Member)

  /// What is on record of transactions here.
  ///
  /// - Parameter key: to go on behind it; empty to begin.
  /// - Returns: a page, and the key to go on behind; `nil` at the end.
  /// - Throws: `.busy` where something is prepared here; what reading the store throws.
  func records(
    after key: [UInt8], byteLimit: Int
  ) throws(DatabaseError) -> (bequest: TransactionBequest, next: [UInt8]?)

  /// The coordinators whose logs are here, and whole.
  var coordinators: [UInt64] { get }

  /// Keeps what another member had on record, durably.
  ///
  /// - Throws: `.invalidArgument` (no such records), what writing to the store throws.
  func inherit(_ bequest: TransactionBequest) throws(DatabaseError)
}

extension ClusterNode {
  // MARK: - Answers

  func serveHandover(_ message: ReceivedMessage) {
    serve(message, .background) { [self] body, answer throws(DatabaseError) in
      let request = try HandoverRequest(decoding: body)
      try checkSender(message.from, request.move.to)
      answer(.success(try handovers.serve(request, self)))
    }
  }

  func serveNaming(_ message: ReceivedMessage) {
    serve(message, .background) { [self] body, answer throws(DatabaseError) in
      answer(.success(NamingRequest.encode(unfinished: try unfinished(try NamingRequest(decoding: body)))))
    }
  }

  func serveBequest(_ message: ReceivedMessage) {
    serve(message, .background) { [self] body, answer throws(DatabaseError) in
      let (bequest, member, database) = try TransactionBequest.decode(body)
      guard database == core.id else {
        throw DatabaseError(.foreignStore, "the records are of the database \(database), not \(core.id)")
      }
      try checkSender(message.from, member)
      try openedTransactions().inherit(bequest)
      // Asked after it was written: a node that is about to leave gives away all that it has once it has
      // heard of that.
      guard view.ring.member(local.id) != nil else {
        throw DatabaseError(.staleRing, "\(local.path) is about to leave the cluster, and keeps no records")
      }
      answer(.success([]))
    }
  }

  private func checkSender(_ node: NodeID, _ member: MemberID) throws(DatabaseError) {
    guard speaks(node, for: member) else {
      throw DatabaseError(.unreachable, "node \(node) is not known to have member \(member)")
    }
  }

  /// How many unfinished transactions of this node name a member.
  ///
  /// - Throws: `.busy` where nobody can say yet; `.foreignStore`; what the directory throws.
  func unfinished(_ request: NamingRequest) throws(DatabaseError) -> Int {
    guard request.database == core.id else {
      throw DatabaseError(.foreignStore, "the question is of the database \(request.database)")
    }
    guard try view(atLeast: request.revision).revision >= request.revision else {
      throw DatabaseError(.busy, "revision \(request.revision) of the ring is not known here yet")
    }
    return try openedTransactions().unfinished(
      naming: request.member, in: request.partition, since: request.revision)
  }

  // MARK: - What these need

  /// The ring that this node goes by, once it has looked for one of that revision.
  ///
  /// - Throws: what the directory throws.
  func view(atLeast revision: UInt64) throws(DatabaseError) -> RingView {
    let known = view
    return known.revision >= revision && known.isConfirmed ? known : try refreshRing()
  }

  /// - Throws: `.busy` where they are not open yet, what opening them throws.
  func openedTransactions() throws(DatabaseError) -> any NodeTransactionMoves {
    if let opened = try currentTransactionHandler?.opened() { return opened }
    throw DatabaseError(.busy, "node \(transport.node) runs no transactions yet")
  }

  /// How large a page may be that was asked for.
  func pageBytes(_ wish: Int) -> Int { max(1, min(wish, largestTransactionBody / 2)) }

  /// Runs `body` on a worker some time later; never, where the node is closed before.
  func afterNanoseconds(_ wait: UInt64, _ body: @escaping @Sendable () -> Void) {
    let pause = Pause(until: now &+ wait) { [weak self] in self?.run(.background, body) }
    pause.strike = { [weak self] number in self?.strike(number) }
    pause.enlisted(as: enlist(pause))
  }

  /// Looks into the directory for the ring, in the background: another node goes by another one.
  package func refreshRingSoon() {
    if isRefreshing.exchange(true, ordering: .acquiringAndReleasing) { return }
    run(.background) { [weak self] in
      guard let self else { return }
      defer { isRefreshing.store(false, ordering: .releasing) }
      if !hasClosed { _ = try? refreshRing() }
    }
  }

  /// Calls `body` on a worker once this node has looked into the directory for the ring.
  ///
  /// - Parameter body: told whether it could.
  package func refreshingRing(_ body: @escaping @Sendable (Result<Void, DatabaseError>) -> Void) {
    run(until: requestDeadline, refused: { body(.failure($0)) }) { [self] in
      body(answered { () throws(DatabaseError) in _ = try refreshRing() })
    }
  }

  /// Whether the directory has said that a member is none, and that it has ended its part.
  package func hasForgotten(_ member: MemberID) -> Bool {
    let view = view
    return view.isConfirmed && !view.knows(member)
  }

  /// The revision of the ring that this node goes by.
  package var ringRevision: UInt64 { view.revision }

  /// Whether this node's member is in the ring: one that has given all away begins no transactions.
  package var isInRing: Bool { view.ring.member(local.id) != nil }

  /// Whether this node may coordinate transactions: not before its member has held a partition. One that has
  /// held nothing may be given up for dead, and with it would go what it has decided, while others hold locks
  /// for it.
  package var mayCoordinate: Bool {
    let view = view
    return !view.hasTransactions || view.holders.contains(local.id)
  }

  /// The member that does an effect on a partition's keys, from the commit on.
  ///
  /// - Parameters:
  ///   - replicas: how many the keys' keyspace has.
  ///   - wish: taken where it may be.
  /// - Returns: `nil` where the only replica is about to give the partition away.
  package func lastingTarget(_ partition: Int, ofFirst replicas: Int, _ wish: MemberID) -> MemberID? {
    let view = view
    let staying = view.ring.replicas(of: partition).prefix(replicas)
      .filter { view.staysReplica($0, of: partition) }
    return staying.contains(wish) ? wish : inOrderOfTrust(staying).first
  }
}

/// Waits a while, by the node's ticks. Thread-safe.
private final class Pause: UnderWay, @unchecked Sendable {
  private let due: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var body: (@Sendable () -> Void)?
  private var number: UInt64?
  /// Set before it is enlisted.
  var strike: (@Sendable (UInt64) -> Void)?

  init(until due: UInt64, _ body: @escaping @Sendable () -> Void) {
    self.due = due
    self.body = body
  }

  func enlisted(as number: UInt64) { lock.withLock { self.number = number } }

  func look(at nanoseconds: UInt64) {
    guard nanoseconds >= due else { return }
    // Where its number is not known yet, the next look ends it.
    let (due, place) = lock.withLock { () -> ((@Sendable () -> Void)?, UInt64?) in
      guard let place = self.number else { return (nil, nil) }
      defer { self.body = nil }
      return (self.body, place)
    }
    guard let place else { return }
    strike?(place)
    due?()
  }

  func end() { lock.withLock { body = nil } }
}
