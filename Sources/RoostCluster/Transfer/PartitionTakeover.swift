import RoostCausality
import RoostEnvironment
import RoostStorage

/// Brings a node the transactional keys of a partition that moves to it, up to the owner's word that it has
/// given them up (steps 3 to 6 of `PartitionHandover.swift`). Used by one thread at a time.
final class PartitionTakeover: @unchecked Sendable {
  /// Fewer keys than this are brought while the partition is frozen.
  private static let fewKeys: UInt64 = 256
  private static let mostRounds = 16
  private static let pageBytes = 256 << 10
  /// A request is asked again this often, where it got no answer or the owner was busy.
  private static let mostTries = 8
  /// How long it says nothing to the owner while it waits for its pace, in nanoseconds: a third of what that
  /// bears (`NodeHandovers`).
  private static let longestPause: UInt64 = 20_000_000_000

  private let move: PartitionMove
  /// Not kept alive: else a node that keeps what it has under way would keep itself.
  private weak var node: ClusterNode?
  private let moves: NodeMoves
  private let view: RingView
  private let done: @Sendable (Result<Void, DatabaseError>) -> Void
  private var session: UInt64 = 0
  private var number: UInt64 = 0
  /// What is to be walked yet, and where in the first of them.
  private var walks: ArraySlice<(keyspace: UInt64, tree: VersionEntries.TreeName)> = []
  private var start: [UInt8] = []
  private var rounds = 0
  private var isFrozen = false
  private var frozenAt: UInt64 = 0
  /// How long the partition may be frozen until it is drained, in nanoseconds: longer each time.
  private var patience: UInt64 = 250_000_000

  init(
    _ move: PartitionMove, _ node: ClusterNode, _ moves: NodeMoves, _ view: RingView,
    _ done: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    self.move = move
    self.node = node
    self.moves = moves
    self.view = view
    self.done = done
  }

  func begin() {
    ask(.begin, tries: 1) { [self] bytes, node throws(DatabaseError) in
      let begun = try HandoverAnswer.Begun(decoding: bytes)
      session = begun.session
      try node.learn(keyspaces: Set(begun.keyspaces))
      let names = node.core.keyspaceEntries.filter { $0.kind == .transactional }.map(\.name)
      try fence(node)
      // What an earlier handover left.
      try node.core.clearVersions(move.partition, names, in: node.local.store)
      walks = begun.keyspaces.flatMap {
        [(keyspace: $0, tree: VersionEntries.TreeName.history), (keyspace: $0, tree: .current)]
      }[...]
      try walk(node)
    }
  }

  /// Sees to it that no flip of an earlier attempt comes true any more, before what it brought is deleted.
  ///
  /// Such a flip may be on its way to the directory still: its caller was told `.indeterminate`, or is gone.
  /// It would make this store the owner of what it has half of. It goes by a version of the record: so any
  /// change that succeeds ends it, and this one does if the move is still begun: if none was applied.
  private func fence(_ node: ClusterNode) throws(DatabaseError) {
    if node.subversions.leavesFlips { return }
    let (move, view) = (move, view)
    // The revision is raised by each change, so the record is never written as it was.
    let isBegun = try node.changeRecord { record in
      record.ring.copies.contains(move) && record.change?.number == view.change?.number
        && record.hasTransactions == view.hasTransactions
    }
    if !isBegun { throw NodeMoves.outdated }
  }

  // MARK: - Asking

  /// Asks the owner; `then` runs on a worker, with its answer.
  private func ask(
    _ step: HandoverRequest.Step, tries: Int = PartitionTakeover.mostTries,
    _ then: @escaping ([UInt8], ClusterNode) throws(DatabaseError) -> Void
  ) {
    number = step == .begin ? 0 : number + 1
    guard let node else { return }
    let request = HandoverRequest(
      database: node.core.id, revision: view.revision, move, session: session, number: number, step)
    let then = UncheckedBody(then)
    send(request, tries, then, node)
  }

  private func send(_ request: HandoverRequest, _ tries: Int, _ then: UncheckedBody, _ node: ClusterNode) {
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds &* 2
    node.send(NodeMessageKind.handover, request.encoded(), to: move.from, deadline: limit) {
      [self, weak node] result in
      guard let node else { return }
      node.run(.background) { [self] in
        do throws(DatabaseError) {
          try then.body(try result.get(), node)
        } catch {
          guard case .failure(let refusal) = result, Self.isPassing(refusal), tries > 1 else {
            return fail(error, node)
          }
          node.afterNanoseconds(50_000_000) { [self, weak node] in
            if let node { send(request, tries - 1, then, node) }
          }
        }
      }
    }
  }

  private static func isPassing(_ error: DatabaseError) -> Bool {
    [.busy, .unreachable, .indeterminate, .deadlineExceeded].contains(error.code)
  }

  /// The owner is told, where it waits: it would find out by itself, some seconds later.
  private func fail(_ error: DatabaseError, _ node: ClusterNode) {
    let reason = DatabaseError(
      error.code, "partition \(move.partition) moves from \(move.from) to \(move.to): \(error.message)",
      cause: error.cause)
    guard isFrozen else { return done(.failure(reason)) }
    isFrozen = false
    number += 1
    let request = HandoverRequest(
      database: node.core.id, revision: view.revision, move, session: session, number: number, .thaw)
    let limit = node.now &+ node.options.replicaTimeout.wholeNanoseconds
    node.send(NodeMessageKind.handover, request.encoded(), to: move.from, deadline: limit) { [self] _ in
      done(.failure(reason))
    }
  }

  /// Goes on once something may be moved again: at once where transactions wait for it. Where that takes long
  /// the owner is told now and then that this one is still there.
  private func paced(
    _ node: ClusterNode, _ then: @escaping @Sendable (ClusterNode) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    let (pace, now) = (node.paces.moves, node.now)
    if isFrozen || pace.mayGo(at: now) { return try then(node) }
    node.afterNanoseconds(min(pace.wait(at: now), Self.longestPause)) { [self, weak node] in
      guard let node else { return }
      if !pace.mayGo(at: node.now) {
        // Of what is not frozen it changes nothing.
        return ask(.thaw) { [self] _, node throws(DatabaseError) in try paced(node, then) }
      }
      do throws(DatabaseError) { try paced(node, then) } catch { fail(error, node) }
    }
  }

  // MARK: - Copying

  private func walk(_ node: ClusterNode) throws(DatabaseError) {
    guard let (keyspace, tree) = walks.first else { return try catchUp(node) }
    ask(.page(keyspace: keyspace, tree, from: start, byteLimit: Self.pageBytes)) {
      [self] bytes, node throws(DatabaseError) in
      let brought = try HandoverAnswer.Brought(decoding: bytes)
      try take(brought.page, node)
      start = brought.next ?? []
      if brought.next == nil { walks.removeFirst() }
      try paced(node) { [self] node throws(DatabaseError) in try walk(node) }
    }
  }

  private func take(_ page: VersionEntries, _ node: ClusterNode) throws(DatabaseError) {
    try node.learn(keyspaces: Set(page.entries.map(\.keyspace)))
    let byKeyspace = Dictionary(grouping: page.entries, by: \.keyspace)
    for (keyspace, entries) in byKeyspace.sorted(by: { $0.key < $1.key }) {
      try node.core.versionedKeyspace(keyspace).part(of: node.local).take(entries, of: move.partition)
    }
    moves.moved(bytes: page.byteCount, keys: page.entries.count { $0.tree == .current }, node)
  }

  /// Fetches what was committed to meanwhile: until little is left, or, once the partition is drained, all.
  private func catchUp(_ node: ClusterNode) throws(DatabaseError) {
    ask(.written(byteLimit: Self.pageBytes)) { [self] bytes, node throws(DatabaseError) in
      let written = try HandoverAnswer.Written(decoding: bytes)
      try take(written.page, node)
      rounds += 1
      if isFrozen {
        guard written.left == 0 else { return try catchUp(node) }
        return node.subversions.takesUnasked ? done(.success(())) : takeOver()
      }
      guard written.left > Self.fewKeys, rounds < Self.mostRounds else { return try freeze(node) }
      try paced(node) { [self] node throws(DatabaseError) in try catchUp(node) }
    }
  }

  // MARK: - Draining

  private func freeze(_ node: ClusterNode) throws(DatabaseError) {
    frozenAt = node.now
    isFrozen = true
    drain()
  }

  private func drain() {
    ask(.freeze) { [self] bytes, node throws(DatabaseError) in
      if try HandoverAnswer.isDrained(bytes) { return try catchUp(node) }
      if node.now &- frozenAt < patience { return node.afterNanoseconds(10_000_000) { [self] in drain() } }
      let longest = node.core.options.transactions.longestDuration.wholeNanoseconds &+ 2_000_000_000
      guard patience < longest else {
        throw DatabaseError(.busy, "it waits for the transactions that hold locks of it")
      }
      patience = min(patience &* 2, longest)
      thaw()
    }
  }

  /// Lets those pass that were kept waiting, and tries again with more time.
  private func thaw() {
    ask(.thaw) { [self] _, node throws(DatabaseError) in
      isFrozen = false
      rounds = 0
      node.afterNanoseconds(500_000_000) { [self, weak node] in
        guard let node else { return }
        do throws(DatabaseError) { try catchUp(node) } catch { fail(error, node) }
      }
    }
  }

  // MARK: - The word of the owner

  private func takeOver() {
    ask(.giveUp) { [self] bytes, node throws(DatabaseError) in
      let given = try HandoverAnswer.GivenUp(decoding: bytes)
      try node.checkStep(.takeOver)
      for (keyspace, floor) in given.floors.sorted(by: { $0.key < $1.key }) {
        try node.learn(keyspaces: [keyspace])
        try node.core.versionedKeyspace(keyspace).part(of: node.local).raiseFloor(to: floor)
      }
      // A clock that was raised starts above it after any restart.
      if !node.subversions.takesOverBelow { try node.core.shared.observe(given.highest) }
      done(.success(()))
    }
  }
}

/// What to do with an answer: called by the one thread that uses the takeover then.
private struct UncheckedBody: @unchecked Sendable {
  let body: ([UInt8], ClusterNode) throws(DatabaseError) -> Void

  init(_ body: @escaping ([UInt8], ClusterNode) throws(DatabaseError) -> Void) { self.body = body }
}
