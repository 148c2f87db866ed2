import RoostEnvironment
import RoostStorage

/// Brings a node what its store lacks of a partition that moves to it, and takes the place. Used by one
/// thread at a time.
final class PartitionCatchUp: @unchecked Sendable {
  private let move: PartitionMove
  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private let moves: NodeMoves
  private let done: @Sendable (Result<Void, DatabaseError>) -> Void
  private let view: RingView
  /// Whether nobody can ask the member that gives the partition.
  private let isSourceDead: Bool
  /// Where the source is dead, and so many of the others too that nobody can tell what was acknowledged:
  /// whether all that are left are enough, though acknowledged writes may be lost.
  private let isForced: Bool
  /// The other replicas, those left out that are dead.
  private let others: [MemberID]
  private var toAsk: ArraySlice<MemberID>
  private var toCompare: ArraySlice<MemberID> = []
  /// Those of which the place that is taken has a replica.
  private var keyspaces: [KeyspaceCore] = []
  /// Those whose part was compared to its end.
  private var whole: [MemberID] = []
  private var problem = ""

  init(
    _ move: PartitionMove, _ node: ClusterNode, _ moves: NodeMoves,
    _ done: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    self.move = move
    self.node = node
    self.moves = moves
    self.done = done
    let view = node.view
    self.view = view
    let dead = view.change?.dead ?? []
    isSourceDead = dead.contains(move.from)
    isForced = view.change?.isForced == true
    others = view.replicas(of: move.partition).filter {
      $0 != move.from && $0 != node.local.id && !dead.contains($0)
    }
    // The source first: what it holds makes the receiver as good as it is.
    toAsk = ArraySlice((isSourceDead ? [] : [move.from]) + others)
  }

  func begin() {
    guard let node else { return }
    do throws(DatabaseError) {
      try node.checkStep(.catchUp)
      askNext()
    } catch { done(.failure(error)) }
  }

  /// Has each replica go by a ring in which the partition moves here. From its answer on all that it takes is
  /// sent here too, of keyspaces that are yet to be made as well.
  private func askNext() {
    guard let node else { return }
    guard let member = toAsk.popFirst() else { return beginComparing() }
    node.askRing(of: member, atLeast: view.revision) { [self, weak node] result in
      node?.run(.background) { [self] in
        switch result {
        case .success(let state) where state.revision >= view.revision: toCompare.append(member)
        case .success(let state): note("member \(member) goes by revision \(state.revision) of the ring")
        case .failure(let error): note(error.message)
        }
        askNext()
      }
    }
  }

  private func beginComparing() {
    guard let node else { return }
    do throws(DatabaseError) {
      try node.learnKeyspaces()
      keyspaces = try node.eventualKeyspaces().filter { move.slot < $0.replicas }
      try check(toCompare)
      compareNext()
    } catch { done(.failure(error)) }
  }

  private func compareNext() {
    guard let node else { return }
    guard let member = toCompare.popFirst() else { return endTransactions() }
    let held = keyspaces.filter { view.isReplica(member, of: move.partition, in: $0) }
    moves.compare(move.partition, with: member, held, .both, node) { [self] result in
      switch result {
      case .success: whole.append(member)
      case .failure(let error): note(error.message)
      }
      compareNext()
    }
  }

  private func note(_ text: String) { if problem.isEmpty { problem = text } }

  /// - Throws: `.unreachable` where too few of those can tell what was acknowledged.
  private func check(_ members: some Collection<MemberID>) throws(DatabaseError) {
    let what = "partition \(move.partition) moves from \(move.from) to \(move.to)"
    if isSourceDead {
      // A write was acknowledged by a majority of its keyspace's replicas, so each set of so many of the
      // others has met one of those. Where so many are dead that there is no such set, the operator may do
      // without; nobody does without one that is only out of reach.
      for count in Set(keyspaces.map(\.replicas) + [view.ring.replicas]).sorted() {
        let replicas = view.ring.replicas(of: move.partition).prefix(count)
        let found = members.count { replicas.contains($0) }
        let left = others.count { replicas.contains($0) }
        let needed = isForced ? min(count - count / 2, left) : count - count / 2
        guard found >= needed else {
          throw DatabaseError(
            .unreachable,
            "\(what), and \(found) of the \(needed) other replicas that it takes were compared: \(problem)")
        }
      }
    } else if !members.contains(move.from) {
      throw DatabaseError(.unreachable, "\(what), which waits for its source: \(problem)")
    }
  }

  /// In a cluster that has had transactions: waits until no effect is to be done by the source, and, where it
  /// owns the partition's transactional keys, for these and its word that it has given them up.
  private func endTransactions() {
    guard let node else { return }
    guard view.hasTransactions else { return flip() }
    guard !isSourceDead || move.slot > 0 else {
      return done(
        .failure(
          DatabaseError(
            .wrongPolicy,
            "partition \(move.partition)'s transactional keys are at member \(move.from) alone: nobody takes "
              + "them over without its word")))
    }
    NamingQuestions(move.from, partition: move.partition, node, view) { [self, weak node] result in
      guard let node else { return }
      if case .failure(let error) = result { return done(.failure(error)) }
      guard move.slot == 0 else { return flip() }
      PartitionTakeover(move, node, moves, view) { [self] result in
        if case .failure(let error) = result { return done(.failure(error)) }
        flip()
      }.begin()
    }.begin()
  }

  private func flip() {
    guard let node else { return }
    done(
      answered { () throws(DatabaseError) in
        try check(whole)
        try node.checkStep(.flip)
        try storing("\(node.local.path) could not be synced") { () throws(StoreError) in
          try node.local.store.syncBesideWriters()
        }
        let (move, view) = (move, view)
        // What this store gave up of it in its time as the owner is settled first.
        guard !node.handovers.hasGivenUp(move.partition) else { throw NodeMoves.outdated }
        let isDone = try node.changeRecord { record throws(DatabaseError) in
          // By the same change: what was proved goes by that move, and not by one that was begun anew.
          guard record.ring.copies.contains(move), record.change?.number == view.change?.number,
            record.hasTransactions == view.hasTransactions
          else { return false }
          if record.hasTransactions { record.holders.insert(move.to) }
          do throws(RingError) { record.ring = try record.ring.moved(move) } catch {
            throw DatabaseError(error)
          }
          record.forgetDead()
          return true
        }
        if !isDone { throw NodeMoves.outdated }
      })
  }
}

/// Deletes a partition that a node has given away, once all replicas have what it holds. Where all replicas
/// of a keyspace are dead it is kept: it may be the last copy. Used by one thread at a time.
final class PartitionDrop: @unchecked Sendable {
  private let partition: Int
  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private let moves: NodeMoves
  private let done: @Sendable (Result<Void, DatabaseError>) -> Void
  private let view: RingView
  private var left: ArraySlice<MemberID>
  private var keyspaces: [KeyspaceCore] = []

  init(
    _ partition: Int, _ node: ClusterNode, _ moves: NodeMoves,
    _ done: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    self.partition = partition
    self.node = node
    self.moves = moves
    self.done = done
    let view = node.view
    self.view = view
    let dead = view.change?.dead ?? []
    left = view.replicas(of: partition).filter { !dead.contains($0) && $0 != node.local.id }[...]
  }

  func begin() {
    guard let node else { return }
    do throws(DatabaseError) {
      try node.checkStep(.compare)
      if node.subversions.dropsUncompared { left = [] }
      keyspaces = try node.eventualKeyspaces()
      compareNext()
    } catch { done(.failure(error)) }
  }

  private func compareNext() {
    guard let node else { return }
    guard let member = left.popFirst() else { return delete() }
    let held = keyspaces.filter { view.isReplica(member, of: partition, in: $0) }
    moves.compare(partition, with: member, held, .push, node) { [self] result in
      switch result {
      case .success: compareNext()
      case .failure(let error):
        done(
          .failure(
            DatabaseError(
              .unreachable,
              "partition \(partition) is to be deleted here, which waits for member \(member): "
                + error.message
            )))
      }
    }
  }

  private func delete() {
    guard let node else { return }
    done(
      answered { () throws(DatabaseError) in
        try node.checkStep(.drop)
        guard node.view.print(of: partition).print == view.print(of: partition).print else {
          throw NodeMoves.outdated
        }
        try checkKept(node)
        try node.core.deleteMoved(partition)
        let drop = RingState.Drop(partition: partition, member: node.local.id)
        let isDone = try node.changeRecord { record in
          guard record.ring.drops.contains(drop) else { return false }
          record.ring = record.ring.dropped(drop)
          return true
        }
        if !isDone { throw NodeMoves.outdated }
      })
  }

  /// A keyspace whose replicas are all dead was compared with nobody: what is here of it may be all that is
  /// left.
  ///
  /// - Throws: `.unreachable` where there is such a keyspace, what the store throws.
  private func checkKept(_ node: ClusterNode) throws(DatabaseError) {
    let dead = view.change?.dead ?? []
    for keyspace in keyspaces {
      let replicas = view.replicas(of: partition, in: keyspace)
      guard replicas.allSatisfy({ dead.contains($0) }), !isGivenUp(by: node) else { continue }
      guard try keyspace.holdsKeys(of: partition, on: node.local) else { continue }
      throw DatabaseError(
        .unreachable,
        "partition \(partition) is to be deleted here, and all replicas of the keyspace `\(keyspace.name)` "
          + "are dead: what is left of it may be here alone")
    }
  }

  /// Whether the operator does without what the dead alone had, and nobody else is about to take a place of
  /// theirs, who would be brought it from here. Where nothing says who is, it is not.
  private func isGivenUp(by node: ClusterNode) -> Bool {
    guard let change = view.change, change.isForced, !change.isCancelled else { return false }
    let move =
      view.state.copies.first(where: { $0.partition == partition })
      ?? view.plan?.moves.first(where: { $0.partition == partition })
    // Nothing comes here before this is deleted: who waited for that would wait for ever.
    return move.map { $0.to == node.local.id } ?? false
  }
}
