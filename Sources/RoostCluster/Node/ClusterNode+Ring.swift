import RoostCausality
import RoostEnvironment

// Which ring a node goes by: the directory's, as soon as it hears of a newer one. It is told by a watch, by a
// look now and then, and by others whose messages go by another ring.

extension ClusterNode {
  /// The ring that this node goes by.
  var view: RingView { lock.withLock { ringView } }

  /// Whether the cluster has no place for this node any more.
  package var isDismissed: Bool {
    let view = view
    return view.isConfirmed && !view.knows(local.id)
  }

  /// Looks into the directory, and takes a newer ring over.
  ///
  /// - Returns: the ring that this node goes by then.
  /// - Throws: what the directory throws, and as ``adopt(_:)-DatabaseRecord``.
  @discardableResult
  func refreshRing() throws(DatabaseError) -> RingView {
    if let record = try directory.record(ClusterRecordName.database) {
      try adopt(try DatabaseRecord(decoding: record.value))
    }
    return view
  }

  /// Takes over what the directory says, where that is news.
  ///
  /// - Throws: `.foreignStore` (another database's), and as `DatabaseCore.adopt`.
  func adopt(_ record: DatabaseRecord) throws(DatabaseError) {
    guard record.database == core.id else {
      throw DatabaseError(.foreignStore, "the directory has another database, \(record.database)")
    }
    let known = view
    guard record.ring.revision >= known.revision else { return }
    if record.ring.revision == known.revision, known.isConfirmed { return }
    let next = RingView(
      record.ring, record.change, isConfirmed: true, hasTransactions: record.hasTransactions,
      hasFewerReplicas: record.hasFewerReplicas || known.hasFewerReplicas, holders: record.holders)
    let isNews = try core.adopt(record.ring, renews: !subversions.keepsIncarnation) { [self] in
      lock.withLock { if ringView.revision < next.revision { ringView = next } }
    }
    if !isNews {
      lock.withLock { if ringView.revision == next.revision, !ringView.isConfirmed { ringView = next } }
    }
    let now = view
    connect(peers.retain { now.knows($0) })
    if known.knows(local.id), !now.knows(local.id) {
      core.options.warn("this node is no member of the cluster any more: it stops serving")
    }
    handovers.wake(self)
    moves.wake(self)
  }

  /// Changes the directory's record of the database, and takes over what comes of it. What a directory that
  /// was set back has lost for good is written again, also where nothing else changes.
  ///
  /// - Parameter body: returns `false` where there is nothing to change. May be called again where another
  ///   node was first.
  /// - Returns: what `body` returned.
  /// - Throws: what `body` throws; `.busy` (others change it all the while), `.corruption` (the directory
  ///   does not have it), what the directory throws.
  @discardableResult
  func changeRecord(
    _ body: (inout DatabaseRecord) throws(DatabaseError) -> Bool
  ) throws(DatabaseError) -> Bool {
    for _ in 0..<16 {
      guard let found = try directory.record(ClusterRecordName.database) else {
        throw DatabaseError(.corruption, "the cluster's directory has no record `database`")
      }
      let known = try DatabaseRecord(decoding: found.value)
      var record = known
      // A directory that was set back does not make lists change their order again.
      record.hasFewerReplicas = known.hasFewerReplicas || view.hasFewerReplicas
      let restored = record
      let isChanged = try body(&record)
      if !isChanged {
        guard restored.hasFewerReplicas != known.hasFewerReplicas else {
          try adopt(known)
          return false
        }
        record = restored
      }
      record.ring.revision = known.ring.revision + 1
      record.settle()
      let version = try directory.compareAndSet(
        ClusterRecordName.database, version: found.version, record.encoded(), lease: nil)
      guard version != nil else { continue }
      try adopt(record)
      return isChanged
    }
    throw DatabaseError(.busy, "the cluster's ring is being changed by others")
  }

  // MARK: - Messages that go by another ring

  /// What a message about a partition is refused with that goes by another list than this node, once either
  /// has learned what the directory says.
  ///
  /// - Throws: `.foreignStore`, `.staleRing`, what the directory throws.
  func check(_ head: MessageHead, _ partition: Int) throws(DatabaseError) {
    try checkDatabase(head)
    let print = head.ring
    var view = view
    guard partition < view.ring.partitionCount else {
      throw DatabaseError(.invalidArgument, "there is no partition \(partition)")
    }
    if view.print(of: partition).print == print.print { return }
    // The other knows of a change that this node has not heard of yet.
    if print.revision > view.revision { view = try refreshRing() }
    guard view.print(of: partition).print == print.print else { throw staleRing(print) }
  }

  /// The same for a message about a keyspace's keys in several partitions, of which this node is to be a
  /// replica.
  ///
  /// - Returns: the keyspace.
  /// - Throws: also `.invalidArgument` (no such partition), and as ``keyspace(_:)-(UInt64)``.
  func check(_ head: MessageHead, _ partitions: [Int]) throws(DatabaseError) -> KeyspaceCore {
    try checkDatabase(head)
    let print = head.ring
    var view = view
    for partition in partitions where partition >= view.ring.partitionCount {
      throw DatabaseError(.invalidArgument, "there is no partition \(partition)")
    }
    if view.print(of: partitions).print != print.print, print.revision > view.revision {
      view = try refreshRing()
    }
    guard view.print(of: partitions).print == print.print else { throw staleRing(print) }
    let keyspace = try keyspace(head.keyspace)
    for partition in partitions where !view.isReplica(local.id, of: partition, in: keyspace) {
      throw DatabaseError(.unreachable, "\(local.path) is no replica of partition \(partition)")
    }
    return keyspace
  }

  /// What was read of partitions counts if they still go by the lists of before: what moves away is deleted
  /// only after this node has heard of it.
  func checkUnchanged(_ head: MessageHead, _ partitions: [Int]) throws(DatabaseError) {
    if view.print(of: partitions).print != head.ring.print { throw staleRing(head.ring) }
  }

  private func checkDatabase(_ head: MessageHead) throws(DatabaseError) {
    guard head.database == core.id else {
      throw DatabaseError(.foreignStore, "the message is of the database \(head.database), not \(core.id)")
    }
  }

  private func staleRing(_ print: RingPrint) -> DatabaseError {
    DatabaseError(
      .staleRing,
      "the message goes by revision \(print.revision) of the ring, which is at \(view.revision) here")
  }

  /// A key's partition.
  func partition(of key: [UInt8]) -> Int {
    unsafe Placement.partition(ofHash: Placement.hash(key.span.bytes), count: core.ring.partitionCount)
  }

  /// Sends a replica's message. Where the other says that it goes by another ring, this node catches up and
  /// asks again, if the member still takes what the message is about.
  ///
  /// - Parameter caughtUp: told of the newer ring before it asks again.
  func send(
    _ kind: UInt16, _ message: ReplicaMessage, to member: MemberID, deadline: UInt64, retries: Int = 2,
    caughtUp: @escaping @Sendable (RingView) -> Void = { _ in }, _ reply: @escaping Answer<[UInt8]>
  ) {
    send(kind, message.encoded(), to: member, deadline: deadline) { [self] result in
      guard case .failure(let error) = result, error.code == .staleRing, retries > 0, now < deadline else {
        return reply(result)
      }
      run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
        do throws(DatabaseError) {
          let view = try refreshRing()
          caughtUp(view)
          let partition = partition(of: message.key)
          let keyspace = try keyspace(message.head.keyspace)
          let isRight =
            switch kind {
            case NodeMessageKind.apply: view.takesWrites(member, of: partition, in: keyspace)
            case NodeMessageKind.fetch: view.isReplica(member, of: partition, in: keyspace)
            default: true
            }
          guard isRight else {
            throw DatabaseError(.staleRing, "member \(member) has partition \(partition) no more")
          }
          var again = message
          again.head.ring = view.print(of: partition)
          counters.staleRings.wrappingAdd(1, ordering: .relaxed)
          send(
            kind, again, to: member, deadline: deadline, retries: retries - 1, caughtUp: caughtUp, reply)
        } catch { reply(.failure(error)) }
      }
    }
  }

  /// Asks a node for its ring.
  ///
  /// - Parameters:
  ///   - revision: the least that it is to know: it looks into the directory before it answers with less.
  ///   - reply: called once, with what it goes by.
  func askRing(
    of member: MemberID, atLeast revision: UInt64,
    _ reply: @escaping @Sendable (Result<RingState, DatabaseError>) -> Void
  ) {
    let limit = now &+ options.replicaTimeout.wholeNanoseconds &* 2
    send(NodeMessageKind.ring, RingRequest(atLeast: revision).encoded(), to: member, deadline: limit) {
      result in
      reply(
        result.flatMap { bytes in answered { () throws(DatabaseError) in try RingState(decoding: bytes) } })
    }
  }

  /// The ring that this node goes by, with what moves, as others and operators are shown it.
  ///
  /// - Throws: what the directory throws, where it is to know more than it does.
  func ringState(atLeast revision: UInt64) throws(DatabaseError) -> RingState {
    let known = view
    return known.revision >= revision ? known.state : try refreshRing().state
  }
}

/// Asks a node for its ring, whole; answered with a ring state, as in the record `ring` of a store.
///
///   request := version u8 (1) | revision varint (the least that the answer is to be of)
package struct RingRequest: Sendable, Equatable {
  package var revision: UInt64

  /// - Parameter revision: 0 for whatever the node goes by.
  package init(atLeast revision: UInt64 = 0) { self.revision = revision }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(varint: revision)
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for the ring", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    revision = try reader.readOrdinal()
    try reader.readEnd()
  }
}

/// Rules that a test breaks on purpose, to see that something fails then.
package struct NodeSubversions: Sendable {
  /// Writes are not sent to whom their partition is moving to.
  package var dropsForwards = false
  /// Who a partition is moving to counts for quorums as its replicas do.
  package var countsPending = false
  /// A store that gets a partition back goes on as the incarnation that it was.
  package var keepsIncarnation = false
  /// Partitions that moved away are deleted without a look at who has them.
  package var dropsUncompared = false
  /// Who gives up a partition's transactional keys keeps no record of that.
  package var givesUpUnrecorded = false
  /// Who gives them up does so while transactions hold locks of them, or are prepared.
  package var givesUpUndrained = false
  /// Who gets them does not see to it that no flip of an earlier attempt comes true any more.
  package var leavesFlips = false
  /// Who gets them takes the place without the word of whoever had them that he has given them up.
  package var takesUnasked = false
  /// Who gets them does not raise its clock above the reads that whoever had them has served.
  package var takesOverBelow = false
  /// A member that leaves gives nobody what it has on record of transactions.
  package var dropsBequest = false
  /// The node looks into the directory for the ring only where another node says that it is behind.
  package var isDeaf = false
  /// Steps of moves that are not begun: a node that is killed there has done all before.
  package var stopsBefore: Set<MoveStep> = []

  package init() {}
}

/// What a node does so that a partition moves, in order; at the node that gets it, where nothing else is
/// said.
package enum MoveStep: Sendable, Hashable, CaseIterable {
  /// It is written down that the partition moves: from then on the receiver gets all writes.
  case begin
  /// The receiver is brought what was written before.
  case catchUp
  /// The owner of transactional keys gives no more locks of them.
  case freeze
  /// The owner gives them up, durably.
  case giveUp
  /// The receiver's clock is set above all that the owner has served.
  case takeOver
  /// The receiver takes the place.
  case flip
  /// The owner hears what became of what it gave up.
  case takeBack
  /// Who had it makes sure that the others have all. At that node.
  case compare
  /// It deletes its part.
  case drop
  /// One that has nothing any more gives away what it knows of transactions.
  case bequeath
}
