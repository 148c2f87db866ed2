import RoostCausality
import RoostEnvironment

// One pass over what a node holds: each keyspace, each partition of which it is a replica, each other
// replica.
//
// 1. This side's tree of the partition is made once, and again only where a comparison with one replica has
//    changed it before the next is compared.
// 2. A `TreeComparison` says what to ask and to read, and which keys differ.
// 3. A key that both have: the other's state is fetched and joined here, and the join is sent there, unless
//    that is what it has. One that only this side has is sent; one that only the other has is fetched.
// 4. Where a replica had something that this side had not, those that were compared before it are compared
//    once more. So the pass of one node is enough for all replicas of what it holds to be alike, but for
//    what is written meanwhile.
// 5. A replica that does not answer is left alone for the rest of the pass once it has failed three times
//    in a row: what it would have been compared on counts as not compared.
//
// What happens is handed in as events, and one thread at a time works them off: an answer that comes
// before the call that asked for it has returned (as in a simulation) waits its turn, so that nothing recurs.

/// A pass over all partitions of a node. Thread-safe.
final class TreeRepair: UnderWay, @unchecked Sendable {
  /// Keys that are mended at a time.
  private static let mostInHand = 8
  /// About how long a page of keys may be.
  private static let pageBytes = 64 << 10
  private static let mostFailures = 3

  /// Which way what differs goes.
  enum Direction {
    case both
    /// The other is brought what this side has, durably, whether this side is a replica or not.
    case push
  }

  private enum Event {
    /// There is something to do, or more is allowed than before.
    case goOn
    case overdue
    case answered(UInt64, TreeComparison.Question, Result<[UInt8], DatabaseError>)
    case fetched(UInt64, TreeComparison.Difference, Result<[UInt8], DatabaseError>)
    case applied(UInt64, Result<[UInt8], DatabaseError>)
  }

  /// The partition at hand.
  private struct Place {
    var keyspace: KeyspaceCore
    var partition: Int
    var others: ArraySlice<MemberID>
    /// Of the leaves that are kept, or, where all records are to be read, one of its own.
    var seed: UInt64
    var tree: HashTree?
    var isCounted = false
    /// To their end, since this side learned something last.
    var compared: [MemberID] = []
    /// Those that were compared before it did.
    var toRepeat: [MemberID] = []
    /// Whether it is these.
    var isRepeating = false
  }

  /// The comparison at hand.
  private struct UnderHand {
    var member: MemberID
    var comparison: TreeComparison
    var isWaiting = false
    var toMend: ArraySlice<TreeComparison.Difference> = []
    var inHand = 0
    var isPartial = false
    /// Whether this side has learned anything.
    var hasChanged = false
  }

  /// Not kept alive: else a node that keeps this one would keep itself.
  private weak var node: ClusterNode?
  private let deadline: UInt64
  private let done: ClusterNode.Answer<RepairReport>
  private let lock = Lock()
  // Guarded by `lock`.
  private var events: [Event] = []
  private var isRunning = false
  private var isOver = false
  private var partitionsAllowed: Int
  /// Whether it is looked at again once its pace lets more go.
  private var isPaused = false
  // Of the thread that works events off.
  private let keyspaces: [KeyspaceCore]
  private let partitions: [Int]
  /// How fast it goes; `nil` for as fast as it can.
  private let pace: BytePace?
  /// The only one to compare with; `nil` for all other replicas.
  private let peer: MemberID?
  private let direction: Direction
  /// Of how many partitions one is compared by its records, by chance; `nil` for none.
  private let fullEvery: Int?
  /// The next of keyspaces × partitions.
  private var position = 0
  private var place: Place?
  private var current: UnderHand?
  /// Of the comparison at hand: answers to earlier ones are late.
  private var number: UInt64 = 0
  private var failures: [MemberID: Int] = [:]
  private var report = RepairReport()
  private var isOverdue = false
  private var hasEnded = false

  /// A pass over all that the node holds.
  ///
  /// - Parameters:
  ///   - pace: how fast it goes. Then it begins no partition before ``allow(partitions:)`` says so, too;
  ///     `nil` for as fast as it can.
  ///   - fullEvery: of how many partitions one is compared by its records and not by kept leaves, which are
  ///     checked; by chance, since a count would begin anew with each process. `nil` for none.
  ///   - done: called once: with `.closed` where the node was closed before the end.
  init(
    _ node: ClusterNode, _ keyspaces: [KeyspaceCore], deadline: UInt64 = .max, pace: BytePace?,
    fullEvery: Int? = nil, _ done: @escaping ClusterNode.Answer<RepairReport>
  ) {
    self.node = node
    self.fullEvery = fullEvery
    self.keyspaces = keyspaces
    self.deadline = deadline
    self.done = done
    self.pace = pace
    partitionsAllowed = pace == nil ? .max : 0
    peer = nil
    direction = .both
    let view = node.view
    partitions = (0..<view.ring.partitionCount).filter { view.isReplica(node.local.id, of: $0) }
  }

  /// A pass over one partition with one other member, one of its replicas, at the pace of moves. By the
  /// records: what is deleted or taken over after it depends on nothing that is kept beside them.
  ///
  /// - Parameter keyspaces: those of which the other member has a replica. There may be none.
  init(
    _ node: ClusterNode, _ keyspaces: [KeyspaceCore], partition: Int, with peer: MemberID,
    _ direction: Direction, _ done: @escaping ClusterNode.Answer<RepairReport>
  ) {
    self.node = node
    self.keyspaces = keyspaces
    self.done = done
    self.peer = peer
    self.direction = direction
    fullEvery = 1
    deadline = .max
    pace = node.paces.moves
    partitionsAllowed = .max
    partitions = [partition]
  }

  /// How many partitions there are to go over, counted for each keyspace.
  var partitionCount: Int { keyspaces.count * partitions.count }

  /// Begins, or looks at once whether it may go on.
  func begin() { post(.goOn) }

  /// Lets a paced pass begin more partitions, and go on.
  ///
  /// - Parameter partitions: how many may be begun since the pass began.
  func allow(partitions: Int) {
    lock.withLock { partitionsAllowed = partitions }
    post(.goOn)
  }

  /// Whether something may be sent now; else it goes on by itself when it may.
  private func mayGo(_ node: ClusterNode) -> Bool {
    guard let pace else { return true }
    let now = node.now
    if pace.mayGo(at: now) { return true }
    let mustSet = lock.withLock {
      defer { isPaused = true }
      return !isPaused
    }
    guard mustSet else { return false }
    node.afterNanoseconds(pace.wait(at: now)) { [weak self] in
      guard let self else { return }
      lock.withLock { isPaused = false }
      post(.goOn)
    }
    return false
  }

  func look(at nanoseconds: UInt64) { if nanoseconds >= deadline { post(.overdue) } }

  func end() {
    let wasOver = lock.withLock {
      defer { isOver = true }
      return isOver
    }
    if !wasOver { done(.failure(DatabaseError(.closed, "the node was closed"))) }
  }

  // MARK: - Events

  private func post(_ event: Event) {
    let mustRun = lock.withLock {
      if isOver { return false }
      events.append(event)
      defer { isRunning = true }
      return !isRunning
    }
    if mustRun { node?.runComparison { [self] in work() } }
  }

  private func work() {
    while true {
      let event = lock.withLock { () -> Event? in
        if events.isEmpty || isOver {
          isRunning = false
          return nil
        }
        return events.removeFirst()
      }
      guard let event, let node else { return }
      handle(event, node)
      goOn(node)
    }
  }

  private func handle(_ event: Event, _ node: ClusterNode) {
    switch event {
    case .goOn: break
    case .overdue: isOverdue = true
    case .answered(let asked, let question, let result):
      count(answer: result, node)
      guard asked == number, current != nil else { return }
      current?.isWaiting = false
      do throws(DatabaseError) { try take(try result.get(), question) } catch { giveUp(error, node) }
    case .fetched(let asked, let difference, let result):
      count(answer: result, node)
      guard asked == number, current != nil else { return }
      do throws(DatabaseError) { try join(difference, try result.get(), node) } catch { ended(error, node) }
    case .applied(let asked, let result):
      count(answer: result, node)
      guard asked == number, current != nil else { return }
      switch result {
      case .success: ended(nil, node)
      case .failure(let error): ended(error, node)
      }
    }
  }

  private func take(_ bytes: [UInt8], _ question: TreeComparison.Question) throws(DatabaseError) {
    guard let place else { return }
    switch try TreeAnswer(decoding: bytes, question) {
    case .hashes(let hashes): try current?.comparison.receive(hashes: hashes)
    case .keys(let page):
      for key in page.keys where try place.keyspace.partition(of: key.key) != place.partition {
        throw DatabaseError(.corruption, "a key of another partition than \(place.partition)")
      }
      try current?.comparison.receive(theirs: page)
    }
  }

  // MARK: - Steps

  /// Does what can be done before something is heard.
  private func goOn(_ node: ClusterNode) {
    while !hasEnded, !lock.withLock({ isOver }) {
      if isOverdue || node.now >= deadline { return giveUpAll() }
      if current == nil {
        guard nextComparison(node) else { return }
        continue
      }
      do throws(DatabaseError) {
        guard try step(node) else { return }
      } catch { giveUp(error, node) }
    }
  }

  /// - Returns: `false` where there is nothing to do for now.
  private func step(_ node: ClusterNode) throws(DatabaseError) -> Bool {
    guard let hand = current, let place, !hand.isWaiting else { return false }
    if !hand.toMend.isEmpty {
      guard hand.inHand < Self.mostInHand, mayGo(node), let difference = current?.toMend.popFirst() else {
        return false
      }
      current?.inHand += 1
      mend(difference, node)
      return true
    }
    // The keys at hand first: the next question is of the keys behind them.
    if hand.inHand > 0 { return false }
    switch current?.comparison.next() {
    case .ask(let question):
      guard mayGo(node) else { return false }
      current?.isWaiting = true
      ask(question, of: hand.member, place, node)
    case .read(let leaves, let after):
      let page = try place.keyspace.hashedKeys(
        of: place.partition, on: node.local, in: leaves, seed: place.seed, after: after,
        byteLimit: Self.pageBytes, isCancelled: isCancelled)
      try current?.comparison.receive(own: page)
    case .mend(let differences):
      report.differing += UInt64(differences.count)
      current?.toMend = differences[...]
    case .done, nil: finish()
    }
    return true
  }

  private func isCancelled() -> Bool {
    guard let node, node.now < deadline else { return true }
    return lock.withLock { isOver }
  }

  private func ask(
    _ question: TreeComparison.Question, of member: MemberID, _ place: Place, _ node: ClusterNode
  ) {
    let request = TreeRequest(
      MessageHead(place.keyspace, node.view.print(of: place.partition)), partition: place.partition,
      seed: place.seed, question, byteLimit: Self.pageBytes, isSynced: direction == .push)
    send(
      NodeMessageKind.compare, request.encoded(), to: member, node.options.repairTimeout, node
    ) { [self, number] in post(.answered(number, question, $0)) }
  }

  private func finish() {
    guard let hand = current else { return }
    failures[hand.member] = 0
    learned(hand)
    if hand.isPartial {
      missed(1)
    } else if place?.isRepeating == false {
      report.compared += 1
      place?.compared.append(hand.member)
    }
    current = nil
    number += 1
  }

  private func learned(_ hand: UnderHand) {
    guard hand.hasChanged, let place else { return }
    self.place?.tree = nil
    if place.isRepeating { return }
    self.place?.toRepeat += place.compared
    self.place?.compared = []
  }

  /// Counts so many of the partition's other replicas as not compared, which they may have been before.
  private func missed(_ count: Int) {
    report.notCompared += UInt64(count)
    if place?.isRepeating == true { report.compared -= UInt64(count) }
  }

  // MARK: - Mending

  private func mend(_ difference: TreeComparison.Difference, _ node: ClusterNode) {
    guard let place, let hand = current else { return }
    do throws(DatabaseError) {
      if direction == .push, !difference.isHere { return ended(nil, node) }
      guard difference.isThere, direction == .both else {
        return try send(difference.key, place, to: hand.member, unless: nil, node)
      }
      let message = try node.place(place.keyspace, difference.key, quorum: nil, isSynced: false).message
      send(NodeMessageKind.fetch, message.encoded(), to: hand.member, node.options.replicaTimeout, node) {
        [self, number] in post(.fetched(number, difference, $0))
      }
    } catch { ended(error, node) }
  }

  /// Joins the other's state of a key, and sends the join back.
  private func join(
    _ difference: TreeComparison.Difference, _ bytes: [UInt8], _ node: ClusterNode
  ) throws(DatabaseError) {
    guard let place, let hand = current else { return }
    let theirs = try ReplicaMessage.record(bytes)
    if let theirs, try !node.isLeftOut(theirs, difference.key, place.keyspace),
      try unsafe place.keyspace.join(difference.key.span.bytes, theirs)
    {
      current?.hasChanged = true
    }
    try send(difference.key, place, to: hand.member, unless: theirs, node)
  }

  /// Sends what is held here of a key, where the other does not hold just that.
  private func send(
    _ key: [UInt8], _ place: Place, to member: MemberID, unless theirs: Record?, _ node: ClusterNode
  ) throws(DatabaseError) {
    let isSynced = direction == .push
    // Before the record is read: it says as of when it is.
    var message = try node.place(place.keyspace, key, quorum: nil, isSynced: isSynced).message
    guard let record = try place.keyspace.held(key), record != theirs else { return ended(nil, node) }
    message.record = record
    message.isOld = try node.isOld(key, place.keyspace)
    send(NodeMessageKind.apply, message.encoded(), to: member, node.options.replicaTimeout, node) {
      [self, number] in post(.applied(number, $0))
    }
  }

  /// A key is done with. One that cannot be mended holds none of the others up; a replica that does not
  /// answer does.
  private func ended(_ error: DatabaseError?, _ node: ClusterNode) {
    guard let error else {
      current?.inHand -= 1
      report.mended += 1
      return
    }
    switch error.code {
    case .unreachable, .deadlineExceeded, .indeterminate, .busy, .closed: giveUp(error, node)
    default:
      current?.inHand -= 1
      current?.isPartial = true
      note(error, node)
    }
  }

  // MARK: - Which is next

  /// - Returns: `false` where nothing may be begun for now, or all is done.
  private func nextComparison(_ node: ClusterNode) -> Bool {
    while let member = place?.others.popFirst() {
      if failures[member, default: 0] >= Self.mostFailures || node.peers.node(of: member) == nil {
        skip(member)
        continue
      }
      do throws(DatabaseError) {
        let tree = try tree(node)
        if direction == .push, tree.keyCount == 0 {
          report.compared += 1
          continue
        }
        current = UnderHand(member: member, comparison: TreeComparison(own: tree))
        return true
      } catch {
        // With no tree of its own, this node compares the partition with nobody.
        note(error, node)
        missed(1 + (place?.others.count ?? 0))
        place?.others = []
      }
    }
    if let place, !place.isRepeating, !place.toRepeat.isEmpty {
      self.place?.isRepeating = true
      self.place?.others = place.toRepeat[...]
      return true
    }
    place = nil
    guard position < partitionCount else {
      hasEnded = true
      answer()
      return false
    }
    guard position < lock.withLock({ partitionsAllowed }) else { return false }
    let partition = partitions[position % partitions.count]
    let keyspace = keyspaces[position / partitions.count]
    place = Place(
      keyspace: keyspace, partition: partition, others: others(of: partition, keyspace, node)[...],
      seed: seed(of: keyspace, node))
    position += 1
    return true
  }

  private func seed(of keyspace: KeyspaceCore, _ node: ClusterNode) -> UInt64 {
    let random = node.environment.randomness.next()
    let isFull = fullEvery.map { random % UInt64($0) == 0 } ?? false
    return isFull || !keyspace.keepsLeaves ? random : keyspace.leafSeed
  }

  private func others(
    of partition: Int, _ keyspace: KeyspaceCore, _ node: ClusterNode
  ) -> [MemberID] {
    if let peer { return [peer] }
    let view = node.view
    // It may have moved away since the pass began, or the keyspace has fewer replicas than the database.
    guard view.isReplica(node.local.id, of: partition, in: keyspace) else { return [] }
    return view.replicas(of: partition, in: keyspace).filter { $0 != node.local.id }
  }

  private func tree(_ node: ClusterNode) throws(DatabaseError) -> HashTree {
    guard let place else { return HashTree() }
    if let tree = place.tree { return tree }
    let made = try place.keyspace.comparedTree(
      of: place.partition, on: node.local, seed: place.seed, isCancelled: isCancelled)
    node.repairs.count(made)
    if made.isScanned {
      report.scanned += 1
      // The next of the partition's other replicas is compared with the same; leaves are read anew, since
      // each write meanwhile is a difference.
      self.place?.tree = made.tree
    }
    report.wrongLeaves += UInt64(made.wrongLeaves)
    if !place.isCounted { report.keys += UInt64(made.tree.keyCount) }
    self.place?.isCounted = true
    return made.tree
  }

  // MARK: - Failures

  /// The comparison at hand has failed; what was mended stays so.
  private func giveUp(_ error: DatabaseError, _ node: ClusterNode) {
    guard let hand = current else { return }
    note(error, node)
    failures[hand.member, default: 0] += 1
    learned(hand)
    missed(1)
    current = nil
    number += 1
  }

  private func skip(_ member: MemberID) {
    missed(1)
    if report.problem.isEmpty { report.problem = "nobody says where member \(member) is" }
  }

  /// The time is over: all the rest is not compared.
  private func giveUpAll() {
    guard let node, !hasEnded else { return }
    let left = (position..<max(position, partitionCount)).reduce(0) { sum, position in
      let keyspace = keyspaces[position / partitions.count]
      return sum + others(of: partitions[position % partitions.count], keyspace, node).count
    }
    report.notCompared += UInt64(left)
    missed((place?.others.count ?? 0) + (current == nil ? 0 : 1))
    if report.problem.isEmpty { report.problem = "the time for it was over" }
    current = nil
    place = nil
    number += 1
    hasEnded = true
    answer()
  }

  private func note(_ error: DatabaseError, _ node: ClusterNode) {
    // Who runs the node should know, though others may have the key whole.
    if error.code == .corruption { node.core.options.warn("a replica could not be compared: \(error)") }
    if report.problem.isEmpty { report.problem = error.message }
    // The next comparison goes by what the directory says.
    if error.code == .staleRing { node.run(.background) { [weak node] in _ = try? node?.refreshRing() } }
  }

  private func answer() {
    let wasOver = lock.withLock {
      defer { isOver = true }
      return isOver
    }
    if !wasOver { done(.success(report)) }
  }

  // MARK: - Messages

  private func send(
    _ kind: UInt16, _ body: [UInt8], to member: MemberID, _ timeout: Duration, _ node: ClusterNode,
    _ reply: @escaping ClusterNode.Answer<[UInt8]>
  ) {
    count(body.count, node)
    let limit = min(deadline, node.now &+ timeout.wholeNanoseconds)
    node.send(kind, body, to: member, deadline: limit, reply)
  }

  private func count(answer: Result<[UInt8], DatabaseError>, _ node: ClusterNode) {
    if case .success(let bytes) = answer { count(bytes.count, node) }
  }

  private func count(_ bytes: Int, _ node: ClusterNode) {
    report.bytes += UInt64(bytes)
    pace?.note(bytes, at: node.now)
    // Those of moves count there.
    if peer == nil { node.repairs.count(bytes: bytes) }
  }
}
